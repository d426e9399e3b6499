// What distinguishes the records of two slices, in the range of hashes that both cover. Slices are ranges of hashes, and so are their buckets;
// all are powers of two, so ranges of different width nest:
//
//     a   |   slice    |        buckets  | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |        compared range by range, each as wide as
//     b   | 0 | 1 | 2 | 3 |     buckets  |   0   |   1   |   2   |   3   |        the wider of the two buckets
//
// Ranges whose bytes are equal have equal records, and most are: only the others are read record by record, and merged.

import type { Slice } from '../../shared/slice-layout.ts';
import { RecordCursor } from './record-cursor.ts';

/** The slice whose records are meant, and what it is called in messages. */
export type Side = { readonly slice: Slice; readonly what: string };

/** `before` and `after` are the values, cut off after `sampleValueSizeMax` bytes; undefined on the side that lacks the key. */
export type Sample = {
  readonly key: Uint8Array;
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
};

export const differenceKinds = ['added', 'removed', 'changed'] as const;
export type DifferenceKind = (typeof differenceKinds)[number];

/** How many records differ, and the first of each kind, in the order of hashes. */
export type Difference = Record<DifferenceKind, number> & { readonly samples: Readonly<Record<DifferenceKind, Sample[]>> };

/** What of a value a sample shows, in bytes. */
export const sampleValueSizeMax = 256;

export function noDifference(): Difference {
  return { added: 0, removed: 0, changed: 0, samples: { added: [], removed: [], changed: [] } };
}

/** Adds what distinguishes `after` from `before` to `found`, with at most `samplesMax` samples of each kind. Throws `slice_malformed`. */
export function addDifference(before: Side, after: Side, found: Difference, samplesMax: number): void {
  const a = new RecordCursor(before.slice, before.what);
  const b = new RecordCursor(after.slice, after.what);
  const narrow = before.slice.sliceBits >= after.slice.sliceBits ? before.slice : after.slice;
  const rangeBits = Math.max(narrow.sliceBits, Math.min(a.bucketHashBits, b.bucketHashBits));
  const rangeCount = 2 ** (rangeBits - narrow.sliceBits);
  const first = narrow.header.sliceIndex * rangeCount;
  for (let range = first; range < first + rangeCount; range++) {
    a.open(rangeBits, range);
    b.open(rangeBits, range);
    if (!hasEqualBytes(a, b)) merge(a, b, found, samplesMax);
  }
}

/** The ranges of both are the very same bytes. */
function hasEqualBytes(a: RecordCursor, b: RecordCursor): boolean {
  if (!a.isExact || !b.isExact || a.spanEnd - a.at !== b.spanEnd - b.at) return false;
  return a.at === a.spanEnd || a.bytes.compare(b.bytes, b.at, b.spanEnd, a.at, a.spanEnd) === 0;
}

function merge(a: RecordCursor, b: RecordCursor, found: Difference, samplesMax: number): void {
  let hasA = a.next();
  let hasB = b.next();
  while (hasA || hasB) {
    const order = !hasB ? -1 : !hasA ? 1 : compareKeys(a, b);
    if (order < 0) note(found, 'removed', samplesMax, a, undefined);
    else if (order > 0) note(found, 'added', samplesMax, undefined, b);
    else if (!hasEqualValues(a, b)) note(found, 'changed', samplesMax, a, b);
    if (order <= 0) hasA = a.next();
    if (order >= 0) hasB = b.next();
  }
}

/** In the order (hash, key bytes). */
function compareKeys(a: RecordCursor, b: RecordCursor): number {
  if (a.hash !== b.hash) return a.hash < b.hash ? -1 : 1;
  return a.bytes.compare(b.bytes, b.keyStart, b.valueStart, a.keyStart, a.valueStart);
}

function hasEqualValues(a: RecordCursor, b: RecordCursor): boolean {
  if (a.end - a.valueStart !== b.end - b.valueStart) return false;
  return a.bytes.compare(b.bytes, b.valueStart, b.end, a.valueStart, a.end) === 0;
}

function note(found: Difference, kind: DifferenceKind, samplesMax: number, a: RecordCursor | undefined, b: RecordCursor | undefined): void {
  found[kind]++;
  const samples = found.samples[kind];
  if (samples.length >= samplesMax) return;
  const { bytes, keyStart, valueStart } = (a ?? b)!;
  samples.push({ key: new Uint8Array(bytes.subarray(keyStart, valueStart)), before: sampleOf(a), after: sampleOf(b) });
}

/** A copy: the slice is gone before the sample is shown. */
function sampleOf(cursor: RecordCursor | undefined): Uint8Array | undefined {
  if (!cursor) return undefined;
  const { bytes, valueStart, end } = cursor;
  return new Uint8Array(bytes.subarray(valueStart, Math.min(end, valueStart + sampleValueSizeMax)));
}
