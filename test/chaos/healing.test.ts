// Files of a version damaged under running shards, one at a time: no answer is wrong, and all is healed without a restart.

import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { verifyDataSet } from '../../deploy/verify/verify.ts';
import { currentPath, manifestPath, slicePath, versionPath } from '../../shared/data-set.ts';
import { bitsOf, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { placeManifestName, placeSliceName } from '../../shared/place-layout.ts';
import { placeSlices } from '../../shared/placement.ts';
import { publishRecords } from '../data-sets.ts';
import { account, bucket } from '../object-store/places.ts';
import { S3Server } from '../object-store/s3-server.ts';
import { CheckedLoad, HealingCluster, waiting } from './healing-cluster.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the load of healing.test.ts: TEST_SEED=${seed}`);

const sliceCount = 16;
const shards = 3;
/** Values so large that a shard with a small --memory has to leave its slices on the disk. */
const records = new Map(Array.from({ length: 2_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of key ${i} `.repeat(900))]));
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

/** A file of each kind, each under a shard of its own. */
async function damageEachFile(replicas: number): Promise<void> {
  const versionDirOf = (shard: number): string => versionPath(cluster.dataDirOf(shard), manifest.id);
  await Promise.all([
    damageInAllWays(
      0,
      slicesOf(0, replicas).map((i) => slicePath(versionDirOf(0), i)),
    ),
    damageInAllWays(
      1,
      slicesOf(1, replicas).map((i) => slicePath(versionDirOf(1), i)),
    ),
    damageInAllWays(2, [manifestPath(versionDirOf(2))]).then(() => damageInAllWays(2, [currentPath(cluster.dataDirOf(2))])),
  ]);
}

function startLoad(): CheckedLoad {
  return new CheckedLoad(cluster.routerAddress, records, { absent, seed, connections: 4 });
}

async function expectAllTrue(): Promise<void> {
  for (const [key, value] of [...records].filter((_, i) => i % 10 === 0))
    expect(await cluster.get(key)).toEqual({ status: 200, said: value.toString() });
  for (const key of absent.slice(0, 20)) expect(await cluster.get(key)).toEqual({ status: 404, said: 'key_not_found' });
}

beforeEach(() => {
  cluster = new HealingCluster();
});
afterEach(async () => await cluster.close());

describe('with two copies of each slice, one shard in memory and one on disk', () => {
  beforeEach(async () => {
    for (let i = 0; i < shards; i++) manifest = publishRecords(cluster.dataDirOf(i), records, { sliceCount });
    await cluster.start({ shards, argsOf: (shard) => ['--replicas', '2', ...(shard === 1 ? onDisk : [])] });
    expect((await cluster.statusOf(1)).memory.plan).toMatch(/^on disk/);
  });

  test('each file deleted, truncated, flipped: no answer is wrong, none is 503, and all is healed and counted', async () => {
    const load = startLoad();
    await damageEachFile(2);
    await load.stop();
    expect(load.wrong).toEqual([]);
    expect([...load.counts.keys()].sort()).toEqual([200, 404]);
    await expectAllTrue();
    for (let i = 0; i < shards; i++) expect((await verifyDataSet(cluster.dataDirOf(i), undefined)).problems).toEqual([]);
  });

  test('a shard that comes back with an empty disk has its slices from the others, and nobody notices', async () => {
    const load = startLoad();
    await cluster.stopShard(2);
    rmSync(cluster.dataDirOf(2), { recursive: true });
    await cluster.startShard(2);
    await vi.waitFor(async () => {
      const { state, fetched, versions } = await cluster.statusOf(2);
      expect([state, fetched.replica]).toEqual(['ready', slicesOf(2, 2).length]);
      expect(versions[0]!.slices.corrupt).toEqual([]);
      // What it has, it has on its disk as well.
      expect(readFileSync(currentPath(cluster.dataDirOf(2)), 'utf8')).toContain(manifest.id);
    }, waiting);
    await load.stop();
    expect(load.wrong).toEqual([]);
    expect([...load.counts.keys()].sort()).toEqual([200, 404]);
    const { problems } = await verifyDataSet(cluster.dataDirOf(2), undefined);
    expect(problems.filter((problem) => !problem.includes('no such file'))).toEqual([]);
    expect(problems).toHaveLength(sliceCount - slicesOf(2, 2).length);
  });
});

describe('with one copy of each slice and a backup', () => {
  test('each file deleted, truncated, flipped: no answer is wrong, 503 at worst, and all is healed and counted', async () => {
    for (let i = 0; i < shards; i++) manifest = publishRecords(cluster.dataDirOf(i), records, { sliceCount });
    const backup = join(cluster.folder, 'backup');
    writePlace(backup, cluster.dataDirOf(0));
    // On disk a shard must have more than fits: one of three has some 10 MiB.
    await cluster.start({ shards, argsOf: () => ['--replicas', '1', '--backup', backup] });
    const load = startLoad();
    await damageEachFile(1);
    await load.stop();
    expect(load.wrong).toEqual([]);
    await expectAllTrue();
  });
});

describe('with slices in an object store', () => {
  test('shards with empty disks serve; with the store down they serve from their copies, and heal when it is back', async () => {
    const published = join(cluster.folder, 'published');
    manifest = publishRecords(published, records, { sliceCount });
    const root = join(cluster.folder, 'store');
    mkdirSync(root);
    let store = await S3Server.start({ root, account });
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
      await expectAllTrue();
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
      store = await S3Server.start({ root, account, port: Number(new URL(endpoint).port) });
      await vi.waitFor(async () => expect((await cluster.statusOf(0)).healed.source).toBe(1), waiting);
      await cluster.untilWhole();
      await expectAllTrue();
    } finally {
      await store.close();
    }
  });
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
