// The order of the records in a slice, (hash, key bytes), and what becomes of a key that comes twice. Pure functions over columns
// whose rows stand in the order of the input.
//
// LSD radix sort by hash, 12 bits a pass: stable, so rows of one hash stay in the order of the input. Rows of one hash are then
// put in the order of their keys by a stable comparison sort; there are few of them, unless a key comes very often.

import { readVarint, varintSize } from '../../shared/varint.ts';
import type { DuplicatePolicy } from './line-rules.ts';

/** Records in the order of the input: `bytes` from `starts[i]` to `ends[i]` is record i as in a slice file. */
export type RecordColumns = {
  readonly bytes: Buffer;
  readonly hashes: Uint32Array;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  readonly count: number;
};

/** Called for each key that comes more than once, with its rows in the order of the input and the one that is kept. */
export type OnRepeated = (rows: Uint32Array, kept: number) => void;

const digitBits = 12;
const digitCount = 2 ** digitBits;

/** The rows in the order (hash, key bytes), one for each key: the last in the input, or the first for the policies `first` and `error`. */
export function survivorsOf(records: RecordColumns, policy: DuplicatePolicy, onRepeated: OnRepeated): Uint32Array {
  const { hashes } = records;
  const rows = sortByHash(hashes, records.count);
  let kept = 0;
  for (let start = 0, end = 0; start < rows.length; start = end) {
    const hash = hashes[rows[start]!]!;
    end = start + 1;
    while (end < rows.length && hashes[rows[end]!] === hash) end++;
    kept = end - start === 1 ? keepRow(rows, kept, rows[start]!) : keepRun(records, rows, { start, end, kept, policy, onRepeated });
  }
  return rows.subarray(0, kept);
}

/** Row numbers from 0 to `count` - 1, by hash; equal hashes by row. */
export function sortByHash(hashes: Uint32Array, count: number): Uint32Array {
  let rows = new Uint32Array(count);
  for (let row = 0; row < count; row++) rows[row] = row;
  let keys = hashes.slice(0, count);
  let rowsNext = new Uint32Array(count);
  let keysNext = new Uint32Array(count);
  const ends = new Uint32Array(digitCount);
  for (let shift = 0; shift < 32; shift += digitBits) {
    if (!countDigits(keys, shift, ends)) continue;
    for (let i = 0; i < count; i++) {
      const key = keys[i]!;
      const digit = (key >>> shift) & (digitCount - 1);
      const to = ends[digit]!;
      ends[digit] = to + 1;
      keysNext[to] = key;
      rowsNext[to] = rows[i]!;
    }
    [keys, keysNext] = [keysNext, keys];
    [rows, rowsNext] = [rowsNext, rows];
  }
  return rows;
}

/** Puts into `starts` where each digit's keys begin in the order; false when all keys have the same digit. */
function countDigits(keys: Uint32Array, shift: number, starts: Uint32Array): boolean {
  starts.fill(0);
  for (let i = 0; i < keys.length; i++) starts[(keys[i]! >>> shift) & (digitCount - 1)]! += 1;
  let sum = 0;
  for (let digit = 0; digit < digitCount; digit++) {
    const count = starts[digit]!;
    if (count === keys.length) return false;
    starts[digit] = sum;
    sum += count;
  }
  return true;
}

function keepRow(rows: Uint32Array, kept: number, row: number): number {
  rows[kept] = row;
  return kept + 1;
}

type Run = { start: number; end: number; kept: number; policy: DuplicatePolicy; onRepeated: OnRepeated };

/** Orders the rows of one hash by key and keeps one for each key at `kept`, which is not beyond `start`; returns the new `kept`. */
function keepRun(records: RecordColumns, rows: Uint32Array, run: Run): number {
  const ordered = rows.slice(run.start, run.end).sort((a, b) => compareKeys(records, a, b) || a - b);
  let { kept } = run;
  for (let first = 0, end = 0; first < ordered.length; first = end) {
    end = first + 1;
    while (end < ordered.length && compareKeys(records, ordered[first]!, ordered[end]!) === 0) end++;
    const row = run.policy === 'last' ? ordered[end - 1]! : ordered[first]!;
    if (end - first > 1) run.onRepeated(ordered.subarray(first, end), row);
    kept = keepRow(rows, kept, row);
  }
  return kept;
}

/** Below, above or equal 0 as the key of record `a` is less than, greater than or equal to that of `b`. */
function compareKeys({ bytes, starts }: RecordColumns, a: number, b: number): number {
  const sizeA = readVarint(bytes, starts[a]!, bytes.length);
  const sizeB = readVarint(bytes, starts[b]!, bytes.length);
  const keyA = keyStartOf(bytes, starts[a]!, sizeA);
  const keyB = keyStartOf(bytes, starts[b]!, sizeB);
  return bytes.compare(bytes, keyB, keyB + sizeB, keyA, keyA + sizeA);
}

function keyStartOf(bytes: Buffer, start: number, keySize: number): number {
  const valueSizeAt = start + varintSize(keySize);
  return valueSizeAt + varintSize(readVarint(bytes, valueSizeAt, bytes.length));
}
