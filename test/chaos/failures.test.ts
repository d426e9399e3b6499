// Three shards, two copies of each slice, two routers, 64 connections of GETs and /mgets, every answer checked: shards are killed, stopped and restarted at
// random, never two at once, and nobody notices. The schedule is drawn from a seed and printed: TEST_SEED replays it, CHAOS_SECONDS=300 makes it long.

import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { forEachSlice } from '../../shared/slice-ranges.ts';
import { parseStatusReport } from '../../shared/status-report.ts';
import { statusOf, TestCluster } from '../cluster/cluster-harness.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { OwnLoop } from '../own-loop.ts';
import { ask, getRequest, RawConnection } from '../raw-http.ts';
import { ClientLoad, type Failure, formatLatencies, latenciesOf } from './client-load.ts';
import { ClusterWatch, type FailedRequest, shortenLoopWindows } from './cluster-watch.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const chaosSeconds = Number(process.env.CHAOS_SECONDS ?? 18);
console.log(`failures.test.ts: TEST_SEED=${seed}, CHAOS_SECONDS=${chaosSeconds}`);

const connections = 64;
const records = new Map(Array.from({ length: 5_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i} `.repeat(1 + (i % 50)))]));
const absent = Array.from({ length: 1_000 }, (_, i) => `nobody ${i}`);
const waiting = { timeout: 60_000, interval: 50 } as const;
/** A shard that stands still is noticed by nobody after so long: within it, it is found out and left alone. */
const calmAfterMs = 3_000;
/** What a busy machine adds to the slowest of a hundred answers by itself. */
const toleranceMs = 50;
/** What a router may take more while a shard stands still under load: buffers of what waits, and garbage that nothing has collected yet. */
const memoryGrowthMax = 150 * 1_024 * 1_024;

let cluster: TestCluster;
let routers: readonly string[];
let load: ClientLoad | undefined;
let watch: ClusterWatch | undefined;
let deaths = 0;
const undoLimits = shortenLoopWindows();

beforeAll(async () => {
  const routerArgs = ['--cache-size', '0'];
  cluster = await TestCluster.start({ shards: 3, replicas: 2, sliceCount: 64, records, routerArgs });
  routers = [cluster.address, await cluster.startRouter(routerArgs)];
});
afterEach(async () => {
  await load?.stop();
  load = undefined;
  await watch?.stop();
  watch = undefined;
});
afterAll(async () => {
  undoLimits();
  await cluster.close({ deaths });
});

function startLoad(): ClientLoad {
  load = new ClientLoad({ routers, records, absent, connections, seed, mgets: true });
  return load;
}

function startWatch(): ClusterWatch {
  watch = new ClusterWatch({ routers, shards: cluster.cluster.shardAddresses });
  return watch;
}

/** Nothing wrong, nothing failed but for want of a core, all of the one version, and /mgets among it. */
async function expectNothingNoticed(running: ClientLoad, watching: ClusterWatch): Promise<void> {
  await watching.stop();
  expect(running.wrong).toEqual([]);
  const { unexcused } = watching.judge<Failure>(running.failures, limits.deadlineDefaultMs);
  expect(unexcused).toEqual([]);
  expect([...running.versions]).toEqual([(await cluster.status()).version!.id]);
  expect(running.mgetCount).toBeGreaterThan(100);
}

/** Whatever is answered: a shard that was ejected comes back with a key that it answers, and where nothing is asked it stays away. */
async function askEverySlice(router: string): Promise<void> {
  const connection = await RawConnection.open(router);
  for (const key of new Map([...records.keys()].map((each) => [cluster.sliceOf(each), each])).values()) {
    connection.write(getRequest(`/get?key=${encodeURIComponent(key)}`));
    await connection.next();
  }
  connection.close();
}

/** Both routers have every shard in use again, and every slice has two holders: whoever keeps it, since those that flap are held out. */
async function untilAllAreBack({ hasLoad = true } = {}): Promise<void> {
  await vi.waitFor(async () => {
    for (const router of routers) {
      if (!hasLoad) await askEverySlice(router);
      const { members } = (await statusOf(router)) as unknown as {
        members: { alive: boolean; state: string; ejectedFor: string | null }[];
      };
      expect(members.map(({ alive, state, ejectedFor }) => ({ alive, state, ejectedFor }))).toEqual(
        members.map(() => ({ alive: true, state: 'ready', ejectedFor: null })),
      );
    }
    expect(Math.min(...(await cluster.countHolders()))).toBeGreaterThanOrEqual(2);
  }, waiting);
}

type Step = { readonly act: 'kill' | 'stop' | 'restart'; readonly shard: number; readonly forMs: number; readonly thenMs: number };

/** What happens next: a pure function of the seed. */
function nextStep(random: () => number): Step {
  const act = (['kill', 'stop', 'restart'] as const)[random() % 3]!;
  return { act, shard: random() % 3, forMs: 50 + (random() % 3_000), thenMs: random() % 500 };
}

async function carryOut({ act, shard, forMs }: Step): Promise<void> {
  const { pid } = cluster.cluster.shards[shard]!;
  if (act === 'stop') {
    process.kill(pid!, 'SIGSTOP');
    await pause(forMs);
    process.kill(pid!, 'SIGCONT');
    return;
  }
  deaths++;
  process.kill(pid!, act === 'kill' ? 'SIGKILL' : 'SIGTERM');
  await vi.waitFor(() => expect(cluster.cluster.shards[shard]!.pid ?? pid).not.toBe(pid), waiting);
}

test('all holders of some slices gone: these are 503 at once and named, the others are served, and all are back without a router restarted', async () => {
  const pids = [cluster.cluster.router.pid];
  const [first, second] = [0, 1].map((i) => cluster.cluster.shards[i]!);
  const { body: report } = await ask(cluster.cluster.shardAddresses[2]!, getRequest('/status'));
  const kept = new Set<number>();
  forEachSlice(parseStatusReport(report.toString(), 'shard 2').versions[0]!.slices.kept, (slice) => kept.add(slice));
  const isLost = (key: string): boolean => !kept.has(cluster.sliceOf(key));
  const watching = startWatch();
  const areOver = [0, 1].map((i) => watching.disturbs(cluster.cluster.shardAddresses[i]!));
  // Stopped, not killed: their supervisor would have them back at once.
  for (const shard of [first, second]) process.kill(shard!.pid!, 'SIGSTOP');
  await vi.waitFor(async () => expect((await statusOf(routers[0]!)).slicesAbsent).not.toEqual({}), waiting);
  const { degraded, slicesAbsent } = await statusOf(routers[0]!);
  expect(degraded).toBe(true);
  const lostSlices = new Set([...records.keys()].filter(isLost).map((key) => cluster.sliceOf(key)));
  const named = new Set(
    Object.values(slicesAbsent)
      .flat()
      .flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
  );
  expect(named).toEqual(lostSlices);
  const tookMs: number[] = [];
  const othersTookMs: number[] = [];
  const failures: FailedRequest[] = [];
  const own = new OwnLoop();
  const connection = await RawConnection.open(routers[0]!);
  for (const [i, [key, value]] of [...records].entries()) {
    if (i % 10 !== 0) continue;
    const startMs = performance.now();
    connection.write(getRequest(`/get?key=${encodeURIComponent(key)}`));
    const { status, headers, body } = await connection.next();
    (isLost(key) ? tookMs : othersTookMs).push(own.answeredSince(startMs));
    if (isLost(key)) expect([status, headers.get('retry-after')]).toEqual([503, '1']);
    else if (status < 500) expect([status, body.equals(value)]).toEqual([200, true]);
    else failures.push({ status, said: body.toString(), router: routers[0]!, startMs, tookMs: performance.now() - startMs });
  }
  connection.close();
  own.close();
  const [lost, others] = [latenciesOf(tookMs), latenciesOf(othersTookMs)];
  console.log(`keys without a holder, 503, one after the other: ${formatLatencies(lost)}\nthe others: ${formatLatencies(others)}`);
  expect(lost.count).toBeGreaterThan(50);
  // Asked in turn with the others: a router that is late is so for both.
  expect(lost.p50Ms).toBeLessThanOrEqual(10 + others.p50Ms);
  for (const shard of [first, second]) process.kill(shard!.pid!, 'SIGCONT');
  await untilAllAreBack({ hasLoad: false });
  for (const isOver of areOver) isOver();
  expect(pids).toEqual([cluster.cluster.router.pid]);
  for (const [key, value] of [...records].slice(0, 300)) {
    const startMs = performance.now();
    const { status, body } = await ask(routers[0]!, getRequest(`/get?key=${encodeURIComponent(key)}`));
    if (status < 500) expect([status, body.equals(value)]).toEqual([200, true]);
    else failures.push({ status, said: body.toString(), router: routers[0]!, startMs, tookMs: performance.now() - startMs });
  }
  await watching.stop();
  expect(watching.judge(failures, limits.deadlineDefaultMs).unexcused).toEqual([]);
});

test('random kills, stops and restarts of shards: nothing wrong, nothing failed', { timeout: 1_000 * chaosSeconds + 120_000 }, async () => {
  const watching = startWatch();
  const running = startLoad();
  await pause(3_000);
  const undisturbed = running.takeLatencies();
  const random = randomFrom(seed);
  const startedMs = performance.now();
  const told: string[] = [];
  while (performance.now() - startedMs < 1_000 * chaosSeconds) {
    const step = nextStep(random);
    told.push(`${step.act} ${step.shard}${step.act === 'stop' ? ` ${step.forMs} ms` : ''} at ${Math.round(performance.now())}`);
    const isOver = watching.disturbs(cluster.cluster.shardAddresses[step.shard]!);
    await carryOut(step);
    await untilAllAreBack();
    isOver();
    await pause(step.thenMs);
  }
  const disturbed = running.takeLatencies();
  await running.stop();
  console.log(`schedule: ${told.join(', ')}`);
  console.log(`undisturbed: ${formatLatencies(undisturbed)}\nover the run: ${formatLatencies(disturbed)}`);
  await expectNothingNoticed(running, watching);
  for (const router of routers) await expectWithinBudget(router);
});

/** Keys sent twice, and what the budget allows for. */
async function expectWithinBudget(router: string): Promise<{ sentTwice: number; budget: number }> {
  const { keys, members } = (await statusOf(router)) as unknown as { keys: { sentTwice: number }; members: { keys: number }[] };
  const sent = members.reduce((sum, member) => sum + member.keys, 0);
  const budget = limits.retryReserveKeys + limits.retryShare * sent;
  expect(keys.sentTwice).toBeLessThanOrEqual(budget);
  return { sentTwice: keys.sentTwice, budget: Math.round(budget) };
}

test('a shard that stands still: nothing wrong, nothing failed, soon as fast as before, no key sent twice beyond the budget, and the routers keep their size', {
  timeout: 1_000 * chaosSeconds + 120_000,
}, async () => {
  const watching = startWatch();
  const running = startLoad();
  const random = randomFrom(seed);
  const startedMs = performance.now();
  // Once in the short form.
  do {
    running.takeLatencies();
    await pause(2_000);
    const before = running.takeLatencies();
    const shard = random() % 3;
    const { pid } = cluster.cluster.shards[shard]!;
    const isOver = watching.disturbs(cluster.cluster.shardAddresses[shard]!);
    process.kill(pid!, 'SIGSTOP');
    let found: string;
    let calm: ReturnType<typeof latenciesOf>;
    let calmFromMs: number;
    try {
      await pause(calmAfterMs);
      found = formatLatencies(running.takeLatencies());
      calmFromMs = performance.now();
      await pause(2_000);
      calm = running.takeLatencies();
    } finally {
      process.kill(pid!, 'SIGCONT');
    }
    const calmToMs = performance.now();
    await untilAllAreBack();
    isOver();
    // A machine that is busier now than it was at first makes the comparison with that alone an accident.
    running.takeLatencies();
    await pause(2_000);
    const after = running.takeLatencies();
    console.log(
      `undisturbed: ${formatLatencies(before)}\na shard stands still, ${calmAfterMs / 1_000} s: ${found}\nthen: ${formatLatencies(calm)}\nundisturbed again: ${formatLatencies(after)}`,
    );
    // Who waits for the shard is not late itself; who got no core is.
    const lateMs = Math.max(...routers.map((router) => watching.lateWithin(router, calmFromMs, calmToMs)));
    expect(calm.p99Ms).toBeLessThan(2 * Math.max(before.p99Ms, after.p99Ms) + toleranceMs + lateMs);
  } while (performance.now() - startedMs < 500 * (chaosSeconds - 18));
  await running.stop();
  const all = running.latencies;
  console.log(`all: ${formatLatencies(all)}; p99.9 is ${((100 * all.p999Ms) / limits.deadlineDefaultMs).toFixed(0)} % of the deadline`);
  for (const router of routers) {
    const { sentTwice, budget } = await expectWithinBudget(router);
    console.log(`${router}: ${sentTwice} keys sent twice, since the start; the budget allows for ${budget}`);
  }
  await expectNothingNoticed(running, watching);
  expect(all.p999Ms).toBeLessThan(1.2 * limits.deadlineDefaultMs);
  for (const [router, { first, max, last }] of watching.memory) {
    const [before, most, after] = [first, max, last].map((bytes) => Math.round(bytes / 1_024 / 1_024));
    console.log(`${router}: resident ${before} MiB before, ${most} at the most, ${after} at last`);
    expect(max - first).toBeLessThan(memoryGrowthMax);
  }
});

test('a killed router: clients that know two lose only what was under way in it', async () => {
  const watching = startWatch();
  const running = startLoad();
  await pause(1_000);
  const { pid } = cluster.cluster.router;
  deaths++;
  process.kill(pid!, 'SIGKILL');
  // Without a core it does not even die.
  await vi.waitFor(() => expect(cluster.cluster.router.pid).not.toBe(pid), { ...waiting, interval: 1 });
  const deadMs = performance.now();
  await vi.waitFor(async () => expect((await ask(routers[0]!, getRequest('/health/ready'))).status).toBe(200), waiting);
  await untilAllAreBack();
  await pause(1_000);
  await running.stop();
  await watching.stop();
  const { unexcused: failures } = watching.judge<Failure>(running.failures, limits.deadlineDefaultMs);
  console.log(`${running.count} requests, ${failures.length} lost with the router`);
  expect(running.wrong).toEqual([]);
  // Each was sent to the one that was killed before it was, and a connection has one request under way.
  expect(failures.filter(({ status, router, startMs }) => status !== 0 || router !== routers[0] || startMs > deadMs + toleranceMs)).toEqual(
    [],
  );
  expect(failures.length).toBeLessThanOrEqual(connections / 2);
});
