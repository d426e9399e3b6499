// More than the cluster can do. At the shards: three limited ones behind a real router, asked for twice what they can do. At the router: real shards
// behind it, and twice as many requests as it answers. What counts is goodput (right answers a second), how soon the rest is refused, how much memory
// that takes, and how soon all is as before.

import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { SupervisedProcess } from '../deploy/serve/supervised-process.ts';
import { makeData, seed, startCluster } from './bench-cluster.ts';
import { type BenchProgram, startProgram } from './bench-program.ts';
import { type Latencies, type OpenLoopResult, runOpenLoop } from './open-loop.ts';
import { residentBytesOf } from './process-cpu.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { untilServing } from './tools.ts';
import { randomNumbers } from './zipf.ts';

export type ShardOverloadOptions = {
  /** Of each phase. */
  readonly seconds: number;
  /** What all shards can do together, in keys a second. */
  readonly shardsPerSecond: number;
  readonly connections: number;
  readonly log: (line: string) => void;
};

export type RouterOverloadOptions = {
  readonly entries: number;
  readonly seconds: number;
  readonly connections: number;
  readonly log: (line: string) => void;
};

export type OverloadResult = {
  readonly capacityPerSecond: number;
  readonly offeredPerSecond: number;
  /** Right answers a second. */
  readonly goodputPerSecond: number;
  readonly ofCapacity: number;
  readonly ofOffered: number;
  /** By status, from the time at which a request left. */
  readonly answers: Readonly<Record<number, Latencies>>;
  /** Requests that found no connection within a second, and were not sent. */
  readonly givenUp: number;
  readonly wrong: number;
  readonly routerBytesBefore: number;
  readonly routerBytesMax: number;
  /** At half of the capacity, before. */
  readonly beforeP99Ms: number;
  /** After the end of the overload, until the p99 of a second is below twice that, and none fails. */
  readonly recoveredAfterSeconds: number;
};

const shardCount = 3;
const giveUpMs = 1_000;
const recoverySecondsMax = 30;
const tooManyPerSecond = 80_000;

/** Shards that cannot keep up. */
export async function benchShardOverload(options: ShardOverloadOptions): Promise<OverloadResult> {
  const { seconds, shardsPerSecond, connections, log } = options;
  const shards: BenchProgram[] = [];
  for (let i = 0; i < shardCount; i++) {
    shards.push(await startProgram('limited-shard', [`limited-${i}`, String(shardsPerSecond / shardCount)]));
  }
  const addresses = shards.map(({ address }) => address);
  const args = ['router', '--members', addresses.join(','), '--port', '0', '--cache-size', '0', '--drain', '0s', '--log-level', 'warn'];
  const router = new SupervisedProcess({ title: 'router', args, onDeath: log });
  try {
    const address = `127.0.0.1:${await router.start()}`;
    await untilServing(address);
    const random = randomNumbers(seed);
    const run: Run = (perSecond, duration) =>
      runOpenLoop({
        ...{ address, perSecond, seconds: duration, connections, giveUpMs },
        nextKey: () => `key-${Math.floor(random() * 1e9)}`,
        isRight: (key, status, body) => status !== 404 && (status !== 200 || body === `value of ${key}`),
      });
    return await overload(run, { routerPid: router.pid!, capacityPerSecond: shardsPerSecond, seconds, log });
  } finally {
    await router.stop();
    for (const shard of shards) await shard.stop();
  }
}

/** A router that cannot keep up. */
export function benchRouterOverload(options: RouterOverloadOptions): Promise<OverloadResult> {
  const { entries, seconds, connections, log } = options;
  return inTemporaryFolder(async (folder) => {
    const dataDir = join(folder, 'data');
    await makeData({ entries, dataDir });
    const cluster = await startCluster({ dataDir, shards: shardCount, replicas: 2, hasCache: false, log });
    try {
      const random = randomNumbers(seed);
      const indexes = new Map<string, number>();
      const run = (perSecond: number, duration: number, atOnce = connections): Promise<OpenLoopResult> =>
        runOpenLoop({
          ...{ address: cluster.routerAddress, perSecond, seconds: duration, connections: atOnce, giveUpMs },
          nextKey: () => {
            const index = Math.floor(random() * entries);
            const { key } = recordOf(seed, index);
            indexes.set(key, index);
            return key;
          },
          isRight: (key, status, body) => status !== 404 && (status !== 200 || body === recordOf(seed, indexes.get(key)!).value),
        });
      // More than any router answers: 64 connections ask as fast as they are answered.
      await run(tooManyPerSecond, 2, 64);
      const fastest = await run(tooManyPerSecond, Math.min(5, seconds), 64);
      const capacityPerSecond = Math.round(goodputOf(fastest));
      return await overload(run, { routerPid: cluster.router.pid!, capacityPerSecond, seconds, log });
    } finally {
      await cluster.stop();
    }
  });
}

type Run = (perSecond: number, seconds: number) => Promise<OpenLoopResult>;

async function overload(
  run: Run,
  options: { routerPid: number; capacityPerSecond: number; seconds: number; log: (line: string) => void },
): Promise<OverloadResult> {
  const { routerPid, capacityPerSecond, seconds, log } = options;
  const half = capacityPerSecond / 2;
  await run(half, 2);
  const before = await run(half, Math.min(10, seconds));
  log(`overload: ${Math.round(capacityPerSecond)}/s can be done; at half of it p99 is ${before.p99Ms.toFixed(1)} ms`);
  const routerBytesBefore = residentBytesOf(routerPid);
  let routerBytesMax = 0;
  const timer = setInterval(() => {
    routerBytesMax = Math.max(routerBytesMax, residentBytesOf(routerPid));
  }, 100);
  const over = await run(2 * capacityPerSecond, seconds);
  clearInterval(timer);
  const recoveredAfterSeconds = await countUntilRecovered(run, half, before.p99Ms);
  const goodputPerSecond = goodputOf(over);
  log(
    `overload: at twice of it ${Math.round(goodputPerSecond)}/s are answered, ${JSON.stringify(over.statuses)}, ${over.givenUp} given up; ` +
      `as before after ${recoveredAfterSeconds} s`,
  );
  return {
    capacityPerSecond,
    offeredPerSecond: 2 * capacityPerSecond,
    goodputPerSecond,
    ofCapacity: goodputPerSecond / capacityPerSecond,
    ofOffered: goodputPerSecond / (2 * capacityPerSecond),
    answers: over.answers,
    givenUp: over.givenUp,
    wrong: before.wrong + over.wrong,
    routerBytesBefore,
    routerBytesMax,
    beforeP99Ms: before.p99Ms,
    recoveredAfterSeconds,
  };
}

/** Second by second; `recoverySecondsMax` when it never is. */
async function countUntilRecovered(run: Run, perSecond: number, beforeP99Ms: number): Promise<number> {
  for (let second = 1; second < recoverySecondsMax; second++) {
    const { p99Ms, requests, statuses } = await run(perSecond, 1);
    if (p99Ms < 2 * beforeP99Ms && statuses[200] === requests) return second;
  }
  return recoverySecondsMax;
}

function goodputOf({ requests, perSecond, statuses }: OpenLoopResult): number {
  return ((statuses[200] ?? 0) * perSecond) / requests;
}
