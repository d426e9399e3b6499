import { copyFileSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { currentPath, manifestPath, slicePath, versionPath } from '../../shared/data-set.ts';
import { bitsOf, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { ClusterWatch, shortenLoopWindows } from '../chaos/cluster-watch.ts';
import { encodeRecords } from '../data-sets.ts';
import { ask, getRequest, percentEncode } from '../raw-http.ts';
import { TestCluster, waiting } from './cluster-harness.ts';
import { Load, type Sample } from './load.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the load of failure.test.ts: TEST_SEED=${seed}`);

const sliceCount = 16;
const present = Array.from({ length: 2_000 }, (_, i) => `key ${i}`);
const absent = Array.from({ length: 500 }, (_, i) => `nobody ${i}`);
const records = new Map(present.map((key) => [key, Buffer.from(`value of ${key}`)]));

const sliceOf = (key: string): number => sliceIndexOf(keyHash32OfLatin1(key), bitsOf(sliceCount));
const isTrue = ({ key, status, said }: Sample): boolean =>
  records.has(key) ? status === 200 && said === records.get(key)!.toString() : status === 404 && said === 'key_not_found';

let cluster: TestCluster;
let deaths: number;

/** The cluster of one group of tests, which share it. */
function useCluster(options: { shards: number; replicas: number }): void {
  let undoLimits: () => void;
  beforeAll(async () => {
    deaths = 0;
    undoLimits = shortenLoopWindows();
    cluster = await TestCluster.start({ ...options, records, sliceCount, routerArgs: ['--cache-size', '0'] });
  });
  afterAll(async () => {
    undoLimits();
    await cluster.close({ deaths });
  });
}

/** One that is killed says nothing more, and nobody waits for it; the one that is started in its place is as healthy as any. */
function startWatch(): ClusterWatch {
  return new ClusterWatch({ routers: [cluster.address], shards: cluster.cluster.shardAddresses });
}

/** Those of the samples that are not right, but for a router or a holder that got no core. */
async function wrongOf(samples: readonly Sample[], watch: ClusterWatch): Promise<readonly Sample[]> {
  await watch.stop();
  const wrong = samples.filter((sample) => !isTrue(sample)).map((sample) => ({ ...sample, router: cluster.address }));
  return watch.judge(wrong, limits.deadlineDefaultMs).unexcused;
}

/** When it was killed. */
function kill(shard: number): number {
  process.kill(cluster.cluster.shards[shard]!.pid!, 'SIGKILL');
  deaths++;
  return performance.now();
}

/** From now on it does nothing: a shard that runs finds what is done to its files, and mends it, perhaps before it is killed. */
function freeze(shard: number): void {
  process.kill(cluster.cluster.shards[shard]!.pid!, 'SIGSTOP');
}

async function sampleOf(key: string): Promise<Sample> {
  const startMs = performance.now();
  const { status, body } = await ask(cluster.address, getRequest(`/get?key=${percentEncode(key)}`));
  const said = status === 200 ? body.toString() : (JSON.parse(body.toString()).code as string);
  return { key, status, said, startMs, tookMs: performance.now() - startMs };
}

/** Every tenth key, asked once. */
async function sampleAll(): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const key of [...present, ...absent].filter((_, i) => i % 10 === 0)) samples.push(await sampleOf(key));
  return samples;
}

async function expectAllRight(): Promise<void> {
  const watch = startWatch();
  expect(await wrongOf(await sampleAll(), watch)).toEqual([]);
}

/** Resolves when the load has this many samples that were asked for after `sinceMs`. */
async function untilSampled(load: Load, sinceMs: number, count: number): Promise<void> {
  await vi.waitFor(() => expect(load.samples.filter(({ startMs }) => startMs > sinceMs).length).toBeGreaterThan(count), waiting);
}

describe('kill -9 under load, with one copy of each slice', () => {
  useCluster({ shards: 3, replicas: 1 });

  /** Resolves when some keys were refused, and then none for a while. */
  async function untilHealed(load: Load): Promise<void> {
    const lastRefused = (): Sample | undefined => load.samples.findLast(({ status }) => status === 503);
    await vi.waitFor(() => expect(lastRefused()).toBeDefined(), waiting);
    await vi.waitFor(() => expect(lastRefused()!.startMs).toBeLessThan(performance.now() - 1_000), waiting);
    await cluster.untilWhole();
  }

  test('costs the keys of one shard 503 at once until it is back, and the others nothing', async () => {
    const router = cluster.cluster.router.pid;
    const watch = startWatch();
    const load = new Load(cluster.address, [...present, ...absent], { seed, connections: 8 });
    await untilSampled(load, 0, 500);
    const killedMs = kill(1);
    await untilHealed(load);
    const wholeMs = performance.now();
    await untilSampled(load, wholeMs, 500);
    const samples = await load.stop();

    const isOwn = ({ key }: Sample): boolean => cluster.holdersOf(key)[0] === 1;
    const wrong = await wrongOf(samples, watch);
    expect(wrong.filter((sample) => !isOwn(sample))).toEqual([]);
    const refused = wrong.filter(isOwn);
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([503]));
    expect(['slice_unavailable', 'slice_loading']).toEqual(expect.arrayContaining([...new Set(refused.map(({ said }) => said))]));
    expect(refused.every(({ startMs }) => startMs < wholeMs)).toBe(true);
    // A machine that is busy with other things delays the answers of the living as well, or just these.
    const others = samples.filter((sample) => !isOwn(sample) && sample.startMs >= killedMs - 100 && sample.startMs <= wholeMs);
    const slowestOther = Math.max(...others.map(({ tookMs }) => tookMs));
    const refusedAfterMs = refused.map(({ startMs, tookMs }) => tookMs - watch.lateWithin(cluster.address, startMs, startMs + tookMs));
    expect(Math.max(...refusedAfterMs)).toBeLessThan(Math.max(100, slowestOther + 50));
    expect(cluster.cluster.router.pid).toBe(router);
  });

  test('of all shards leaves a router that lives, and answers again by itself', async () => {
    const router = cluster.cluster.router.pid;
    const watch = startWatch();
    const load = new Load(cluster.address, [...present, ...absent], { seed, connections: 4 });
    await untilSampled(load, 0, 200);
    for (const shard of [0, 1, 2]) kill(shard);
    await untilHealed(load);
    const samples = await load.stop();
    expect((await wrongOf(samples, watch)).filter(({ status }) => status !== 503)).toEqual([]);
    await expectAllRight();
    expect(cluster.cluster.router.pid).toBe(router);
  });
});

describe('with two copies of each slice', () => {
  useCluster({ shards: 3, replicas: 2 });

  test('the keys of a killed shard answer from the other holder, within 2 s at the latest', async () => {
    const watch = startWatch();
    const load = new Load(cluster.address, [...present, ...absent], { seed, connections: 8 });
    await untilSampled(load, 0, 500);
    const killedMs = kill(1);
    await untilSampled(load, killedMs + 2_000, 300);
    const samples = await load.stop();
    const isOwn = ({ key }: Sample): boolean => cluster.holdersOf(key).includes(1);
    const wrong = await wrongOf(samples, watch);
    expect(wrong.filter((sample) => !isOwn(sample) || (sample.status !== 503 && sample.status !== 504))).toEqual([]);
    expect(wrong.filter(({ startMs }) => startMs > killedMs + 2_000)).toEqual([]);
    // The other holder is asked within the same request: hardly one of them is lost.
    expect(wrong.length).toBeLessThan(20);
    expect(samples.filter((sample) => sample.startMs > killedMs && isOwn(sample)).length).toBeGreaterThan(100);
    await cluster.untilWhole();
  });

  test('a slice whose file is damaged when one of its holders starts answers from the other, and is healed from there', async () => {
    const damaged = present.find((key) => cluster.holdersOf(key).includes(1))!;
    const path = slicePath(versionDir(), sliceOf(damaged));
    const good = readFileSync(path);
    freeze(1);
    flip(path, 100);
    kill(1);
    // The one that starts finds it, or another one that has the folder open too: whoever is first mends it for all.
    await vi.waitFor(async () => {
      let healedCount = 0;
      for (const shard of cluster.cluster.shardAddresses) {
        const { state, healed, versions } = JSON.parse((await ask(shard, getRequest('/status'))).body.toString());
        expect([state, versions[0].slices.corrupt]).toEqual(['ready', []]);
        healedCount += healed.own + healed.replica;
      }
      expect([healedCount > 0, readFileSync(path).equals(good)]).toEqual([true, true]);
    }, waiting);
    await cluster.untilWhole();
    await expectAllRight();
  });
});

describe('what a shard finds on the disk when it starts', () => {
  useCluster({ shards: 1, replicas: 1 });

  test.each<[string, () => string, (text: string) => string | undefined]>([
    ['a manifest with one digit more', () => manifestPath(versionDir()), (text) => text.replace(/"entries": (\d)/, '"entries": 1$1')],
    ['no current', () => currentPath(cluster.dataDir), () => undefined],
  ])('%s: it is not ready, and nothing is answered until that is mended', async (_name, pathOf, change) => {
    const path = pathOf();
    const good = readFileSync(path, 'utf8');
    const bad = change(good);
    freeze(0);
    if (bad === undefined) rmSync(path);
    else writeFileSync(path, bad);
    kill(0);
    const shard = cluster.cluster.shardAddresses[0]!;
    await vi.waitFor(async () => expect((await ask(shard, getRequest('/health/ready'))).status).toBe(503), waiting);
    await vi.waitFor(async () => expect((await cluster.status()).members[0]).toMatchObject({ alive: true, state: 'loading' }), waiting);
    for (const key of [...present.slice(0, 20), ...absent.slice(0, 5)]) expect((await sampleOf(key)).status).toBe(503);
    writeFileSync(path, good);
    await cluster.untilWhole();
    await expectAllRight();
  });

  test('slices flipped, swapped, cut, lengthened, of another version or gone are 503 slice_corrupt, and the others are served', async () => {
    const slice = (sliceIndex: number): string => slicePath(versionDir(), sliceIndex);
    const size = readFileSync(slice(0)).length;
    freeze(0);
    flip(slice(0), size - 1);
    flip(slice(1), 40);
    renameSync(slice(2), `${slice(2)}.x`);
    renameSync(slice(3), slice(2));
    renameSync(`${slice(2)}.x`, slice(3));
    truncateSync(slice(4), size >> 1);
    truncateSync(slice(5), 0);
    writeFileSync(slice(6), Buffer.concat([readFileSync(slice(6)), Buffer.alloc(1)]));
    rmSync(slice(7));
    const otherRecords = new Map([...records].map(([key, value]) => [key, Buffer.from(value.toString().replace('value', 'other'))]));
    writeFileSync(slice(8), encodeRecords(otherRecords, sliceCount).files[8]!);
    copyFileSync(slice(9), slice(10));
    const bad = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10];

    kill(0);
    await vi.waitFor(async () => {
      const { slicesAbsent } = await cluster.status();
      expect(slicesAbsent).toEqual({
        slice_corrupt: [
          [0, 8],
          [10, 10],
        ],
      });
    }, waiting);
    const watch = startWatch();
    const samples = await sampleAll();
    const isBad = ({ key }: Sample): boolean => bad.includes(sliceOf(key));
    for (const { key, status, said } of samples.filter(isBad)) expect([key, status, said]).toEqual([key, 503, 'slice_corrupt']);
    const others = samples.filter((sample) => !isBad(sample));
    expect(await wrongOf(others, watch)).toEqual([]);
    expect((await ask(cluster.cluster.shardAddresses[0]!, getRequest('/health/ready'))).status).toBe(200);
    expect((await cluster.status()).degraded).toBe(true);
  });
});

function versionDir(): string {
  return versionPath(cluster.dataDir, encodeRecords(records, sliceCount).manifest.id);
}

/** One bit of a file, changed behind everybody's back. */
function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset]! ^= 0x10;
  writeFileSync(path, bytes);
}
