// The workers of a shard, which die for real.

import { once } from 'node:events';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { SliceFetcher } from '../../shard/slice-fetcher.ts';
import { SliceLoader } from '../../shard/slice-loader.ts';
import { slicePath, versionPath } from '../../shared/data-set.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { publishRecords } from '../data-sets.ts';
import { makeFolder } from '../deploy/data-folder.ts';

const sliceIndex = 1 as SliceIndex;
const sliceCount = 2;
const records = new Map(Array.from({ length: 50 }, (_, i) => [`key ${i}`, Buffer.from(`value ${i}`)]));

async function makeSlice() {
  const dataDir = join(await makeFolder(), 'data');
  const { id, identity } = publishRecords(dataDir, records, { sliceCount });
  return { id, path: slicePath(versionPath(dataDir, id), sliceIndex), sliceIndex, sliceCount, expected: identity.slices[sliceIndex]! };
}

/** The workers that are started from here on. */
function seeWorkers(): Worker[] {
  const workers: Worker[] = [];
  const see = (worker: Worker): void => void workers.push(worker);
  process.on('worker', see);
  onTestFinished(() => void process.off('worker', see));
  return workers;
}

test('a load fails under which the worker ends, or dies of an error; the next one has a new worker', async () => {
  const slice = await makeSlice();
  const workers = seeWorkers();
  const loader = new SliceLoader();
  onTestFinished(async () => await loader.close());
  expect((await loader.loadIntoMemory(slice)).header.sliceIndex).toBe(sliceIndex);

  // Told first: from that call on it runs nothing, however long this thread is held up before it hears of its end.
  void workers[0]!.terminate();
  const ended = loader.loadIntoMemory(slice);
  await expect(ended).rejects.toThrow('the worker that loads slices ended');
  loader.collectDroppedSlices();
  expect((await loader.loadIntoMemory(slice)).header.sliceIndex).toBe(sliceIndex);

  // No message of ours: it throws, and nobody catches that.
  const died = once(workers[1]!, 'error').catch((error: unknown) => error);
  workers[1]!.postMessage(null);
  const failed = loader.loadIntoMemory(slice);
  await Promise.all([died, expect(failed).rejects.toThrow(TypeError)]);
  const loaded = await loader.loadFromDisk(slice, { sizeMax: 1_000, hashes: undefined });
  expect([loaded.slice.header.sliceIndex, workers.length]).toEqual([sliceIndex, 3]);
  await truncate(slice.path, 100);
  await expect(loader.loadIntoMemory(slice)).rejects.toMatchObject({ code: 'slice_malformed' });
});

test('a load that is under way, or asked for, when the shard closes fails', async () => {
  const slice = await makeSlice();
  const loader = new SliceLoader();
  const loading = loader.loadIntoMemory(slice);
  await Promise.all([loader.close(), expect(loading).rejects.toThrow('the shard is closing')]);
  await expect(loader.loadIntoMemory(slice)).rejects.toThrow('the shard is closing');
});

test('a fetch fails under which the worker ends; the next one has a new worker', async () => {
  const { id: versionId, path, expected } = await makeSlice();
  const wanted = { versionId, sliceIndex, sliceCount, expected };
  const workers = seeWorkers();
  const fetcher = new SliceFetcher();
  onTestFinished(async () => await fetcher.close());
  expect(await fetcher.findFileFault(path, wanted)).toBeUndefined();
  void workers[0]!.terminate();
  const ended = fetcher.findFileFault(path, wanted);
  await expect(ended).rejects.toThrow('the worker that fetches slices ended');
  expect(await fetcher.findFileFault(path, wanted)).toBeUndefined();
  expect(workers).toHaveLength(2);
});
