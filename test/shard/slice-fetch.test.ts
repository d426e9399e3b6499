// Slices from sources that fail in the middle, or into a DATA that cannot be written.

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Shard, type ShardOptions } from '../../shard/shard.ts';
import { type FetchTarget, fetchSlice } from '../../shard/slice-fetch.ts';
import { type SliceSource, SourceDoor } from '../../shard/slice-source.ts';
import { slicePath, versionPath } from '../../shared/data-set.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { placeSliceName, placeSlicesPrefix } from '../../shared/place-layout.ts';
import { parseTransferPath } from '../../shared/slice-transfer.ts';
import { SmallDisk, whyNoSmallDisk } from '../chaos/small-disk.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords } from '../data-sets.ts';
import { findDebris, makeFolder } from '../deploy/data-folder.ts';

/** More slices than a client has sockets, and each more than the buffers on its way take. */
const sliceCount = 8;
const records = new Map(Array.from({ length: 64 }, (_, i) => [`key-${i}`, Buffer.alloc(512 * 1024, `value of key-${i} `)]));

type Fixture = { readonly folder: string; readonly dataDir: string; readonly manifest: Manifest; readonly files: readonly Buffer[] };

async function makeFixture(): Promise<Fixture> {
  const folder = await makeFolder();
  const dataDir = join(folder, 'good');
  const manifest = publishRecords(dataDir, records, { sliceCount });
  const files = manifest.identity.slices.map((_, i) => readFileSync(slicePath(versionPath(dataDir, manifest.id), i)));
  for (const { length } of files) expect(length).toBeGreaterThan(1024 * 1024);
  return { folder, dataDir, manifest, files };
}

function makeBackup({ folder, dataDir, manifest }: Fixture): SliceSource {
  const place = join(folder, 'backup');
  mkdirSync(join(place, placeSlicesPrefix), { recursive: true });
  for (const [i, { sha256 }] of manifest.identity.slices.entries())
    cpSync(slicePath(versionPath(dataDir, manifest.id), i), join(place, placeSliceName(sha256)));
  return { kind: 'backup', place, options: {} };
}

async function startServer(listener: RequestListener): Promise<SliceSource & { readonly kind: 'replica' }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { kind: 'replica', address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

function openDoor(): SourceDoor {
  const door = new SourceDoor();
  onTestFinished(async () => await door.close());
  return door;
}

const wantedOf = ({ manifest }: Fixture, i: number) => ({
  versionId: manifest.id,
  sliceIndex: i as SliceIndex,
  sliceCount,
  expected: manifest.identity.slices[i]!,
});
const never = new AbortController().signal;

const wrongAnswers: Readonly<Record<string, (file: Buffer, response: ServerResponse) => void>> = {
  'dies in the middle': (file, response) => {
    response.setHeader('content-length', file.length);
    response.write(file.subarray(0, file.length >> 1), () => response.socket!.resetAndDestroy());
  },
  'ends too early': (file, response) => {
    response.setHeader('content-length', file.length);
    response.write(file.subarray(0, file.length >> 1), () => response.socket!.end());
  },
  'sends something without end': (_file, response) => {
    response.setHeader('content-length', 2 ** 40);
    response.write(Buffer.alloc(1024 * 1024));
  },
  'refuses without end': (_file, response) => {
    response.statusCode = 503;
    response.write(Buffer.alloc(1024));
  },
};

test.for(Object.keys(wrongAnswers))('from a replica that %s the next source is asked, and the file is written', async (what) => {
  const fixture = await makeFixture();
  const replica = await startServer((_request, response) => wrongAnswers[what]!(fixture.files[2]!, response));
  const target: FetchTarget = { kind: 'file', dataDir: join(fixture.folder, 'data') };
  const outcome = await fetchSlice(openDoor(), wantedOf(fixture, 2), [replica, makeBackup(fixture)], target, never);
  expect(outcome).toMatchObject({
    from: 'backup',
    failures: what.startsWith('refuses') ? [expect.stringContaining('busy')] : [expect.any(String)],
  });
  expect(readFileSync(slicePath(versionPath(target.dataDir, fixture.manifest.id), 2)).equals(fixture.files[2]!)).toBe(true);
  expect(await findDebris(target.dataDir)).toEqual([]);
});

test('where there can be no file nobody is asked: each slice can still be had in memory', async () => {
  const fixture = await makeFixture();
  const asked: string[] = [];
  const replica = await startServer((request, response) => {
    asked.push(request.url!);
    const file = fixture.files[parseTransferPath(request.url!)!.sliceIndex!]!;
    response.setHeader('content-length', file.length).end(file);
  });
  const file = join(fixture.folder, 'file');
  writeFileSync(file, '');
  const door = openDoor();
  for (const [i, bytes] of fixture.files.entries()) {
    const target: FetchTarget = { kind: 'file', dataDir: join(file, 'data') };
    await expect(fetchSlice(door, wantedOf(fixture, i), [replica], target, never)).rejects.toMatchObject({ code: 'data_unwritable' });
    const { from, slice } = await fetchSlice(door, wantedOf(fixture, i), [replica], { kind: 'memory' }, never);
    expect([from, Buffer.from(slice!.bytes).equals(bytes)]).toEqual(['replica', true]);
  }
  expect(asked).toHaveLength(sliceCount);
});

async function startShard(options: Pick<ShardOptions, 'dataDir' | 'name' | 'members'>): Promise<{ shard: Shard; address: string }> {
  const rest = { host: '127.0.0.1', port: 0, zone: undefined, replicas: 2, memory: undefined, stateDir: undefined, leaveGraceMs: 0 };
  const shard = new Shard({ ...rest, logLevel: 'silent', ...options });
  onTestFinished(async () => await shard.close());
  return { shard, address: `127.0.0.1:${await shard.start()}` };
}

/** A shard over `dataDir` has all slices in memory, of another shard that has them. */
async function expectHealed({ dataDir: goodDir }: Fixture, dataDir: string): Promise<void> {
  const good = await startShard({ dataDir: goodDir, name: 'good', members: undefined });
  await vi.waitFor(() => expect(good.shard.isReady).toBe(true), waiting);
  const { shard } = await startShard({ dataDir, name: 'poor', members: { kind: 'fixed', addresses: [good.address] } });
  await vi.waitFor(() => expect(shard.serving?.slicesKept('memory')).toHaveLength(sliceCount), waiting);
  expect(shard.status()).toMatchObject({ fetched: { replica: sliceCount, backup: 0, source: 0 } });
}

test('a shard whose DATA cannot be made holds all of its slices in memory', async () => {
  const fixture = await makeFixture();
  const file = join(fixture.folder, 'file');
  writeFileSync(file, '');
  await expectHealed(fixture, join(file, 'data'));
});

const skipped = whyNoSmallDisk();
if (skipped !== undefined) console.log(`slice-fetch.test.ts: read-only disk skipped: ${skipped}`);

test.skipIf(skipped !== undefined)('a shard whose DATA is read-only, and lost all slices, holds all of them in memory', async () => {
  const fixture = await makeFixture();
  const disk = new SmallDisk(join(fixture.folder, 'disk'), 16 * 1024 * 1024);
  onTestFinished(() => disk.close());
  const dataDir = join(disk.folder, 'data');
  cpSync(fixture.dataDir, dataDir, { recursive: true, filter: (path) => !path.endsWith('.slice') });
  execFileSync('mount', ['-o', 'remount,ro', disk.folder]);
  await expectHealed(fixture, dataDir);
  expect(existsSync(slicePath(versionPath(dataDir, fixture.manifest.id), 0))).toBe(false);
});
