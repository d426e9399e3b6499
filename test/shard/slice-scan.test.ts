import { expect, test } from 'vitest';
import { SliceScan } from '../../shard/slice-scan.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { encodeRecords } from '../data-sets.ts';

const sliceCount = 2;
const records = new Map(Array.from({ length: 30 }, (_, i) => [`key ${i}`, Buffer.from(`value ${i}`)]));
const { manifest, files } = encodeRecords(records, sliceCount);
const expected = manifest.identity.slices[0]!;
const wanted = { versionId: manifest.id, sliceIndex: 0 as SliceIndex, sliceCount, expected };

function faultOf(bytes: Buffer, pieceSize: number): string | undefined {
  const scan = new SliceScan(wanted);
  for (let at = 0; at < bytes.length; at += pieceSize) scan.feed(bytes.subarray(at, at + pieceSize));
  return scan.findFault();
}

test('a slice in pieces of any size is whole', () => {
  for (const pieceSize of [1, 7, 95, 96, 97, 1_000_000]) expect(faultOf(files[0]!, pieceSize)).toBeUndefined();
});

test('each bit flipped, each cut, a byte more and another slice are found', () => {
  const good = files[0]!;
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const bad = Buffer.from(good);
    bad[bit >> 3]! ^= 1 << (bit & 7);
    expect(faultOf(bad, 64), `bit ${bit}`).toBeTypeOf('string');
  }
  for (let size = 0; size < good.length; size++) expect(faultOf(good.subarray(0, size), 64), `size ${size}`).toBeTypeOf('string');
  expect(faultOf(Buffer.concat([good, Buffer.alloc(1)]), 64)).toContain('the manifest says');
  expect(faultOf(files[1]!, 64)).toContain('header');
});
