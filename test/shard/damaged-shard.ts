// One shard in the test's own process, whose files and memory a test damages.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { Shard, type ShardOptions } from '../../shard/shard.ts';
import { slicePath, versionPath } from '../../shared/data-set.ts';
import { bitsOf, keyHash32OfLatin1, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords, type Records } from '../data-sets.ts';
import { ask, getRequest, percentEncode } from '../raw-http.ts';
import { problemCodeOf } from '../router/contract-cluster.ts';

export const small = new Map(Array.from({ length: 200 }, (_, i) => [`key-${i}`, Buffer.from(`value of key-${i}`)]));
/** More than the least cache: with a small --memory its slices stay on the disk. */
export const large = new Map(Array.from({ length: 40 }, (_, i) => [`key-${i}`, Buffer.alloc(512 * 1024, `value of key-${i} `)]));
export const onDisk = { memory: 17 * 1024 * 1024 };
export const sliceCount = 4;
export const isIn = (sliceIndex: number) => (key: string) => sliceIndexOf(keyHash32OfLatin1(key), bitsOf(sliceCount)) === sliceIndex;
export const slice = 1 as SliceIndex;

let folder: string;
let dataDir: string;
export let manifest: Manifest;
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

export type Running = { readonly shard: Shard; readonly address: string };

export async function startShard(options: Partial<ShardOptions> = {}): Promise<Running> {
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

export const pathOf = (sliceIndex: number): string => slicePath(versionPath(dataDir, manifest.id), sliceIndex);

export function flipInFile(sliceIndex: number, offset: number): void {
  const bytes = readFileSync(pathOf(sliceIndex));
  bytes[offset]! ^= 0x04;
  writeFileSync(pathOf(sliceIndex), bytes);
}

/** Where a value lies in the file of its slice. */
export function offsetOf(records: Records, key: string): number {
  return readFileSync(pathOf(slice)).indexOf(records.get(key)!.subarray(0, 40));
}

export async function get({ address }: Running, key: string): Promise<{ status: number; said: string }> {
  const response = await ask(address, getRequest(`/get?key=${percentEncode(key)}`));
  return { status: response.status, said: response.status === 200 ? response.body.toString('latin1') : problemCodeOf(response)! };
}

export async function expectAllTrue(running: Running, records: Records): Promise<void> {
  for (const [key, value] of records) expect(await get(running, key)).toEqual({ status: 200, said: value.toString('latin1') });
  expect(await get(running, 'nobody')).toEqual({ status: 404, said: 'key_not_found' });
}

type Care = { corruptFound: Record<string, number>; healed: Record<string, number>; unmended: unknown[] };
export const careOf = ({ shard }: Running): Care => shard.status() as unknown as Care;

/** Into the folder of the test. */
export function publish(records: Records): void {
  manifest = publishRecords(dataDir, records, { sliceCount });
}

/** Starts with a cold cache: each key is read from the disk. */
export async function startCold(options: Partial<ShardOptions> = {}): Promise<Running> {
  const preloadShare = vi.spyOn(limits, 'preloadShare', 'get').mockReturnValue(0 as 0.85);
  const running = await startShard({ ...onDisk, ...options });
  preloadShare.mockRestore();
  expect(running.shard.versions[0]!.diskSlices[slice]).toBeDefined();
  return running;
}
