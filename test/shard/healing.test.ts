// What a shard answers whose files or memory changed under it, and how it heals; and what it gives to others.

import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { usualCare } from '../../shard/slice-care.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest } from '../../shared/manifest.ts';
import { manifestTransferPath, sliceTransferPath } from '../../shared/slice-transfer.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest, postRequest } from '../raw-http.ts';
import { problemCodeOf } from '../router/contract-cluster.ts';
import {
  careOf,
  expectAllTrue,
  flipInFile,
  get,
  isIn,
  large,
  manifest,
  offsetOf,
  onDisk,
  pathOf,
  publish,
  slice,
  sliceCount,
  small,
  startCold,
  startShard,
} from './damaged-shard.ts';

test('a bit flipped in memory that a look-up stumbles upon is 503, and healed at once', async () => {
  publish(small);
  const running = await startShard({ care: { ...usualCare, scrubRate: 0 } });
  const { bytes, header } = running.shard.versions[0]!.slices[slice]!;
  // Lengths that run out of their bucket.
  bytes.fill(0x7f, header.records.offset);
  const key = [...small.keys()].find(isIn(slice))!;
  expect(await get(running, key)).toEqual({ status: 503, said: 'slice_corrupt' });
  await vi.waitFor(async () => expect((await get(running, key)).status).toBe(200), waiting);
  await expectAllTrue(running, small);
  expect(careOf(running)).toMatchObject({ corruptFound: { memory: 1 }, healed: { own: 1 }, unmended: [] });
});

test('a bit of a record flipped in the file that is served with --memory: its key is 503 with a reason, never a wrong value and never 404', async () => {
  // What the look-up stumbles upon, the glance must not find before it.
  const interval = vi.spyOn(limits, 'glanceIntervalMs', 'get').mockReturnValue(3_600_000 as 1_000);
  onTestFinished(() => interval.mockRestore());
  publish(large);
  const running = await startCold({ care: { ...usualCare, scrubRate: 0 } });
  const key = [...large.keys()].find(isIn(slice))!;
  flipInFile(slice, offsetOf(large, key) + 1_000);
  expect(await get(running, key)).toEqual({ status: 503, said: 'slice_corrupt' });
  expect(careOf(running).corruptFound).toMatchObject({ read: 1 });
  expect((await get(running, [...large.keys()].find(isIn(2))!)).status).toBe(200);
});

describe('a shard gives to others', () => {
  test('its manifest and the bytes of its slices, from memory and from the disk', async () => {
    publish(large);
    for (const running of [await startShard(), await startShard(onDisk)]) {
      const text = (await ask(running.address, getRequest(manifestTransferPath(manifest.id)))).body.toString();
      expect(text).toBe(formatManifest(manifest));
      for (let i = 0; i < sliceCount; i++) {
        const { status, body } = await ask(running.address, getRequest(sliceTransferPath(manifest.id, i)));
        expect([status, body.equals(readFileSync(pathOf(i)))]).toEqual([200, true]);
      }
    }
  });

  test('nothing that it does not hold, and not too much at once', async () => {
    publish(large);
    const running = await startShard({ care: { ...usualCare, fetchRate: 1024 * 1024 } });
    const asked = async (path: string): Promise<unknown> => {
      const response = await ask(running.address, getRequest(path));
      return [response.status, problemCodeOf(response)];
    };
    expect(await asked(sliceTransferPath('0'.repeat(32), 0))).toEqual([421, 'version_not_held']);
    expect(await asked(sliceTransferPath(manifest.id, 4))).toEqual([421, 'slice_not_held']);
    for (const path of [
      `/versions/${manifest.id}`,
      `/versions/${manifest.id}/slices/1`,
      '/versions/x/manifest',
      `/versions/${manifest.id}/slices/00001`,
    ])
      expect(await asked(path)).toEqual([404, 'route_not_found']);
    const post = await ask(running.address, postRequest(manifestTransferPath(manifest.id), 'text/plain', Buffer.from('x')));
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET']);

    const leaving = new AbortController();
    const slow = Array.from({ length: limits.transfersMax }, () =>
      fetch(`http://${running.address}${sliceTransferPath(manifest.id, slice)}`, { signal: leaving.signal }),
    );
    await Promise.all(slow);
    const refused = await ask(running.address, getRequest(sliceTransferPath(manifest.id, slice)));
    expect([refused.status, problemCodeOf(refused), refused.headers.get('retry-after')]).toEqual([503, 'overloaded', '1']);
    // Keys are answered meanwhile, and receivers that go away give their places back.
    expect((await get(running, 'key-1')).status).toBe(200);
    leaving.abort();
    await vi.waitFor(async () => {
      const again = new AbortController();
      const { status } = await fetch(`http://${running.address}${sliceTransferPath(manifest.id, slice)}`, { signal: again.signal });
      again.abort();
      expect(status).toBe(200);
    }, waiting);
  });
});
