// Files of a version damaged under running shards, one at a time: no answer is wrong, and all is healed without a restart.

import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { verifyDataSet } from '../../deploy/verify/verify.ts';
import { currentPath, manifestPath, slicePath, versionPath } from '../../shared/data-set.ts';
import { bitsOf, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { placeManifestName, placeSliceName } from '../../shared/place-layout.ts';
import { placeSlices } from '../../shared/placement.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import { publishRecords } from '../data-sets.ts';
import { account, bucket } from '../object-store/places.ts';
import { S3Server } from '../object-store/s3-server.ts';
import { CheckedLoad, HealingCluster, waiting } from './healing-cluster.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the load of healing.test.ts: TEST_SEED=${seed}`);

const sliceCount = 16;
/** Values so large that a shard with a small --memory has to leave its slices on the disk. */
const records = new Map(Array.from({ length: 2_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of key ${i} `.repeat(1_100))]));
const smallRecords = new Map([...records.keys()].map((key) => [key, Buffer.from(`value of ${key}`)]));
const absent = Array.from({ length: 400 }, (_, i) => `nobody ${i}`);
const onDisk = ['--memory', '17MiB'];

type Damage = readonly [name: string, damage: (path: string) => void];
const damages: readonly Damage[] = [
  ['deleted', (path) => rmSync(path)],
  ['truncated', (path) => truncateSync(path, statSync(path).size >> 1)],
  ['flipped', (path) => flip(path, statSync(path).size >> 1)],
];

let cluster: HealingCluster;
let manifest: Manifest;

/** One bit of a file, changed in place behind everybody's back. */
function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset]! ^= 0x10;
  writeFileSync(path, bytes);
}

/** A place with the version, as `backup` makes it. */
function writePlace(place: string, dataDir: string): void {
  for (const folder of ['slices', 'manifests']) mkdirSync(join(place, folder), { recursive: true });
  const versionDir = versionPath(dataDir, manifest.id);
  for (const [i, { sha256 }] of manifest.identity.slices.entries())
    copyFileSync(slicePath(versionDir, i), join(place, placeSliceName(sha256)));
  copyFileSync(manifestPath(versionDir), join(place, placeManifestName(manifest.id)));
  copyFileSync(currentPath(dataDir), join(place, 'current'));
}

const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((total, each) => total + each, 0);

/** The slices that shard `i` has, by placement. */
function slicesOf(shard: number, replicas: number): number[] {
  const members = cluster.addresses.map((name) => ({ name }));
  const placement = placeSlices({ members, sliceCount, replicas });
  return placement.flatMap((names, sliceIndex) => (names.includes(cluster.addresses[shard]!) ? [sliceIndex] : []));
}

/** Damages a file in each way, one after the other; waits each time until it is as it was, and the shard has counted it. */
async function damageInAllWays(shard: number, paths: readonly string[]): Promise<void> {
  for (const [i, [name, damage]] of damages.entries()) {
    const path = paths[i % paths.length]!;
    const good = readFileSync(path);
    const before = await cluster.statusOf(shard);
    damage(path);
    await vi.waitFor(async () => {
      expect(readFileSync(path).equals(good), `${path} ${name}`).toBe(true);
      const { corruptFound, healed, unmended, versions } = await cluster.statusOf(shard);
      expect([name, sum(corruptFound) - sum(before.corruptFound), sum(healed) - sum(before.healed)]).toEqual([name, 1, 1]);
      expect([unmended, versions[0]!.slices.corrupt, versions[0]!.slices.loading]).toEqual([[], [], []]);
    }, waiting);
  }
}

const sliceFilesOf = (shard: number, replicas: number): string[] =>
  slicesOf(shard, replicas).map((i) => slicePath(versionPath(cluster.dataDirOf(shard), manifest.id), i));
const manifestOf = (shard: number): string => manifestPath(versionPath(cluster.dataDirOf(shard), manifest.id));
const currentOf = (shard: number): string => currentPath(cluster.dataDirOf(shard));

function startLoad(): CheckedLoad {
  return new CheckedLoad(cluster.routerAddress, records, { absent, seed, connections: 4 });
}

/** Once the router knows of all that is kept. */
async function expectAllTrue(of = records): Promise<void> {
  await cluster.untilWhole();
  for (const [key, value] of [...of].filter((_, i) => i % 10 === 0)) {
    const { status, said } = await cluster.get(key);
    expect([key, status, said === value.toString()]).toEqual([key, 200, true]);
  }
  for (const key of absent.slice(0, 20)) expect(await cluster.get(key)).toEqual({ status: 404, said: 'key_not_found' });
}

/** Publishes the records into the folders of so many shards. */
function publishFor(shards: number): void {
  manifest = publishRecords(cluster.dataDirOf(0), records, { sliceCount });
  for (let i = 1; i < shards; i++) cpSync(cluster.dataDirOf(0), cluster.dataDirOf(i), { recursive: true });
}

beforeEach(() => {
  cluster = new HealingCluster();
});
afterEach(async () => await cluster.close());

test('with two copies each file deleted, truncated, flipped: no answer is wrong, none is 503, all is healed and counted; and a shard joins with an empty disk', async () => {
  publishFor(4);
  await cluster.start({ shards: 4, argsOf: (shard) => ['--replicas', '2', ...(shard === 1 ? onDisk : [])] });
  expect((await cluster.statusOf(1)).memory.plan).toMatch(/^on disk/);
  const load = startLoad();
  // Each under a shard of its own: in memory, on disk.
  await Promise.all([
    damageInAllWays(0, sliceFilesOf(0, 2)),
    damageInAllWays(1, sliceFilesOf(1, 2)),
    damageInAllWays(2, [manifestOf(2)]),
    damageInAllWays(3, [currentOf(3)]),
  ]);

  await cluster.stopShard(2);
  rmSync(cluster.dataDirOf(2), { recursive: true });
  await cluster.startShard(2);
  const slices = slicesOf(2, 2);
  await vi.waitFor(async () => {
    const { state, fetched, healed, versions } = await cluster.statusOf(2);
    // Where a first round heard nobody, what is missing counts as corrupt, and its copies as what healed it.
    expect([state, fetched.replica! + healed.replica!, versions[0]?.slices.corrupt]).toEqual(['ready', slices.length, []]);
    // What it has, it has on its disk as well.
    expect(readFileSync(currentOf(2), 'utf8')).toContain(manifest.id);
  }, waiting);
  const { problems } = await verifyDataSet(cluster.dataDirOf(2), undefined);
  expect(problems.filter((problem) => !problem.includes('no such file'))).toEqual([]);
  expect(problems).toHaveLength(sliceCount - slices.length);

  await load.stop();
  expect(load.wrong).toEqual([]);
  expect([...load.counts.keys()].sort()).toEqual([200, 404]);
  await expectAllTrue();
});

test('with one copy and a backup each file deleted, truncated, flipped: no answer is wrong, 503 at worst, and all is healed and counted', async () => {
  publishFor(2);
  const backup = join(cluster.folder, 'backup');
  writePlace(backup, cluster.dataDirOf(0));
  await cluster.start({ shards: 2, argsOf: (shard) => ['--replicas', '1', '--backup', backup, ...(shard === 1 ? onDisk : [])] });
  expect((await cluster.statusOf(1)).memory.plan).toMatch(/^on disk/);
  const load = startLoad();
  await Promise.all([damageInAllWays(0, [...sliceFilesOf(0, 1)]), damageInAllWays(1, sliceFilesOf(1, 1))]);
  await load.stop();
  expect(load.wrong).toEqual([]);
  const { healed } = await cluster.statusOf(1);
  // What was deleted is still open in the shard; the rest can come from nowhere else.
  expect(healed).toMatchObject({ own: 1, backup: 2 });
  await expectAllTrue();
});

test('with slices in an object store shards with empty disks serve; with the store down from their copies; what they lack heals when it is back', async () => {
  const shards = 2;
  const published = join(cluster.folder, 'published');
  manifest = publishRecords(published, smallRecords, { sliceCount });
  const root = join(cluster.folder, 'store');
  mkdirSync(root);
  // It comes back on its port, which nobody is to get meanwhile.
  const port = nextPorts(1);
  let store = await S3Server.start({ root, account, port });
  store.makeBucket(bucket);
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: account.accessKeyId,
    AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
    AWS_SESSION_TOKEN: account.sessionToken,
  });
  const { endpoint } = store;
  await fillStore(endpoint, published);
  try {
    const source = ['--source', `s3://${bucket}/data`, '--endpoint', endpoint, '--replicas', '1'];
    await cluster.start({ shards, argsOf: () => source });
    await expectAllTrue(smallRecords);
    const fetched = await Promise.all(cluster.addresses.map(async (_, i) => (await cluster.statusOf(i)).fetched.source!));
    expect(fetched.reduce((total, each) => total + each, 0)).toBe(sliceCount);

    await store.close();
    await cluster.stopShard(0);
    const [lost] = slicesOf(0, 1) as [number];
    rmSync(slicePath(versionPath(cluster.dataDirOf(0), manifest.id), lost));
    await cluster.startShard(0);
    await vi.waitFor(async () => expect((await cluster.statusOf(0)).versions[0]?.slices.corrupt).toEqual([[lost, lost]]), waiting);
    for (const key of [...records.keys()].filter((_, i) => i % 20 === 0)) {
      const isLost = sliceIndexOf(keyHash32OfLatin1(key), bitsOf(sliceCount)) === lost;
      expect([key, (await cluster.get(key)).status]).toEqual([key, isLost ? 503 : 200]);
    }
    store = await S3Server.start({ root, account, port });
    await vi.waitFor(async () => expect((await cluster.statusOf(0)).healed.source).toBe(1), waiting);
    await cluster.untilWhole();
    await expectAllTrue(smallRecords);
  } finally {
    await store.close();
  }
});

async function fillStore(endpoint: string, published: string): Promise<void> {
  const { openPlace } = await import('../../shared/place.ts');
  const place = join(cluster.folder, 'place');
  writePlace(place, published);
  const store = openPlace(`s3://${bucket}/data`, { endpoint });
  const names = [
    'current',
    placeManifestName(manifest.id),
    ...new Set(manifest.identity.slices.map(({ sha256 }) => placeSliceName(sha256))),
  ];
  for (const name of names) await store.writeFile(name, join(place, name));
  await store.close();
}
