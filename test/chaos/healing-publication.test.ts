// Files of the published version deleted, truncated and flipped while the next one comes, and after: under two shards in memory and one that reads from the disk,
// always or while it has two versions, over one data folder; with every answer checked against the version that it names. So each slice has one holder at least
// that does not need the file: two that read the same damaged file would have nothing to answer from. CHAOS_SECONDS=300 for the long form.

import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { verifyDataSet } from '../../deploy/verify/verify.ts';
import { type Current, currentPath, manifestPath, slicePath, versionPath } from '../../shared/data-set.ts';
import { statusOf, TestCluster, waiting } from '../cluster/cluster-harness.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { ask, getRequest } from '../raw-http.ts';
import { CheckedLoad } from './checked-load.ts';
import type { CareStatus } from './healing-cluster.ts';
import { PublishedData } from './published-data.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const chaosSeconds = Number(process.env.CHAOS_SECONDS ?? 10);
console.log(`the damage of healing-publication.test.ts: TEST_SEED=${seed}`);

const sliceCount = 16;
/** 34 MB, of which each shard has two thirds. */
const keyCount = 4_000;
const valueSize = 10_000;
const random = randomFrom(seed);

let cluster: TestCluster;
let data: PublishedData;
let load: CheckedLoad;
let damaged: number;

async function start(memory: string): Promise<void> {
  damaged = 0;
  cluster = await TestCluster.start({
    shards: 3,
    replicas: 2,
    routerArgs: ['--cache-size', '0', '--deadline', '10s'],
    shardArgsOf: (shard) => (shard === 1 ? ['--memory', memory] : []),
    prepare: async (dataDir) => {
      data = new PublishedData(dataDir, keyCount, { valueSize });
      await data.publishNew(sliceCount);
    },
  });
  load = new CheckedLoad(cluster.address, data, { seed, connections: 4 });
}

async function careStatuses(): Promise<readonly CareStatus[]> {
  const replies = await Promise.all(cluster.cluster.shardAddresses.map((address) => ask(address, getRequest('/status'))));
  return replies.map(({ body }) => JSON.parse(body.toString()) as CareStatus);
}

const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((total, each) => total + each, 0);

async function countHealed(): Promise<{ readonly found: number; readonly healed: number }> {
  const statuses = await careStatuses();
  return {
    found: statuses.reduce((total, { corruptFound }) => total + sum(corruptFound), 0),
    healed: statuses.reduce((total, { healed }) => total + sum(healed), 0),
  };
}

/** One slice file in one of three ways. One that is gone already stays so. */
function damageSlice({ id }: Current): void {
  const path = slicePath(versionPath(cluster.dataDir, id), random() % sliceCount);
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size === undefined) return;
  damaged++;
  const way = random() % 3;
  if (way === 0) return rmSync(path);
  if (way === 1) return truncateSync(path, size >> 1);
  const bytes = readFileSync(path);
  bytes[random() % bytes.length]! ^= 1 << (random() % 8);
  writeFileSync(path, bytes);
}

/** All three shards serve this version alone, whole, and its files are as they were published. */
async function untilWhole({ id, sequence }: Current): Promise<void> {
  await vi.waitFor(async () => {
    expect((await statusOf(cluster.address)).version).toMatchObject({ id, sequence });
    for (const { versions, unmended } of await careStatuses()) {
      expect(versions.map((version) => version.id)).toEqual([id]);
      expect([versions[0]!.slices.corrupt, versions[0]!.slices.loading, unmended]).toEqual([[], [], []]);
    }
  }, waiting);
  await vi.waitFor(async () => expect((await verifyDataSet(cluster.dataDir, id, { jobs: 1 })).problems).toEqual([]), {
    ...waiting,
    interval: 500,
  });
}

describe.each([
  ['on disk', '17MiB', 'on disk'],
  ['in memory for 1.2 versions', '30MiB', 'all in '],
])('with a shard %s', (_where, memory, planned) => {
  beforeAll(async () => await start(memory));
  afterAll(async () => {
    await load?.stop().catch(() => {});
    await cluster?.close();
  });

  test('what is damaged before, while and after the next version comes: nothing is wrong or fails, and the published one is whole each time', async () => {
    await vi.waitFor(async () => {
      const plans = (await careStatuses()).map(({ memory }) => memory.plan?.slice(0, 7));
      expect(plans).toEqual(['all in ', planned, 'all in ']);
    }, waiting);
    const endMs = performance.now() + 1_000 * chaosSeconds;
    let rounds = 0;
    for (; performance.now() < endMs; rounds++) {
      const served = data.publications.at(-1)!;
      const publishing = data.publishNew(sliceCount);
      for (let i = 0; i < 2; i++) damageSlice(served);
      const next = await publishing;
      // It is being loaded now, beside the old one, which is read from its files where memory is short.
      for (let i = 0; i < 3; i++) {
        damageSlice(served);
        await pause(random() % 200);
      }
      await vi.waitFor(async () => expect((await statusOf(cluster.address)).version).toMatchObject({ id: next.id }), waiting);
      await untilWhole(next);
      const before = await countHealed();
      damageSlice(next);
      if (rounds % 2 === 0) rmSync(manifestPath(versionPath(cluster.dataDir, next.id)));
      else rmSync(currentPath(cluster.dataDir));
      await vi.waitFor(async () => {
        const { found, healed } = await countHealed();
        expect([found - before.found >= 2, healed - before.healed >= 2]).toEqual([true, true]);
      }, waiting);
      await untilWhole(next);
      expect(load.faults).toEqual([]);
    }
    console.log(`${rounds} publications, ${damaged} slice files damaged; ${JSON.stringify(await countHealed())}`);
  }, 600_000);

  test('every request was answered, from the versions that were published', async () => {
    await load.stop();
    console.log(`${JSON.stringify({ ...load.counts, ...load.faultCounts })}, slowest ${Math.round(load.slowestMs)} ms`);
    expect(load.faults).toEqual([]);
    expect(load.counts.gets).toBeGreaterThan(500);
  });
});
