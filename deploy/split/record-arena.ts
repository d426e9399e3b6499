// The records that one task of the second pass holds in memory, in the order of the input: their bytes, and of each its hash,
// its place and, if duplicates are errors, the line it comes from. Blocks of spill files are read straight to the end of the
// bytes. When there is no room for the next block, the duplicates that the policy drops anyway are dropped; only if that gives
// too little the buffers grow. So a key that comes a billion times takes no memory.
//
//     bytes:  block header | prefix, record | prefix, record | … | block header | …
//                                    └ starts[row] to ends[row]

import { PavostoreError } from '../../shared/errors.ts';
import { type RecordPlace, readRecordPlace } from '../../shared/slice-layout.ts';
import { readVarint, varintSize } from '../../shared/varint.ts';
import type { DuplicatePolicy } from './line-rules.ts';
import { type RecordColumns, survivorsOf } from './record-order.ts';
import { readBlock, type SpillBlock, type SpillTargets, spillBlockHeaderSize, spillPath, spillPrefixSize } from './spill.ts';

/** Hashes from `first` to `last`, both inclusive. */
export type HashRange = { readonly first: number; readonly last: number };

/** The line that a record comes from. */
export type Origin = { readonly chunkOrdinal: number; readonly lineIndex: number };

/** A key that comes twice, with the lines of its first and second record. */
export type Duplicate = { readonly key: Buffer; readonly first: Origin; readonly second: Origin };

/** What an arena is made ready for. */
export type ArenaNeeds = {
  /** Bytes and records to have room for at once; more comes when it must. */
  readonly size: number;
  readonly recordCount: number;
  /** Throws when so many bytes of distinct records are too many; asked before the buffers grow. */
  readonly assertSize: (recordsSize: number) => void;
};

/** Owns its buffers. A thread keeps one from task to task. */
export class RecordArena implements RecordColumns {
  bytes: Buffer = Buffer.alloc(0);
  hashes = new Uint32Array(0);
  starts = new Uint32Array(0);
  ends = new Uint32Array(0);
  count = 0;
  /** What was dropped so far: records, and the bytes of their keys and values. */
  dropped = { count: 0, keyBytes: 0, valueBytes: 0 };
  /** The duplicate whose second record comes first in the input; only where duplicates are errors. */
  firstDuplicate: Duplicate | undefined;
  #size = 0;
  #assertSize: ArenaNeeds['assertSize'] = () => {};
  #chunkOrdinals = new Uint32Array(0);
  #lineIndexes = new Uint32Array(0);
  readonly #policy: DuplicatePolicy;
  readonly #withLines: boolean;

  constructor(policy: DuplicatePolicy) {
    this.#policy = policy;
    this.#withLines = policy === 'error';
  }

  /** Empties it. */
  reset(needs: ArenaNeeds): void {
    this.#size = 0;
    this.count = 0;
    this.dropped = { count: 0, keyBytes: 0, valueBytes: 0 };
    this.firstDuplicate = undefined;
    this.#assertSize = needs.assertSize;
    this.#growBytes(needs.size);
    this.#growColumns(needs.recordCount);
  }

  /** Reads a block and keeps its records of `range`. Throws `spill_malformed`. */
  addBlock(targets: SpillTargets, index: number, block: SpillBlock, range: HashRange): void {
    this.#makeRoom(spillBlockHeaderSize + block.length, block.recordCount);
    readBlock(targets, index, block, this.bytes, this.#size);
    this.#addRecords(block, range, spillPath(targets.folder, index));
  }

  /** The rows of the records in the order of a slice, one for each key. */
  survivors(): Uint32Array {
    return survivorsOf(this, this.#policy, (rows, kept) => {
      if (this.#withLines) this.#noteDuplicate(rows[0]!, rows[1]!);
      for (const row of rows) if (row !== kept) this.#noteDropped(row);
    });
  }

  /** Takes in the block at the end of the bytes. What is out of range is overwritten by what follows. */
  #addRecords(block: SpillBlock, range: HashRange, path: string): void {
    const { bytes, hashes, starts, ends } = this;
    const prefixSize = spillPrefixSize(this.#withLines);
    const blockStart = this.#size + spillBlockHeaderSize;
    const blockEnd = blockStart + block.length;
    let row = this.count;
    let keptEnd = blockStart;
    for (let at = blockStart; at < blockEnd; ) {
      const start = at + prefixSize;
      const end = recordEndOf(bytes, start, blockEnd);
      if (end < 0 || row - this.count === block.recordCount) {
        throw new PavostoreError('spill_malformed', `${path}: no record at ${block.position + at - blockStart}`);
      }
      const hash = readU32(bytes, at);
      if (hash >= range.first && hash <= range.last) {
        // In its place as long as nothing before it was dropped.
        const isMoved = keptEnd !== at;
        const to = isMoved ? keptEnd : start;
        if (this.#withLines) this.#noteOrigin(row, block.chunkOrdinal, readU32(bytes, at + 4));
        if (isMoved) bytes.copyWithin(to, start, end);
        hashes[row] = hash;
        starts[row] = to;
        ends[row] = to + end - start;
        keptEnd = to + end - start;
        row++;
      }
      at = end;
    }
    this.#size = keptEnd;
    this.count = row;
  }

  #noteOrigin(row: number, chunkOrdinal: number, lineIndex: number): void {
    this.#chunkOrdinals[row] = chunkOrdinal;
    this.#lineIndexes[row] = lineIndex;
  }

  #noteDropped(row: number): void {
    const { keyStart, valueStart, end } = this.#placeOf(row);
    this.dropped.count++;
    this.dropped.keyBytes += valueStart - keyStart;
    this.dropped.valueBytes += end - valueStart;
  }

  #noteDuplicate(firstRow: number, secondRow: number): void {
    const second = this.#originOf(secondRow);
    if (this.firstDuplicate && compareOrigins(this.firstDuplicate.second, second) <= 0) return;
    const { keyStart, valueStart } = this.#placeOf(firstRow);
    const key = Buffer.from(this.bytes.subarray(keyStart, valueStart));
    this.firstDuplicate = { key, first: this.#originOf(firstRow), second };
  }

  #placeOf(row: number): RecordPlace {
    return readRecordPlace(this.bytes, this.starts[row]!, this.ends[row]!)!;
  }

  #originOf(row: number): Origin {
    return { chunkOrdinal: this.#chunkOrdinals[row]!, lineIndex: this.#lineIndexes[row]! };
  }

  #makeRoom(size: number, recordCount: number): void {
    if (this.#hasRoom(size, recordCount)) return;
    this.#compact();
    this.#assertSize(this.#size);
    // Half of it free again: otherwise the next blocks would each sort all of it once more.
    if (this.#size + size > this.bytes.length / 2) this.#growBytes(Math.max(2 * this.bytes.length, this.#size + size));
    if (this.count + recordCount > this.hashes.length / 2) this.#growColumns(Math.max(2 * this.hashes.length, this.count + recordCount));
  }

  #hasRoom(size: number, recordCount: number): boolean {
    return this.#size + size <= this.bytes.length && this.count + recordCount <= this.hashes.length;
  }

  /** Drops the duplicates and closes the gaps; the rest stays in the order of the input. */
  #compact(): void {
    const { bytes, hashes, starts, ends } = this;
    const isKept = new Uint8Array(this.count);
    for (const row of this.survivors()) isKept[row] = 1;
    let count = 0;
    let size = 0;
    for (let row = 0; row < this.count; row++) {
      if (isKept[row] === 0) continue;
      const start = starts[row]!;
      const end = ends[row]!;
      bytes.copyWithin(size, start, end);
      hashes[count] = hashes[row]!;
      starts[count] = size;
      ends[count] = size + end - start;
      if (this.#withLines) this.#noteOrigin(count, this.#chunkOrdinals[row]!, this.#lineIndexes[row]!);
      size += end - start;
      count++;
    }
    this.count = count;
    this.#size = size;
  }

  #growBytes(size: number): void {
    if (size <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(size);
    this.bytes.copy(grown, 0, 0, this.#size);
    this.bytes = grown;
  }

  #growColumns(recordCount: number): void {
    if (recordCount <= this.hashes.length) return;
    const grow = (column: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> => {
      const grown = new Uint32Array(recordCount);
      grown.set(column.subarray(0, this.count));
      return grown;
    };
    this.hashes = grow(this.hashes);
    this.starts = grow(this.starts);
    this.ends = grow(this.ends);
    if (!this.#withLines) return;
    this.#chunkOrdinals = grow(this.#chunkOrdinals);
    this.#lineIndexes = grow(this.#lineIndexes);
  }
}

/** Input order: negative when `a` comes before `b`. */
export function compareOrigins(a: Origin, b: Origin): number {
  return a.chunkOrdinal - b.chunkOrdinal || a.lineIndex - b.lineIndex;
}

/** Where the record at `start` ends, or -1 when that is not by `limit`. */
function recordEndOf(bytes: Uint8Array, start: number, limit: number): number {
  const keySize = readVarint(bytes, start, limit);
  if (keySize < 0) return -1;
  const valueSizeAt = start + varintSize(keySize);
  const valueSize = readVarint(bytes, valueSizeAt, limit);
  if (valueSize < 0) return -1;
  const end = valueSizeAt + varintSize(valueSize) + keySize + valueSize;
  return end <= limit ? end : -1;
}

/** Little endian. In bounds: a record's start and end were found beyond it. */
function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
