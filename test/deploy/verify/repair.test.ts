import { cp, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { repairDataSet } from '../../../deploy/verify/repair.ts';
import { verifyDataSet } from '../../../deploy/verify/verify.ts';
import { Shard } from '../../../shard/shard.ts';
import {
  currentPath,
  formatCurrent,
  manifestPath,
  publicationsPath,
  readCurrent,
  slicePath,
  versionPath,
} from '../../../shared/data-set.ts';
import type { Manifest } from '../../../shared/manifest.ts';
import { placeManifestName, placeSliceName } from '../../../shared/place-layout.ts';
import { formatPublications } from '../../../shared/publications.ts';
import { publishRecords } from '../../data-sets.ts';
import { findDebris, makeFolder, runPavostore, waitFor } from '../data-folder.ts';

const sliceCount = 4;
const records = new Map(Array.from({ length: 300 }, (_, i) => [`key-${i}`, Buffer.from(`value-${i}`)] as const));

async function makeDataSet(): Promise<{ folder: string; dataDir: string; manifest: Manifest }> {
  const folder = await makeFolder();
  const dataDir = join(folder, 'data');
  return { folder, dataDir, manifest: publishRecords(dataDir, records, { sliceCount }) };
}

/** Every file gone, cut or changed but for one slice. */
async function damageAll(dataDir: string, { id }: Manifest): Promise<void> {
  const versionDir = versionPath(dataDir, id);
  await rm(slicePath(versionDir, 0));
  await truncate(slicePath(versionDir, 1), 200);
  const bytes = await readFile(slicePath(versionDir, 3));
  bytes[bytes.length >> 1]! ^= 4;
  await writeFile(slicePath(versionDir, 3), bytes);
  await truncate(manifestPath(versionDir), 100);
  await writeFile(currentPath(dataDir), 'damaged');
}

async function expectWhole(dataDir: string): Promise<void> {
  expect((await verifyDataSet(dataDir, undefined)).problems).toEqual([]);
  expect(await findDebris(dataDir)).toEqual([]);
}

/** A backup of it, as `pavostore backup` lays it out. */
async function backUp(folder: string, dataDir: string, manifest: Manifest): Promise<string> {
  const place = join(folder, 'backup');
  for (const name of ['slices', 'manifests']) await mkdir(join(place, name), { recursive: true });
  for (const [i, { sha256 }] of manifest.identity.slices.entries())
    await cp(slicePath(versionPath(dataDir, manifest.id), i), join(place, placeSliceName(sha256)));
  await cp(manifestPath(versionPath(dataDir, manifest.id)), join(place, placeManifestName(manifest.id)));
  await cp(currentPath(dataDir), join(place, 'current'));
  return place;
}

test('all that is damaged comes back from a backup, what is whole is not touched; as a command too', async () => {
  const { folder, dataDir, manifest } = await makeDataSet();
  const place = await backUp(folder, dataDir, manifest);
  await damageAll(dataDir, manifest);

  const { problems, repaired } = await repairDataSet(dataDir, undefined, { backup: { place, options: {} } });
  expect([problems, repaired.length]).toEqual([[], 5]);
  await expectWhole(dataDir);

  await rm(slicePath(versionPath(dataDir, manifest.id), 2));
  const { exitCode, stdout, stderr } = await runPavostore(['verify', '--data', dataDir, '--repair', '--backup', place]);
  expect([exitCode, stdout, stderr]).toEqual([
    0,
    expect.stringMatching(/whole/),
    expect.stringMatching(/0002\.slice.*mended from the backup/),
  ]);
  await expectWhole(dataDir);

  // A backup that is damaged itself mends nothing, and says so.
  await rm(slicePath(versionPath(dataDir, manifest.id), 2));
  await writeFile(join(place, placeSliceName(manifest.identity.slices[2]!.sha256)), Buffer.alloc(manifest.identity.slices[2]!.bytes));
  const events: string[] = [];
  const report = await repairDataSet(dataDir, undefined, { backup: { place, options: {} }, onEvent: (message) => events.push(message) });
  expect([report.problems.length, report.repaired, events.length]).toEqual([1, [], 1]);
  expect(events[0]).toMatch(/^0002\.slice cannot be mended: backup .*SHA-256/);
  expect(await findDebris(dataDir)).toEqual([]);
});

/** A shard over a folder, until the test is over; returns its address. */
async function startShard(dataDir: string): Promise<string> {
  const shard = new Shard({
    dataDir,
    host: '127.0.0.1',
    port: 0,
    members: undefined,
    name: 'good',
    zone: undefined,
    replicas: 1,
    memory: undefined,
    stateDir: undefined,
    leaveGraceMs: 0,
    logLevel: 'silent',
  });
  const address = `127.0.0.1:${await shard.start()}`;
  onTestFinished(async () => await shard.close());
  await waitFor(async () => shard.isReady || undefined, 'the shard');
  return address;
}

/** A server in front of a shard, until the test is over; returns its address. */
async function startServer(onRequest: RequestListener): Promise<string> {
  const server = createServer(onRequest);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('all that is damaged comes back from a shard that serves it', async () => {
  const { dataDir, manifest } = await makeDataSet();
  await damageAll(dataDir, manifest);
  const { problems, repaired } = await repairDataSet(dataDir, undefined, { members: await startShard((await makeDataSet()).dataDir) });
  expect([problems, repaired.length]).toEqual([[], 5]);
  await expectWhole(dataDir);
});

test('a shard that does not answer the first poll is asked again', async () => {
  const { dataDir, manifest } = await makeDataSet();
  await damageAll(dataDir, manifest);
  const address = await startShard((await makeDataSet()).dataDir);
  let polls = 0;
  const members = await startServer(async (request, response) => {
    if (request.url === '/status' && polls++ === 0) return;
    const reply = await fetch(`http://${address}${request.url}`);
    response.end(Buffer.from(await reply.arrayBuffer()));
  });
  const { problems, repaired } = await repairDataSet(dataDir, undefined, { members });
  expect([problems, repaired.length]).toEqual([[], 5]);
  await expectWhole(dataDir);
});

test('a current that comes back names the version before it, as the backup or the list of publications knows it', async () => {
  const { folder, dataDir, manifest } = await makeDataSet();
  const members = await startShard((await makeDataSet()).dataDir);
  const previousId = 'a'.repeat(32);
  const whole = { sequence: 1, id: manifest.id, previousId };
  const backup = { place: join(folder, 'backup'), options: {} };
  await mkdir(backup.place);
  await writeFile(join(backup.place, 'current'), formatCurrent(whole));
  await rm(currentPath(dataDir));
  await repairDataSet(dataDir, undefined, { members, backup });
  expect(await readCurrent(dataDir)).toEqual(whole);

  const publication = { act: 'publish', outcome: 'passed', reasons: [] } as const;
  const list = [
    { ...publication, id: previousId, sequence: 0, atMs: 0 },
    { ...publication, id: manifest.id, sequence: 1, atMs: 1 },
  ];
  await writeFile(publicationsPath(dataDir), formatPublications({ pin: undefined, list }));
  await rm(currentPath(dataDir));
  await repairDataSet(dataDir, undefined, { members });
  expect(await readCurrent(dataDir)).toEqual(whole);
});

test('a shard that is lost while it gives a slice does not keep the backup from being asked', async () => {
  const { folder, dataDir, manifest } = await makeDataSet();
  const place = await backUp(folder, dataDir, manifest);
  await damageAll(dataDir, manifest);
  const address = await startShard((await makeDataSet()).dataDir);
  const members = await startServer(async (request, response) => {
    const reply = await fetch(`http://${address}${request.url}`);
    const body = Buffer.from(await reply.arrayBuffer());
    response.setHeader('content-length', body.length);
    if (!request.url!.includes('/slices/')) return response.end(body);
    return response.write(body.subarray(0, 100), () => response.socket!.resetAndDestroy());
  });
  const events: string[] = [];
  const onEvent = (message: string): void => void events.push(message);
  const { problems, repaired } = await repairDataSet(dataDir, undefined, { members, backup: { place, options: {} }, onEvent });
  expect([problems, repaired.length]).toEqual([[], 5]);
  expect(events.filter((message) => message.endsWith('mended from the backup'))).toHaveLength(3);
  await expectWhole(dataDir);
});

test('without anybody who could have a copy --repair is refused', async () => {
  const { dataDir } = await makeDataSet();
  const { exitCode, stderr } = await runPavostore(['verify', '--data', dataDir, '--repair']);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('--backup')]);
});
