// A worker's side of a plain file: the lines that start in a range of it. The last one may go on beyond the range, and may be
// longer than any record: then only its place is told, and it is read piece by piece.

import { readSync } from 'node:fs';
import { makeWordBuffer, type WordBuffer } from '../../shared/word-copy.ts';
import { unreadable } from './input.ts';
import { byteOrderMark, lineSizeMax, newline } from './line-rules.ts';

/** A file that is open in this process; `size` is what it was when it was opened. */
export type OpenFile = { readonly label: string; readonly fd: number; readonly size: number };

/** The lines that start in a range stand from `from` to `end` in `source`, the reader's own buffer. */
export type RangeLines = {
  readonly source: WordBuffer;
  readonly from: number;
  readonly end: number;
  /** Where in the file one more starts that is too long for a record. */
  readonly longLineAt: number | undefined;
};

/** What is read at a time beyond the end of a range: few lines are longer. */
const tailSizeStep = 64 * 1024;

/** Owns the buffer that it reads to. */
export class RangeReader {
  readonly #capacity: number;
  #source: WordBuffer = makeWordBuffer(0);

  /** For ranges of at most `chunkSize` bytes. */
  constructor(chunkSize: number) {
    // The byte before the range, the range, and the longest line that may start at its very end.
    this.#capacity = 1 + chunkSize + lineSizeMax + 1;
  }

  /** Reads the range from `start` to `end`. Throws `input_unreadable`. */
  read(file: OpenFile, start: number, end: number): RangeLines {
    const { bytes } = this.#ready();
    // The byte before tells whether a line starts at `start`.
    const readStart = Math.max(0, start - 1);
    const filled = readFile(file, bytes, { at: 0, size: end - readStart, position: readStart });
    const from = start === 0 ? markSizeOf(bytes.subarray(0, filled)) : bytes.subarray(0, filled).indexOf(newline) + 1;
    if (start > 0 && from === 0) return { source: this.#source, from, end: 0, longLineAt: undefined };
    const lastLineAt = Math.max(from, bytes.lastIndexOf(newline, filled - 1) + 1);
    const lineEnd = lastLineAt === filled ? filled : this.#readLine(file, readStart, lastLineAt, filled);
    if (lineEnd !== undefined) return { source: this.#source, from, end: lineEnd, longLineAt: undefined };
    return { source: this.#source, from, end: lastLineAt, longLineAt: readStart + lastLineAt };
  }

  /** The line at `position`, in pieces; the first is longer than any record. Each is valid until the next one. Throws `input_unreadable`. */
  *readLongLine(file: OpenFile, position: number): Generator<Buffer> {
    const { bytes } = this.#ready();
    for (let at = position; at < file.size; ) {
      const filled = readFile(file, bytes, { at: 0, size: Math.min(lineSizeMax + 1, file.size - at), position: at });
      const newlineAt = bytes.subarray(0, filled).indexOf(newline);
      yield bytes.subarray(0, newlineAt < 0 ? filled : newlineAt + 1);
      if (newlineAt >= 0) return;
      at += filled;
    }
  }

  #ready(): WordBuffer {
    if (this.#source.bytes.length < this.#capacity) this.#source = makeWordBuffer(this.#capacity);
    return this.#source;
  }

  /** Reads on until the line at `lineAt` ends, with its newline or the file; returns where, or undefined when it is too long. */
  #readLine(file: OpenFile, readStart: number, lineAt: number, filledBefore: number): number | undefined {
    const { bytes } = this.#source;
    let filled = filledBefore;
    while (readStart + filled < file.size && filled - lineAt <= lineSizeMax) {
      const size = Math.min(tailSizeStep, this.#capacity - filled, file.size - readStart - filled);
      readFile(file, bytes, { at: filled, size, position: readStart + filled });
      const newlineAt = bytes.subarray(0, filled + size).indexOf(newline, filled);
      if (newlineAt >= 0) return newlineAt + 1;
      filled += size;
    }
    return filled - lineAt <= lineSizeMax ? filled : undefined;
  }
}

/** The size of the UTF-8 byte order mark at the start of `bytes`, or 0. */
export function markSizeOf(bytes: Buffer): number {
  return bytes.subarray(0, byteOrderMark.length).equals(byteOrderMark) ? byteOrderMark.length : 0;
}

/** Reads exactly `size` bytes. */
function readFile({ fd, label }: OpenFile, bytes: Buffer, place: { at: number; size: number; position: number }): number {
  const { at, size, position } = place;
  try {
    for (let done = 0; done < size; ) {
      const count = readSync(fd, bytes, at + done, size - done, position + done);
      if (count === 0) throw unreadable(label, `it changed while it was read: it ends at ${position + done}, it was longer before`);
      done += count;
    }
    return size;
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : unreadable(label, (error as Error).message, error);
  }
}
