// The work of the first pass on one chunk: scan its lines, then lay the records out by the top 8 bits of their hash, one block
// for each spill file, and append every block with one write. A chunk with very many short lines is done in several
// batches, so that the memory of a thread does not depend on the input.

import { limits } from '../../shared/limits.ts';
import { recordSizeOf, writeRecordHead } from '../../shared/slice-layout.ts';
import { asWordBuffer, copyWords, makeWordBuffer, type WordBuffer, wordCopySlack } from '../../shared/word-copy.ts';
import type { Chunk } from './chunks.ts';
import { excerptOf, type LineRules, newline, reasonAgainst } from './line-rules.ts';
import { clearBatch, clearLines, makeScannedLines, type ScannedLines, scanLines } from './line-scanner.ts';
import { markSizeOf, type OpenFile, RangeReader } from './range-reader.ts';
import { appendBlock, rejectsIndex, type SpillTargets, spillBlockHeaderSize, spillCount, spillPrefixSize } from './spill.ts';

/** How finely the histogram counts what the hashes select: as finely as the greatest slice count does. */
export const histogramSize = limits.sliceCountMax;
const histogramShift = Math.clz32(histogramSize - 1);

/** For each range of hashes: bytes in the spill files (even) and records (odd). One writer, read when the pass is over. */
export type HashHistogram = Float64Array;

export type SpillSetup = {
  readonly inputs: readonly OpenFile[];
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
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly badLine: FirstBadLine | undefined;
};

/** Owns the buffers of one thread. */
export class ChunkSpiller {
  readonly #setup: SpillSetup;
  readonly #lines: ScannedLines = makeScannedLines(limits.batchRecordsMax);
  readonly #withLines: boolean;
  readonly #reader: RangeReader;
  /** Of each spill file in the batch: payload bytes and records, then where its next record goes. */
  readonly #sizes = new Uint32Array(spillCount + 1);
  readonly #counts = new Uint32Array(spillCount + 1);
  readonly #ends = new Uint32Array(spillCount + 1);
  #blocks: WordBuffer = makeWordBuffer(0);
  #sequence = 0;

  constructor(setup: SpillSetup) {
    this.#setup = setup;
    this.#withLines = setup.rules.duplicates === 'error';
    this.#reader = new RangeReader(setup.chunkSize);
  }

  /** Spills the records of a chunk. Throws `input_unreadable`, `disk_short`, `data_unwritable`. */
  spill(chunk: Chunk): ChunkReport {
    clearLines(this.#lines);
    this.#sequence = 0;
    if (chunk.kind === 'range') return this.#spillRange(chunk);
    const source = asWordBuffer(Buffer.from(chunk.bytes.buffer as ArrayBuffer));
    const bytes = source.bytes.subarray(0, chunk.bytes.length);
    const from = chunk.isFirst ? markSizeOf(bytes) : 0;
    if (chunk.kind === 'lines') return this.#spillLines(chunk, source, from, bytes.length);
    return this.#spillPiece(chunk, bytes.subarray(from), chunk.startsLine);
  }

  #spillRange(chunk: Chunk & { kind: 'range' }): ChunkReport {
    const file = this.#setup.inputs[chunk.inputIndex]!;
    const { source, from, end, longLineAt } = this.#reader.read(file, chunk.start, chunk.end);
    const report = this.#spillLines(chunk, source, from, end);
    if (longLineAt === undefined || report.badLine) return report;
    const longLine = this.#spillLongLine(chunk, file, longLineAt);
    return {
      ...report,
      lineCount: report.lineCount + 1,
      rejectedCount: report.rejectedCount + longLine.rejectedCount,
      badLine: longLine.badLine && { ...longLine.badLine, lineIndex: report.lineCount },
    };
  }

  /** The lines from `from` to `end` in `source`, which has the slack of a word copy behind them. */
  #spillLines(chunk: Chunk, source: WordBuffer, from: number, end: number): ChunkReport {
    const bytes = source.bytes.subarray(0, end);
    const lines = this.#lines;
    const { rules } = this.#setup;
    let recordCount = 0;
    let rejectedCount = 0;
    let keyBytes = 0;
    let valueBytes = 0;
    let badLine: FirstBadLine | undefined;
    for (let at = from; at < bytes.length && !badLine; ) {
      clearBatch(lines);
      at = scanLines(bytes, at, rules, lines);
      const bad = lines.badLines[0];
      if (bad && rules.badLines === 'error') badLine = { ...bad, excerpt: excerptOf(bytes, bad.start, bad.end) };
      else {
        const sizes = this.#spillBatch(chunk, source);
        keyBytes += sizes.keyBytes;
        valueBytes += sizes.valueBytes;
      }
      recordCount += lines.recordCount;
      rejectedCount += lines.badLines.length;
    }
    const { lineCount, blankCount } = lines;
    return {
      ordinal: chunk.ordinal,
      inputIndex: chunk.inputIndex,
      lineCount,
      recordCount,
      blankCount,
      rejectedCount,
      keyBytes,
      valueBytes,
      badLine,
    };
  }

  /** Lays out and appends the records and rejected lines of the scanned batch; returns what keys and values sum up to. */
  #spillBatch(chunk: Chunk, source: WordBuffer): { keyBytes: number; valueBytes: number } {
    const sizes = this.#measureBatch();
    this.#placeBlocks();
    this.#copyRecords(source);
    this.#copyRejects(source.bytes);
    this.#appendBlocks(chunk);
    return sizes;
  }

  #measureBatch(): { keyBytes: number; valueBytes: number } {
    const { hashes, keyStarts, keyEnds, valueEnds, recordCount, badLines } = this.#lines;
    const { histogram } = this.#setup;
    const sizes = this.#sizes.fill(0);
    const counts = this.#counts.fill(0);
    const prefixSize = spillPrefixSize(this.#withLines);
    let keyBytes = 0;
    let valueBytes = 0;
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
      keyBytes += keySize;
      valueBytes += valueSize;
    }
    for (const { start, end } of badLines) sizes[rejectsIndex]! += end - start + 1;
    counts[rejectsIndex] = badLines.length;
    return { keyBytes, valueBytes };
  }

  /** Gives each spill file of the batch its place in `#blocks`, with room for the header before it. */
  #placeBlocks(): void {
    let at = 0;
    for (let index = 0; index <= spillCount; index++) {
      if (this.#counts[index] === 0) continue;
      this.#ends[index] = at + spillBlockHeaderSize;
      at += spillBlockHeaderSize + this.#sizes[index]!;
    }
    if (at + wordCopySlack > this.#blocks.bytes.length) this.#blocks = makeWordBuffer(at + (at >>> 3));
  }

  /** Fills each block from front to back. What a copy writes beyond a block is the next one's header, which is written last. */
  #copyRecords(source: WordBuffer): void {
    const { hashes, keyStarts, keyEnds, valueEnds, lineIndexes, recordCount } = this.#lines;
    const blocks = this.#blocks;
    const ends = this.#ends;
    const withLines = this.#withLines;
    const prefixSize = spillPrefixSize(withLines);
    for (let row = 0; row < recordCount; row++) {
      const hash = hashes[row]!;
      const keyStart = keyStarts[row]!;
      const keyEnd = keyEnds[row]!;
      const valueEnd = valueEnds[row]!;
      const index = hash >>> (32 - limits.spillBits);
      let at = ends[index]!;
      blocks.view.setUint32(at, hash, true);
      if (withLines) blocks.view.setUint32(at + 4, lineIndexes[row]!, true);
      at = writeRecordHead(blocks.bytes, at + prefixSize, keyEnd - keyStart, valueEnd - keyEnd - 1);
      at = copyWords(blocks, at, source, keyStart, keyEnd);
      ends[index] = copyWords(blocks, at, source, keyEnd + 1, valueEnd);
    }
  }

  #copyRejects(bytes: Buffer): void {
    let at = this.#ends[rejectsIndex]!;
    for (const { start, end } of this.#lines.badLines) {
      at += bytes.copy(this.#blocks.bytes, at, start, end);
      this.#blocks.bytes[at++] = newline;
    }
    this.#ends[rejectsIndex] = at;
  }

  #appendBlocks({ ordinal }: Chunk): void {
    for (let index = 0; index <= spillCount; index++) {
      const recordCount = this.#counts[index]!;
      if (recordCount === 0) continue;
      const end = this.#ends[index]!;
      const start = end - this.#sizes[index]! - spillBlockHeaderSize;
      appendBlock(this.#setup.targets, index, this.#blocks.bytes, {
        start,
        end,
        chunkOrdinal: ordinal,
        sequence: this.#sequence,
        recordCount,
      });
    }
    this.#sequence++;
  }

  /** A line of a file that is too long: an error, or rejected piece by piece. */
  #spillLongLine(chunk: Chunk, file: OpenFile, position: number): ChunkReport {
    let report: ChunkReport | undefined;
    for (const piece of this.#reader.readLongLine(file, position)) {
      const pieceReport = this.#spillPiece(chunk, piece, report === undefined);
      report ??= pieceReport;
      if (report.badLine) break;
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
    return { ordinal, inputIndex, lineCount, recordCount: 0, blankCount: 0, rejectedCount: lineCount, keyBytes: 0, valueBytes: 0, badLine };
  }
}
