import { expect, test } from 'vitest';
import { BucketReader } from '../../shard/bucket-reader.ts';
import { CacheScan } from '../../shard/cache-scan.ts';
import { copyIndex, type DiskSlice } from '../../shard/disk-slice.ts';
import { DiskStore } from '../../shard/disk-store.ts';
import { bitsOf, keyHash32OfLatin1 } from '../../shared/key-hash.ts';
import { readSlice } from '../../shared/slice-layout.ts';
import { encodeRecords } from '../data-sets.ts';

const records = new Map(Array.from({ length: 500 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i} `.repeat(1 + (i % 9)))]));
const file = encodeRecords(records, 1).files[0]!;
const lane = 3;

/** The slice as a shard has it on disk; its file is not opened. */
function sliceOnDisk(): DiskSlice {
  const whole = readSlice(file, 'a slice');
  const index = copyIndex(whole);
  const { bucketCount } = whole.header;
  return {
    header: whole.header,
    directory: new Uint32Array(index, 0, bucketCount + 1),
    bucketCrcs: new Uint32Array(index, 4 * (bucketCount + 1), bucketCount),
    sliceBits: 0,
    bucketBits: bitsOf(bucketCount),
    path: 'nowhere',
    fd: -1,
    readers: 0,
    isClosed: false,
  };
}

/** A store that has all records in its cache, those of `changed` with another value. */
function storeWith(changed: readonly string[]): DiskStore {
  const disk = new DiskStore({ cacheSize: 1024 * 1024, recordSize: 60, reader: new BucketReader(() => {}) });
  for (const [key, value] of records) {
    const source = Buffer.concat([Buffer.from(key), value]);
    if (changed.includes(key)) source[source.length - 1]! ^= 1;
    disk.cache.put(keyHash32OfLatin1(key), source, 0, key.length, source.length, lane);
  }
  return disk;
}

function scan(disk: DiskStore, bytes: Buffer, pieceSize: number): number {
  const cacheScan = new CacheScan({ disk, cacheLane: lane }, sliceOnDisk());
  for (let at = 0; at < bytes.length; at += pieceSize) {
    const piece = Buffer.from(bytes.subarray(at, at + pieceSize));
    cacheScan.feed(piece);
    piece.fill(0);
  }
  return disk.cache.stats.faults;
}

test.each([1, 64, 97, 1_000, file.length])('in pieces of %i bytes every record that differs is found, and no other', (pieceSize) => {
  expect(scan(storeWith([]), file, pieceSize)).toBe(0);
  for (const key of ['key 0', 'key 77', 'key 499']) expect(scan(storeWith([key]), file, pieceSize)).toBe(1);
});

test('a bucket that is damaged in the file says nothing of the cache', () => {
  const bad = Buffer.from(file);
  bad[bad.indexOf(records.get('key 7')!) + 3]! ^= 1;
  expect(scan(storeWith([]), bad, 512)).toBe(0);
});

test('a slice without a cache is no trouble', () => {
  const cacheScan = new CacheScan({ disk: undefined, cacheLane: 0 }, sliceOnDisk());
  expect(() => cacheScan.feed(file)).not.toThrow();
});
