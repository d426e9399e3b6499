import { expect, test, vi } from 'vitest';
import { HeldVersion } from '../../shard/held-version.ts';
import { collectDroppedSlices } from '../../shard/slice-memory.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { readSlice } from '../../shared/slice-layout.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { encodeRecords } from '../data-sets.ts';

const slice = 0 as SliceIndex;
const valueSize = 1024 * 1024;
const records = new Map(Array.from({ length: 64 }, (_, i) => [`key ${i}`, Buffer.alloc(valueSize, i)]));

/** A version of one slice of 64 MiB, in memory as the loader hands it over. */
function makeVersion(): HeldVersion {
  const { manifest, files } = encodeRecords(records, 1);
  const view = Buffer.from(new SharedArrayBuffer(files[0]!.length));
  files[0]!.copy(view);
  const version = new HeldVersion(manifest, 1);
  version.keep(slice, readSlice(view, 'the slice'));
  return version;
}

test('a slice that is freed gives its memory back when dropped slices are collected', async () => {
  const version = makeVersion();
  const size = version.bytesInMemory;
  expect(size).toBeGreaterThan(64 * valueSize);
  collectDroppedSlices();
  const before = process.memoryUsage.rss();
  version.yield(slice);
  expect(version.bytesInMemory).toBe(size);
  version.free(slice);
  await vi.waitFor(() => {
    collectDroppedSlices();
    expect(before - process.memoryUsage.rss()).toBeGreaterThan(0.8 * size);
  }, waiting);
  expect([version.bytesInMemory, version.stateOf(slice)]).toEqual([0, 'absent']);
});

test('a slice that yields is answered from, notes that it was asked for, and can be kept again', () => {
  const version = makeVersion();
  const kept = version.slices[slice];
  version.yield(slice);
  expect([version.slices[slice], version.lastAskedMs(slice)]).toEqual([undefined, undefined]);
  expect(version.report().slices).toMatchObject({ kept: [], yielding: [[0, 0]] });
  expect(version.askYielding(slice)).toBe(kept);
  expect(version.lastAskedMs(slice)).toBeGreaterThan(0);
  version.keepAgain(slice);
  expect([version.slices[slice] === kept, version.askYielding(slice), version.lastAskedMs(slice)]).toEqual([true, undefined, undefined]);
});
