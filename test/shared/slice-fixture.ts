// Slices for tests, by the product's own writer.

import { bitsOf, keyHash32, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';
import { encodeSlice, recordSizeOf, writeRecordHead } from '../../shared/slice-layout.ts';

export type Entry = readonly [key: Buffer, value: Buffer];

/** The slice file of those entries that belong to it. No key may come twice. */
export function encodeEntries(entries: Iterable<Entry>, sliceIndex: number, sliceCount: number): Buffer {
  const own = [...entries]
    .map(([key, value]) => ({ key, value, hash: keyHash32(key) }))
    .filter(({ hash }) => sliceIndexOf(hash, bitsOf(sliceCount)) === sliceIndex)
    .sort((a, b) => a.hash - b.hash || Buffer.compare(a.key, b.key));
  const sizes = own.map(({ key, value }) => recordSizeOf(key.length, value.length));
  const bytes = Buffer.alloc(sizes.reduce((sum, size) => sum + size, 0));
  const starts = new Uint32Array(own.length);
  const ends = new Uint32Array(own.length);
  let at = 0;
  for (const [index, { key, value }] of own.entries()) {
    starts[index] = at;
    at = writeRecordHead(bytes, at, key.length, value.length);
    at += key.copy(bytes, at);
    at += value.copy(bytes, at);
    ends[index] = at;
  }
  return encodeSlice({
    sliceIndex: sliceIndex as SliceIndex,
    sliceCount,
    records: { bytes, hashes: Uint32Array.from(own, ({ hash }) => hash), starts, ends },
    from: 0,
    to: own.length,
  });
}

/** `count` entries with short keys and values: `key-0 value-0` and so on. */
export function entriesOf(count: number): Entry[] {
  return Array.from({ length: count }, (_, index) => [Buffer.from(`key-${index}`), Buffer.from(`value-${index}`)]);
}

/** Every variant of `bytes` with one bit changed, one after the other in the same buffer: do not keep it. */
export function* eachBitFlipped(bytes: Uint8Array): Generator<{ damaged: Buffer; bit: number }> {
  const damaged = Buffer.from(bytes);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    yield { damaged, bit };
    damaged[bit >> 3]! ^= 1 << (bit & 7);
  }
}

/** Every proper beginning of `bytes`, the empty one too. */
export function* eachTruncated(bytes: Uint8Array): Generator<Buffer> {
  for (let size = 0; size < bytes.length; size++) yield Buffer.from(bytes.subarray(0, size));
}
