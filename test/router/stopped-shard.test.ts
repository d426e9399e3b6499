// One of three shards stands still under load, with two copies of each slice: real processes, real signals.

import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { ClusterWatch, shortenLoopWindows } from '../chaos/cluster-watch.ts';
import { TestCluster, waiting } from '../cluster/cluster-harness.ts';
import { Load, type Sample } from '../cluster/load.ts';
import { ask, getRequest } from '../raw-http.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the load of stopped-shard.test.ts: TEST_SEED=${seed}`);

/** What a busy machine may add to a time that is kept. */
const toleranceMs = 400;
const shortDeadlineMs = 50;

const present = Array.from({ length: 2_000 }, (_, i) => `key ${i}`);
const absent = Array.from({ length: 500 }, (_, i) => `nobody ${i}`);
const records = new Map(present.map((key) => [key, Buffer.from(`value of ${key}`)]));

const isTrue = ({ key, status, said }: Sample): boolean =>
  records.has(key) ? status === 200 && said === records.get(key)!.toString() : status === 404 && said === 'key_not_found';

type Member = { readonly address: string; readonly ejectedFor: string | null; readonly keys: number; readonly alive: boolean };
type Keys = { readonly sentTwice: number; readonly hedged: number; readonly expired: number; readonly retries: number };

let cluster: TestCluster;
let shortAddress: string;
const undoLimits = shortenLoopWindows();

beforeAll(async () => {
  cluster = await TestCluster.start({ shards: 3, replicas: 2, records, routerArgs: ['--cache-size', '0'] });
  shortAddress = await cluster.startRouter(['--deadline', `${shortDeadlineMs}ms`, '--cache-size', '0']);
});
afterAll(async () => {
  undoLimits();
  await cluster.close();
});

function signalShard(signal: NodeJS.Signals): number {
  process.kill(cluster.cluster.shards[1]!.pid!, signal);
  return performance.now();
}

async function statusOf(router: string): Promise<{ stopped: Member; keys: Keys; keysSent: number }> {
  const { members, keys } = JSON.parse((await ask(router, getRequest('/status'))).body.toString()) as { members: Member[]; keys: Keys };
  const stopped = members.find(({ address }) => address === cluster.cluster.shardAddresses[1])!;
  return { stopped, keys, keysSent: members.reduce((sum, member) => sum + member.keys, 0) };
}

async function untilSampled(load: Load, sinceMs: number, count: number): Promise<void> {
  await vi.waitFor(() => expect(load.samples.filter(({ startMs }) => startMs > sinceMs).length).toBeGreaterThan(count), waiting);
}

function said(samples: readonly Sample[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, said: text } of samples) {
    const what = status === 200 || status === 404 ? String(status) : text;
    counts[what] = (counts[what] ?? 0) + 1;
  }
  return counts;
}

test.each([
  ['1 s', () => cluster.address, limits.deadlineDefaultMs],
  [`${shortDeadlineMs} ms`, () => shortAddress, shortDeadlineMs],
])(
  'a shard that stands still costs nothing after it was found out, and is used again, with a deadline of %s',
  async (name, router, deadlineMs) => {
    const watch = new ClusterWatch({ routers: [router()], shards: cluster.cluster.shardAddresses });
    const load = new Load(router(), [...present, ...absent], { seed, connections: 16 });
    await untilSampled(load, 0, 1_500);
    const before = await statusOf(router());
    const isOver = watch.disturbs(cluster.cluster.shardAddresses[1]!);
    const stoppedMs = signalShard('SIGSTOP');
    const foundOutMs = stoppedMs + limits.ejectSilenceMs + toleranceMs;
    await untilSampled(load, foundOutMs + 1_500, 300);
    const during = await statusOf(router());
    const continuedMs = signalShard('SIGCONT');
    await vi.waitFor(async () => {
      const { stopped } = await statusOf(router());
      expect([stopped.alive, stopped.ejectedFor]).toEqual([true, null]);
    }, waiting);
    const backMs = performance.now();
    isOver();
    const back = await statusOf(router());
    await untilSampled(load, backMs, 500);
    const samples = await load.stop();
    const after = await statusOf(router());
    await watch.stop();

    // No wrong value, whenever.
    expect(samples.filter((sample) => sample.status < 500 && !isTrue(sample))).toEqual([]);
    const refused = samples.filter(({ status }) => status >= 500).map((sample) => ({ ...sample, router: router() }));
    const { unexcused: failed, excused } = watch.judge(refused, deadlineMs);
    const failedAfter = failed.filter(({ startMs }) => startMs > foundOutMs);
    // Without what this process and, beyond the deadline, the router were late by.
    const times = samples.map((sample) => {
      const ownMs = sample.tookMs - watch.own.worstWithin(sample.startMs, sample.startMs + sample.tookMs);
      return ownMs > deadlineMs ? ownMs - watch.routerLateIn(router(), sample) : ownMs;
    });
    const inTime = times.filter((tookMs) => tookMs <= 1.2 * deadlineMs).length;
    const slowestMs = Math.max(...times);
    console.log(
      `deadline ${name}: ${samples.length} requests, ${failed.length} failed (and ${excused} for want of a core), ${failedAfter.length} of them after it was found out; ` +
        `slowest ${slowestMs.toFixed(0)} ms; back ${(backMs - continuedMs).toFixed(0)} ms after SIGCONT; ${JSON.stringify(said(samples))} ${JSON.stringify(after.keys)}`,
    );
    // With a deadline that a busy machine misses by itself, a few are lost to that.
    expect(failedAfter.length).toBeLessThanOrEqual(deadlineMs < 1_000 ? samples.length / 100 : 0);
    expect(failed.length).toBeLessThan(samples.length / 50);
    expect(slowestMs).toBeLessThan(1.2 * deadlineMs + toleranceMs);
    expect(inTime / samples.length).toBeGreaterThan(0.99);

    expect(during.stopped.ejectedFor).toBe('silence');
    expect(after.keys.sentTwice - before.keys.sentTwice).toBeGreaterThan(0);
    expect(after.keys.sentTwice).toBeLessThanOrEqual(limits.retryReserveKeys + limits.retryShare * after.keysSent);
    expect(after.stopped.keys).toBeGreaterThan(back.stopped.keys);
  },
);
