// The input cut into chunks for the workers of the first pass, in the order of the input, numbered from 0. A line belongs to
// the chunk in which it starts.
//
//     plain file   range [start, end): the worker reads it itself, and on to the end of its last line
//     stream       the bytes of whole lines, moved to the worker; a line too long for a record comes in pieces
//
// At most the chunks that run and one more are in memory.

import type { Readable } from 'node:stream';
import { wordCopySlack } from '../../shared/word-copy.ts';
import { type Input, isPlainFile, openStream } from './input.ts';
import { type InputShare, wholeOf } from './input-share.ts';
import { lineSizeMax, newline } from './line-rules.ts';

export type Chunk = { readonly ordinal: number; readonly inputIndex: number } & (
  | { readonly kind: 'range'; readonly start: number; readonly end: number }
  /** `bytes` holds whole lines. `isFirst`: they are the beginning of their file. */
  | { readonly kind: 'lines'; readonly bytes: Uint8Array; readonly isFirst: boolean }
  /** A piece of a line longer than `lineSizeMax`; the first one is longer than that itself. The last one may end in a newline. */
  | { readonly kind: 'piece'; readonly bytes: Uint8Array; readonly isFirst: boolean; readonly startsLine: boolean }
);

export type ChunkOptions = {
  /** What is read of the inputs; by default all. */
  readonly shares?: readonly InputShare[] | undefined;
  readonly chunkSize: number;
  readonly buffers: BufferStock;
  readonly stdin: Readable;
  readonly signal: AbortSignal | undefined;
  /** Called with the bytes of all inputs that were taken so far. */
  readonly onTaken: (size: number) => void;
};

/** All chunks of the inputs. Throws what reading throws. */
export async function* chunksOf(inputs: readonly Input[], options: ChunkOptions): AsyncGenerator<Chunk> {
  const { shares = wholeOf(inputs), chunkSize, buffers, stdin, signal, onTaken } = options;
  let ordinal = 0;
  let takenBefore = 0;
  for (const { inputIndex, ...share } of shares) {
    const input = inputs[inputIndex]!;
    if (isPlainFile(input)) {
      for (let { start } = share; start < share.end; start += chunkSize) {
        const end = Math.min(start + chunkSize, share.end);
        onTaken(takenBefore + end - share.start);
        yield { ordinal: ordinal++, inputIndex, kind: 'range', start, end };
      }
      takenBefore += share.end - share.start;
    } else {
      const { text, consumedSize } = openStream(input, stdin, signal);
      for await (const chunk of cutAtLines(text, chunkSize, buffers)) {
        onTaken(takenBefore + consumedSize());
        yield { ordinal: ordinal++, inputIndex, ...chunk };
      }
      takenBefore += consumedSize();
    }
  }
}

type Cut =
  | { readonly kind: 'lines'; readonly bytes: Buffer; readonly isFirst: boolean }
  | { readonly kind: 'piece'; readonly bytes: Buffer; readonly isFirst: boolean; readonly startsLine: boolean };

/** Cuts a stream into buffers of about `chunkSize` that end with a line. Each cut owns its buffer and stands at its beginning. */
export async function* cutAtLines(text: AsyncIterable<Buffer>, chunkSize: number, buffers: BufferStock): AsyncGenerator<Cut> {
  const cutter = new LineCutter(chunkSize, buffers);
  for await (const piece of text) {
    for (let at = 0; at < piece.length; ) {
      at += cutter.take(piece, at);
      for (let cut = cutter.next(false); cut; cut = cutter.next(false)) yield cut;
    }
  }
  for (let cut = cutter.next(true); cut; cut = cutter.next(true)) yield cut;
}

/** Buffers that workers gave back, for the next chunks: a fresh one costs a page fault for every 4 KiB. */
export class BufferStock {
  readonly #free: ArrayBuffer[] = [];

  give(buffer: ArrayBuffer): void {
    this.#free.push(buffer);
  }

  take(size: number): Buffer {
    const buffer = this.#free.pop();
    return buffer?.byteLength === size ? Buffer.from(buffer) : Buffer.allocUnsafeSlow(size);
  }
}

class LineCutter {
  readonly #chunkSize: number;
  readonly #capacity: number;
  readonly #buffers: BufferStock;
  #bytes: Buffer;
  #size = 0;
  #isFirst = true;
  #insideLongLine = false;

  constructor(chunkSize: number, buffers: BufferStock) {
    this.#chunkSize = chunkSize;
    // Full without a newline: that line is too long for a record.
    this.#capacity = Math.max(chunkSize, lineSizeMax + 1);
    this.#buffers = buffers;
    this.#bytes = buffers.take(this.#capacity + wordCopySlack);
  }

  /** Copies what there is room for of `piece` from `at`; returns how much that was. */
  take(piece: Buffer, at: number): number {
    const taken = piece.copy(this.#bytes, this.#size, at, at + this.#capacity - this.#size);
    this.#size += taken;
    return taken;
  }

  /** The next cut, if there is enough for one, or anything at all and no more text comes. */
  next(atEnd: boolean): Cut | undefined {
    if (this.#size === 0 || (!atEnd && this.#size < this.#chunkSize)) return undefined;
    if (this.#insideLongLine) return this.#cutPiece(this.#bytes.subarray(0, this.#size).indexOf(newline) + 1);
    const linesEnd = atEnd ? this.#size : this.#bytes.lastIndexOf(newline, this.#size - 1) + 1;
    if (linesEnd > 0) return { kind: 'lines', ...this.#cut(linesEnd) };
    return this.#size === this.#capacity ? this.#cutPiece(0) : undefined;
  }

  /** Cuts off a piece of a long line: up to `lineEnd`, or everything when that is 0, not yet in sight. */
  #cutPiece(lineEnd: number): Cut {
    const startsLine = !this.#insideLongLine;
    this.#insideLongLine = lineEnd === 0;
    return { kind: 'piece', startsLine, ...this.#cut(lineEnd === 0 ? this.#size : lineEnd) };
  }

  #cut(end: number): { bytes: Buffer; isFirst: boolean } {
    const bytes = this.#bytes.subarray(0, end);
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    const rest = this.#buffers.take(this.#capacity + wordCopySlack);
    this.#size = this.#bytes.copy(rest, 0, end, this.#size);
    this.#bytes = rest;
    return { bytes, isFirst };
  }
}
