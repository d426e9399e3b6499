// What a shard answers whose memory or files change under it, as its scrub finds that: at the pace of the real times.

import { describe, expect, test, vi } from 'vitest';
import { keyHash32OfLatin1 } from '../../shared/key-hash.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import {
  careOf,
  expectAllTrue,
  flipInFile,
  get,
  isIn,
  large,
  manifest,
  publish,
  slice,
  small,
  startCold,
  startShard,
} from '../shard/damaged-shard.ts';

describe('a bit flipped in memory', () => {
  test('of a slice is found by the scrub, and healed from the file', async () => {
    publish(small);
    const running = await startShard();
    for (const [i, offset] of [20, manifest.identity.slices[slice]!.bytes - 1].entries()) {
      running.shard.versions[0]!.slices[slice]!.bytes[offset]! ^= 1;
      await vi.waitFor(() => {
        const { corruptFound, healed } = careOf(running);
        expect([corruptFound.memory, healed.own, running.shard.versions[0]!.stateOf(slice)]).toEqual([i + 1, i + 1, 'kept']);
      }, waiting);
      await expectAllTrue(running, small);
    }
  });

  test('while the file is damaged too is 503 as long as nobody has a copy, and the other slices are served', async () => {
    publish(small);
    const running = await startShard();
    flipInFile(slice, 200);
    running.shard.versions[0]!.slices[slice]!.bytes[200]! ^= 2;
    const [own, other] = [[...small.keys()].find(isIn(slice))!, [...small.keys()].find(isIn(2))!];
    await vi.waitFor(() => expect(running.shard.versions[0]!.stateOf(slice)).toBe('corrupt'), waiting);
    expect([await get(running, own), (await get(running, other)).status]).toEqual([{ status: 503, said: 'slice_corrupt' }, 200]);
    expect(careOf(running).healed).toEqual({ own: 0, replica: 0, backup: 0, source: 0 });
    // Somebody puts the file back.
    flipInFile(slice, 200);
    await vi.waitFor(async () => expect((await get(running, own)).status).toBe(200), waiting);
    await expectAllTrue(running, small);
  });
});

describe('with --memory', () => {
  test('a flipped bit of the directory: answers are right or 503', async () => {
    publish(large);
    const running = await startCold();
    flipInFile(slice, 97);
    const found = (): number => careOf(running).corruptFound.file! + careOf(running).corruptFound.read!;
    for (const isFound of [false, true]) {
      if (isFound) await vi.waitFor(() => expect(found()).toBe(1), waiting);
      for (const key of [...large.keys()].filter(isIn(slice))) {
        const { status, said } = await get(running, key);
        if (status !== 503) expect([status, said]).toEqual([200, large.get(key)!.toString('latin1')]);
      }
    }
  });

  test('a flipped bit of the directory in memory: 503 or right, and healed', async () => {
    publish(large);
    const running = await startCold();
    running.shard.versions[0]!.diskSlices[slice]!.directory[1]! ^= 0x8000;
    for (const key of [...large.keys()].filter(isIn(slice))) {
      const { status, said } = await get(running, key);
      if (status !== 503) expect([status, said]).toEqual([200, large.get(key)!.toString('latin1')]);
    }
    await vi.waitFor(() => expect(careOf(running).healed.own).toBe(1), waiting);
    await vi.waitFor(() => expect(running.shard.versions[0]!.stateOf(slice)).toBe('kept'), waiting);
    await expectAllTrue(running, large);
  });

  test('a flipped bit of a record in the cache: found by the scrub, and the record comes from the disk again', async () => {
    publish(large);
    const running = await startCold();
    const key = [...large.keys()].find(isIn(slice))!;
    await get(running, key);
    const { disk, cacheLane } = running.shard.versions[0]!;
    const match = { bytes: Buffer.alloc(0), valueStart: 0, valueEnd: 0 };
    expect(disk!.cache.find(keyHash32OfLatin1(key), Buffer.from(key), 0, key.length, match, cacheLane)).toBe(true);
    match.bytes[match.valueStart + 1_000]! ^= 0x20;
    // It is answered as it lies there, as long as the scrub has not come by.
    const isRight = (await get(running, key)).said === large.get(key)!.toString('latin1');
    expect(isRight && disk!.cache.stats.faults === 0).toBe(false);
    await vi.waitFor(() => expect(disk!.cache.stats.faults).toBe(1), waiting);
    await expectAllTrue(running, large);
    // Nothing else is damaged: neither memory of the slice nor its file.
    expect(careOf(running)).toMatchObject({ corruptFound: { memory: 0, file: 0, read: 0 }, unmended: [] });
  });
});
