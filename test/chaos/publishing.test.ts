// Publishing under load: new versions, the same one again, one that the shards have dropped, several at once, a pinned one; over real processes, with every
// answer checked against the version that it names. CHAOS_SECONDS=300 for the long form, with a version every 10 s; with CHAOS_ENTRIES=1000000 every minute.

import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { unpinVersion } from '../../deploy/publish/rollback.ts';
import { type Current, readCurrent } from '../../shared/data-set.ts';
import { statusOf, TestCluster, waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest } from '../raw-http.ts';
import { CheckedLoad } from './checked-load.ts';
import { PublishedData } from './published-data.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const chaosSeconds = Number(process.env.CHAOS_SECONDS ?? 12);
const entries = Number(process.env.CHAOS_ENTRIES ?? 10_000);
const isLong = chaosSeconds > 60;
const intervalMs = entries > 100_000 ? 60_000 : isLong ? 10_000 : 2_500;
console.log(`the load of publishing.test.ts: TEST_SEED=${seed}`);

type ShardStatus = {
  readonly versions: readonly { readonly id: string }[];
  readonly serving: string;
  readonly next: unknown;
  readonly memory: { readonly slices: number };
};

let cluster: TestCluster;
let data: PublishedData;
let dataDirPublished: string;
let routers: readonly string[];
let loads: readonly CheckedLoad[];

beforeAll(async () => {
  const routerArgs = ['--deadline', '10s'];
  cluster = await TestCluster.start({
    shards: 3,
    replicas: 2,
    routerArgs,
    prepare: async (dataDir) => {
      dataDirPublished = dataDir;
      data = new PublishedData(dataDir, entries);
      await data.publishNew(64);
    },
  });
  routers = [cluster.address, await cluster.startRouter(routerArgs)];
  loads = routers.map((address, i) => new CheckedLoad(address, data, { seed: seed + 100 * i, connections: 8 }));
});

afterAll(async () => {
  await Promise.allSettled((loads ?? []).map((load) => load.stop()));
  await cluster?.close();
});

async function shardStatuses(): Promise<readonly ShardStatus[]> {
  const replies = await Promise.all(cluster.cluster.shardAddresses.map((address) => ask(address, getRequest('/status'))));
  return replies.map(({ body }) => JSON.parse(body.toString()) as ShardStatus);
}

/** Both routers serve it; resolves to the milliseconds that it took. */
async function untilServed({ id, sequence }: Current): Promise<number> {
  const startMs = performance.now();
  await vi.waitFor(async () => {
    for (const address of routers) expect((await statusOf(address)).version).toMatchObject({ id, sequence });
  }, waiting);
  return performance.now() - startMs;
}

/** Every shard holds this version alone; resolves to the bytes of its slices in all memories. */
async function untilAlone({ id }: Current): Promise<number> {
  await vi.waitFor(async () => {
    for (const { versions, serving, next } of await shardStatuses()) {
      expect({ held: versions.map((version) => version.id), serving, next }).toEqual({ held: [id], serving: id, next: null });
    }
  }, waiting);
  return (await shardStatuses()).reduce((sum, { memory }) => sum + memory.slices, 0);
}

function expectNoFaults(): void {
  for (const load of loads) expect(load.faults).toEqual([]);
}

test('a new version every few seconds: nothing fails, nothing is of another version than it says, and the memory comes back', async () => {
  const bytesOfOne = await untilAlone(data.publications[0]!);
  const endMs = performance.now() + 1_000 * chaosSeconds;
  const servedMs: number[] = [];
  for (let i = 0; performance.now() < endMs; i++) {
    const startMs = performance.now();
    const current = await (isLong ? publishSomehow(i) : data.publishNew(i % 3 === 0 ? 16 : 64));
    servedMs.push(await untilServed(current));
    const bytes = await untilAlone(current);
    expect(bytes).toBeLessThan(1.1 * bytesOfOne);
    expectNoFaults();
    await pause(Math.max(0, intervalMs - (performance.now() - startMs)));
  }
  servedMs.sort((a, b) => a - b);
  console.log(`${servedMs.length} publications; served after ${servedMs.map(Math.round).join(', ')} ms`);
}, 600_000);

/** New versions and what operators do beside them, in turn. */
async function publishSomehow(turn: number): Promise<Current> {
  const last = data.publications.at(-1)!;
  if (turn % 5 === 2) {
    await data.publishNew(64);
    await pause(300);
    return await data.publishAgain(last.id);
  }
  if (turn % 5 === 3) return await data.publishAgain(data.publications[0]!.id);
  if (turn % 5 === 4) return await pinAndPublish();
  return await data.publishNew(turn % 3 === 0 ? 16 : 64);
}

/** A pinned version stays, whatever is to be published; then it is let go. */
async function pinAndPublish(): Promise<Current> {
  const last = data.publications.at(-1)!;
  await data.pin();
  await expect(data.publishNew(64)).rejects.toMatchObject({ code: 'version_pinned' });
  expect((await readCurrent(dataDirPublished))!.id).toBe(last.id);
  await unpinVersion({ dataDir: dataDirPublished });
  return await data.publishNew(64);
}

test('A, B, A: each is served, the last one without being loaded again', async () => {
  const a = data.publications.at(-1)!;
  await data.publishNew(64);
  await pause(300);
  const again = await data.publishAgain(a.id);
  await untilServed(again);
  await untilAlone(again);
  expectNoFaults();
});

test('back to a version that the shards have dropped', async () => {
  const current = await data.publishAgain(data.publications[0]!.id);
  await untilServed(current);
  await untilAlone(current);
  expectNoFaults();
});

test('a pinned version stays, and is followed when it is let go', async () => {
  const current = await pinAndPublish();
  await untilServed(current);
  await untilAlone(current);
  expectNoFaults();
});

test('several versions while one is still being loaded: the last one is served in the end', async () => {
  let current = await data.publishNew(64);
  for (let i = 0; i < 6; i++) {
    await pause(150);
    current = i === 3 ? await data.publishAgain(data.publications[1]!.id) : await data.publishNew(16);
  }
  await untilServed(current);
  await untilAlone(current);
  expectNoFaults();
});

test('every request was answered, from the versions that were published', async () => {
  await Promise.all(loads.map((load) => load.stop()));
  expectNoFaults();
  for (const load of loads) {
    console.log(
      `${JSON.stringify({ ...load.counts, ...load.faultCounts })}, slowest ${Math.round(load.slowestMs)} ms, ${load.seen.size} of ${data.publications.length} publications seen`,
    );
    expect(load.counts.gets).toBeGreaterThan(1_000);
    expect(load.counts.mgets).toBeGreaterThan(300);
    expect(load.seen.size).toBeGreaterThan(2);
  }
});
