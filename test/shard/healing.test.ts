// One shard, or two, whose files and memory a test damages: what it answers, and how it heals.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Shard, type ShardOptions } from '../../shard/shard.ts';
import { usualCare } from '../../shard/slice-care.ts';
import { slicePath, versionPath } from '../../shared/data-set.ts';
import { bitsOf, keyHash32OfLatin1, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest, type Manifest } from '../../shared/manifest.ts';
import { manifestTransferPath, sliceTransferPath } from '../../shared/slice-transfer.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords, type Records } from '../data-sets.ts';
import { ask, getRequest, percentEncode, postRequest } from '../raw-http.ts';
import { problemCodeOf } from '../router/contract-cluster.ts';

const small = new Map(Array.from({ length: 200 }, (_, i) => [`key-${i}`, Buffer.from(`value of key-${i}`)]));
/** More than the least cache: with a small --memory its slices stay on the disk. */
const large = new Map(Array.from({ length: 40 }, (_, i) => [`key-${i}`, Buffer.alloc(512 * 1024, `value of key-${i} `)]));
const onDisk = { memory: 17 * 1024 * 1024 };
const sliceCount = 4;
const isIn = (sliceIndex: number) => (key: string) => sliceIndexOf(keyHash32OfLatin1(key), bitsOf(sliceCount)) === sliceIndex;
const slice = 1 as SliceIndex;

let folder: string;
let dataDir: string;
let manifest: Manifest;
let shards: Shard[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pavostore-healing-'));
  dataDir = join(folder, 'data');
  shards = [];
});
afterEach(async () => {
  await Promise.all(shards.map((shard) => shard.close()));
  rmSync(folder, { recursive: true, force: true });
});

type Running = { readonly shard: Shard; readonly address: string };

async function startShard(options: Partial<ShardOptions> = {}): Promise<Running> {
  const shard = new Shard({
    dataDir,
    host: '127.0.0.1',
    port: 0,
    members: undefined,
    name: `shard ${shards.length}`,
    zone: undefined,
    replicas: 2,
    memory: undefined,
    stateDir: undefined,
    leaveGraceMs: 0,
    logLevel: 'silent',
    ...options,
  });
  shards.push(shard);
  const address = `127.0.0.1:${await shard.start()}`;
  await vi.waitFor(() => expect(shard.isReady).toBe(true), waiting);
  return { shard, address };
}

const pathOf = (sliceIndex: number): string => slicePath(versionPath(dataDir, manifest.id), sliceIndex);

function flipInFile(sliceIndex: number, offset: number): void {
  const bytes = readFileSync(pathOf(sliceIndex));
  bytes[offset]! ^= 0x04;
  writeFileSync(pathOf(sliceIndex), bytes);
}

/** Where a value lies in the file of its slice. */
function offsetOf(records: Records, key: string): number {
  return readFileSync(pathOf(slice)).indexOf(records.get(key)!.subarray(0, 40));
}

async function get({ address }: Running, key: string): Promise<{ status: number; said: string }> {
  const response = await ask(address, getRequest(`/get?key=${percentEncode(key)}`));
  return { status: response.status, said: response.status === 200 ? response.body.toString('latin1') : problemCodeOf(response)! };
}

async function expectAllTrue(running: Running, records: Records): Promise<void> {
  for (const [key, value] of records) expect(await get(running, key)).toEqual({ status: 200, said: value.toString('latin1') });
  expect(await get(running, 'nobody')).toEqual({ status: 404, said: 'key_not_found' });
}

type Care = { corruptFound: Record<string, number>; healed: Record<string, number>; unmended: unknown[] };
const careOf = ({ shard }: Running): Care => shard.status() as unknown as Care;

describe('a bit flipped in memory', () => {
  beforeEach(() => {
    manifest = publishRecords(dataDir, small, { sliceCount });
  });

  test('of a slice is found by the scrub, and healed from the file', async () => {
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

  test('that a look-up stumbles upon is 503, and healed at once', async () => {
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

  test('while the file is damaged too is 503 as long as nobody has a copy, and the other slices are served', async () => {
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

describe('a file changed under a shard that serves from it with --memory', () => {
  beforeEach(() => {
    manifest = publishRecords(dataDir, large, { sliceCount });
  });

  /** Starts with a cold cache: each key is read from the disk. */
  async function startCold(options: Partial<ShardOptions> = {}): Promise<Running> {
    const preloadShare = vi.spyOn(limits, 'preloadShare', 'get').mockReturnValue(0 as 0.85);
    const running = await startShard({ ...onDisk, ...options });
    preloadShare.mockRestore();
    expect(running.shard.versions[0]!.diskSlices[slice]).toBeDefined();
    return running;
  }

  test('a flipped bit of a record: its key is 503 with a reason, never a wrong value and never 404', async () => {
    const running = await startCold({ care: { ...usualCare, scrubRate: 0 } });
    const key = [...large.keys()].find(isIn(slice))!;
    flipInFile(slice, offsetOf(large, key) + 1_000);
    expect(await get(running, key)).toEqual({ status: 503, said: 'slice_corrupt' });
    expect(careOf(running).corruptFound).toMatchObject({ read: 1 });
    expect((await get(running, [...large.keys()].find(isIn(2))!)).status).toBe(200);
  });

  test('a flipped bit of the directory: answers are right or 503', async () => {
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
});

describe('a shard gives to others', () => {
  test('its manifest and the bytes of its slices, from memory and from the disk', async () => {
    manifest = publishRecords(dataDir, large, { sliceCount });
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
    manifest = publishRecords(dataDir, large, { sliceCount });
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
