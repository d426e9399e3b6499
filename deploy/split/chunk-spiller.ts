// The work of the first pass on one chunk: scan its lines, then lay the records out by the top 8 bits of their hash, one block
// for each spill file, and append every block with one write. A chunk with very many short lines is done in several
// batches, so that the memory of a thread does not depend on the input.

import { readSync } from 'node:fs';
import { limits } from '../../shared/limits.ts';
import { recordSizeOf, writeRecordHead } from '../../shared/slice-layout.ts';
import type { Chunk } from './chunks.ts';
import { unreadable } from './input.ts';
import { byteOrderMark, excerptOf, type LineRules, lineSizeMax, newline, reasonAgainst } from './line-rules.ts';
import { clearBatch, clearLines, makeScannedLines, type ScannedLines, scanLines } from './line-scanner.ts';
import { appendBlock, rejectsIndex, type SpillTargets, spillBlockHeaderSize, spillCount, spillPrefixSize } from './spill.ts';

/** How finely the histogram counts what the hashes select: as finely as the greatest slice count does. */
export const histogramSize = limits.sliceCountMax;
const histogramShift = Math.clz32(histogramSize - 1);

/** For each range of hashes: bytes in the spill files (even) and records (odd). One writer, read when the pass is over. */
export type HashHistogram = Float64Array;

export type SpillSetup = {
  readonly inputs: readonly { readonly label: string; readonly fd: number; readonly size: number }[];
  readonly rules: LineRules;
  readonly chunkSize: number;
  readonly targets: SpillTargets;
  readonly histogram: HashHistogram;
};

export type FirstBadLine = { readonly lineIndex: number; readonly reason: string; readonly excerpt: string };

/** What was in a chunk. */
export type ChunkReport = {
  readonly ordinal: number;
  readonly inputIndex: number;
  /** Lines that start in it. */
  readonly lineCount: number;
  readonly recordCount: number;
  readonly blankCount: number;
  readonly rejectedCount: number;
  /** Bytes of keys and values. */
  readonly recordBytes: number;
  readonly badLine: FirstBadLine | undefined;
};

/** Owns the buffers of one thread. */
export class ChunkSpiller {
  readonly #setup: SpillSetup;
  readonly #lines: ScannedLines = makeScannedLines(limits.batchRecordsMax);
  readonly #withLines: boolean;
  /** Of each spill file in the batch: payload bytes and records, then where its next record goes. */
  readonly #sizes = new Uint32Array(spillCount + 1);
  readonly #counts = new Uint32Array(spillCount + 1);
  readonly #ends = new Uint32Array(spillCount + 1);
  #rangeBytes: Buffer = Buffer.alloc(0);
  #blocks: Buffer = Buffer.alloc(0);
  #sequence = 0;

  constructor(setup: SpillSetup) {
    this.#setup = setup;
    this.#withLines = setup.rules.duplicates === 'error';
  }

  /** Spills the records of a chunk. Throws `input_unreadable`, `disk_short`, `data_unwritable`. */
  spill(chunk: Chunk): ChunkReport {
    clearLines(this.#lines);
    this.#sequence = 0;
    if (chunk.kind === 'range') return this.#spillRange(chunk);
    const bytes = Buffer.from(chunk.bytes.buffer as ArrayBuffer, chunk.bytes.byteOffset, chunk.bytes.byteLength);
    const from = chunk.isFirst ? markSizeOf(bytes) : 0;
    if (chunk.kind === 'lines') return this.#spillLines(chunk, bytes, from);
    return this.#spillPiece(chunk, bytes.subarray(from), chunk.startsLine);
  }

  #spillRange(chunk: Chunk & { kind: 'range' }): ChunkReport {
    const { from, end, longLineAt } = this.#readRange(chunk);
    const report = this.#spillLines(chunk, this.#rangeBytes.subarray(0, end), from);
    if (longLineAt === undefined || report.badLine) return report;
    const longLine = this.#spillLongLine(chunk, longLineAt);
    return {
      ...report,
      lineCount: report.lineCount + 1,
      rejectedCount: report.rejectedCount + longLine.rejectedCount,
      badLine: longLine.badLine && { ...longLine.badLine, lineIndex: report.lineCount },
    };
  }

  #spillLines(chunk: Chunk, bytes: Buffer, from: number): ChunkReport {
    const lines = this.#lines;
    const { rules } = this.#setup;
    let recordCount = 0;
    let rejectedCount = 0;
    let recordBytes = 0;
    let badLine: FirstBadLine | undefined;
    for (let at = from; at < bytes.length && !badLine; ) {
      clearBatch(lines);
      at = scanLines(bytes, at, rules, lines);
      const bad = lines.badLines[0];
      if (bad && rules.badLines === 'error') badLine = { ...bad, excerpt: excerptOf(bytes, bad.start, bad.end) };
      else recordBytes += this.#spillBatch(chunk, bytes);
      recordCount += lines.recordCount;
      rejectedCount += lines.badLines.length;
    }
    const { lineCount, blankCount } = lines;
    return { ordinal: chunk.ordinal, inputIndex: chunk.inputIndex, lineCount, recordCount, blankCount, rejectedCount, recordBytes, badLine };
  }

  /** Lays out and appends the records and rejected lines of the scanned batch; returns the bytes of keys and values. */
  #spillBatch(chunk: Chunk, bytes: Buffer): number {
    const recordBytes = this.#measureBatch();
    this.#placeBlocks();
    this.#copyRecords(bytes);
    this.#copyRejects(bytes);
    this.#appendBlocks(chunk);
    return recordBytes;
  }

  #measureBatch(): number {
    const { hashes, keyStarts, keyEnds, valueEnds, recordCount, badLines } = this.#lines;
    const { histogram } = this.#setup;
    const sizes = this.#sizes.fill(0);
    const counts = this.#counts.fill(0);
    const prefixSize = spillPrefixSize(this.#withLines);
    let recordBytes = 0;
    for (let row = 0; row < recordCount; row++) {
      const hash = hashes[row]!;
      const keySize = keyEnds[row]! - keyStarts[row]!;
      const valueSize = valueEnds[row]! - keyEnds[row]! - 1;
      const size = prefixSize + recordSizeOf(keySize, valueSize);
      const index = hash >>> (32 - limits.spillBits);
      sizes[index]! += size;
      counts[index]! += 1;
      const cell = 2 * (hash >>> histogramShift);
      histogram[cell]! += size;
      histogram[cell + 1]! += 1;
      recordBytes += keySize + valueSize;
    }
    for (const { start, end } of badLines) sizes[rejectsIndex]! += end - start + 1;
    counts[rejectsIndex] = badLines.length;
    return recordBytes;
  }

  /** Gives each spill file of the batch its place in `#blocks`, with room for the header before it. */
  #placeBlocks(): void {
    let at = 0;
    for (let index = 0; index <= spillCount; index++) {
      if (this.#counts[index] === 0) continue;
      this.#ends[index] = at + spillBlockHeaderSize;
      at += spillBlockHeaderSize + this.#sizes[index]!;
    }
    if (at > this.#blocks.length) this.#blocks = Buffer.allocUnsafeSlow(at + (at >>> 3));
  }

  #copyRecords(bytes: Buffer): void {
    const { hashes, keyStarts, keyEnds, valueEnds, lineIndexes, recordCount } = this.#lines;
    const blocks = this.#blocks;
    const ends = this.#ends;
    const withLines = this.#withLines;
    for (let row = 0; row < recordCount; row++) {
      const hash = hashes[row]!;
      const keyStart = keyStarts[row]!;
      const keyEnd = keyEnds[row]!;
      const valueEnd = valueEnds[row]!;
      const index = hash >>> (32 - limits.spillBits);
      let at = writeU32(blocks, ends[index]!, hash);
      if (withLines) at = writeU32(blocks, at, lineIndexes[row]!);
      at = writeRecordHead(blocks, at, keyEnd - keyStart, valueEnd - keyEnd - 1);
      at += bytes.copy(blocks, at, keyStart, keyEnd);
      ends[index] = at + bytes.copy(blocks, at, keyEnd + 1, valueEnd);
    }
  }

  #copyRejects(bytes: Buffer): void {
    let at = this.#ends[rejectsIndex]!;
    for (const { start, end } of this.#lines.badLines) {
      at += bytes.copy(this.#blocks, at, start, end);
      this.#blocks[at++] = newline;
    }
    this.#ends[rejectsIndex] = at;
  }

  #appendBlocks({ ordinal }: Chunk): void {
    for (let index = 0; index <= spillCount; index++) {
      const recordCount = this.#counts[index]!;
      if (recordCount === 0) continue;
      const end = this.#ends[index]!;
      const start = end - this.#sizes[index]! - spillBlockHeaderSize;
      appendBlock(this.#setup.targets, index, this.#blocks, { start, end, chunkOrdinal: ordinal, sequence: this.#sequence, recordCount });
    }
    this.#sequence++;
  }

  /**
   * Reads a range and the rest of its last line into `#rangeBytes`. The lines that start in the range stand from `from` to `end`;
   * `longLineAt` is the place in the file of one more that is too long for a record.
   */
  #readRange(chunk: Chunk & { kind: 'range' }): { from: number; end: number; longLineAt: number | undefined } {
    const { start, end } = chunk;
    // The byte before tells whether a line starts at `start`.
    const readStart = Math.max(0, start - 1);
    const capacity = 1 + this.#setup.chunkSize + lineSizeMax + 1;
    if (this.#rangeBytes.length < capacity) this.#rangeBytes = Buffer.allocUnsafeSlow(capacity);
    let filled = this.#readAt(chunk, 0, readStart, end - readStart);
    const lead = start === 0 ? markSizeOf(this.#rangeBytes, filled) : this.#rangeBytes.subarray(0, filled).indexOf(newline) + 1;
    if (start > 0 && lead === 0) return { from: 0, end: 0, longLineAt: undefined };
    const { size } = this.#setup.inputs[chunk.inputIndex]!;
    const lastLineAt = Math.max(lead, this.#rangeBytes.lastIndexOf(newline, filled - 1) + 1);
    if (lastLineAt === filled) return { from: lead, end: filled, longLineAt: undefined };
    const tailSizeStep = 64 * 1024;
    for (;;) {
      const newlineAt = this.#rangeBytes.subarray(0, filled).indexOf(newline, lastLineAt);
      if (newlineAt >= 0) return { from: lead, end: newlineAt + 1, longLineAt: undefined };
      if (filled - lastLineAt > lineSizeMax) return { from: lead, end: lastLineAt, longLineAt: readStart + lastLineAt };
      if (readStart + filled === size) return { from: lead, end: filled, longLineAt: undefined };
      const room = Math.min(tailSizeStep, capacity - filled, size - readStart - filled);
      filled += this.#readAt(chunk, filled, readStart + filled, room);
    }
  }

  /** Reads exactly `size` bytes of the chunk's file from `position` to `at` in `#rangeBytes`. */
  #readAt({ inputIndex }: Chunk, at: number, position: number, size: number): number {
    const { fd, label } = this.#setup.inputs[inputIndex]!;
    for (let done = 0; done < size; ) {
      const count = readInput(fd, label, this.#rangeBytes, { at: at + done, size: size - done, position: position + done });
      if (count === 0) throw unreadable(label, `it changed while it was read: it ends at ${position + done}, it was longer before`);
      done += count;
    }
    return size;
  }

  /** The line at `position` of a file, read on to its end, piece by piece. */
  #spillLongLine(chunk: Chunk & { kind: 'range' }, position: number): ChunkReport {
    const { size } = this.#setup.inputs[chunk.inputIndex]!;
    let report: ChunkReport | undefined;
    for (let at = position; at < size; ) {
      const pieceSize = this.#readAt(chunk, 0, at, Math.min(lineSizeMax + 1, size - at));
      const newlineAt = this.#rangeBytes.subarray(0, pieceSize).indexOf(newline);
      const end = newlineAt < 0 ? pieceSize : newlineAt + 1;
      report ??= this.#spillPiece(chunk, this.#rangeBytes.subarray(0, end), true);
      if (at > position) this.#spillPiece(chunk, this.#rangeBytes.subarray(0, end), false);
      if (newlineAt >= 0 || report.badLine) break;
      at += end;
    }
    return report!;
  }

  /** A piece of a line that is too long: an error, or rejected. The last line of a file may lack its newline, which `rejects.ts` mends. */
  #spillPiece(chunk: Chunk, bytes: Buffer, startsLine: boolean): ChunkReport {
    const { rules, targets } = this.#setup;
    const { ordinal, inputIndex } = chunk;
    const isError = rules.badLines === 'error';
    if (!isError) {
      const block = Buffer.allocUnsafe(spillBlockHeaderSize + bytes.length);
      bytes.copy(block, spillBlockHeaderSize);
      appendBlock(targets, rejectsIndex, block, {
        start: 0,
        end: block.length,
        chunkOrdinal: ordinal,
        sequence: this.#sequence++,
        recordCount: startsLine ? 1 : 0,
      });
    }
    const lineCount = startsLine ? 1 : 0;
    const reason = startsLine && isError ? reasonAgainst(bytes, 0, bytes.length, rules.separator)! : undefined;
    const badLine = reason === undefined ? undefined : { lineIndex: 0, reason, excerpt: excerptOf(bytes, 0, bytes.length) };
    return { ordinal, inputIndex, lineCount, recordCount: 0, blankCount: 0, rejectedCount: lineCount, recordBytes: 0, badLine };
  }
}

/** The size of the UTF-8 byte order mark at the start of `bytes`, or 0. */
function markSizeOf(bytes: Buffer, size: number = bytes.length): number {
  return size >= byteOrderMark.length && bytes.subarray(0, byteOrderMark.length).equals(byteOrderMark) ? byteOrderMark.length : 0;
}

function readInput(fd: number, label: string, bytes: Buffer, place: { at: number; size: number; position: number }): number {
  try {
    return readSync(fd, bytes, place.at, place.size, place.position);
  } catch (error) {
    throw unreadable(label, (error as Error).message, error);
  }
}

/** Little endian; returns the offset after it. In bounds by the measure of the batch. */
function writeU32(bytes: Buffer, at: number, n: number): number {
  bytes[at] = n;
  bytes[at + 1] = n >>> 8;
  bytes[at + 2] = n >>> 16;
  bytes[at + 3] = n >>> 24;
  return at + 4;
}
