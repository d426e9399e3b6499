// More than the cluster can do. At the shards: three limited ones behind a real router, asked for twice what they can do. At the router: real shards
// behind it, and twice as many requests as it answers, over so many connections that they could wait for twice the deadline. What counts is goodput (right answers a second), how soon the rest is refused, how much memory
// that takes, and how soon all is as before.

import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { recordOf } from '../deploy/generate/records.ts';
import { SupervisedProcess } from '../deploy/serve/supervised-process.ts';
import { makeData, seed, startCluster } from './bench-cluster.ts';
import { type BenchProgram, startProgram } from './bench-program.ts';
import { type Latencies, type OpenLoopResult, runOpenLoop } from './open-loop.ts';
import { openFilesMax, residentBytesOf } from './process-cpu.ts';
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
  /** Of the router: the shorter it is, the fewer connections exceed what can be answered in it. */
  readonly deadlineMs: number;
  /** While more is offered than can be done; by default, what can be answered in twice the deadline. */
  readonly connections?: number | undefined;
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
  /** When all was as before. */
  readonly routerBytesAfter: number;
  /** Of the overload. */
  readonly connections: number;
  readonly deadlineMs: number;
  /** p99 of the last second. */
  readonly afterP99Ms: number;
  /** How late the generator's own event loop was during the overload: no answer can be seen sooner. */
  readonly generatorLateP99Ms: number;
  /** At half of the capacity, before. */
  readonly beforeP99Ms: number;
  /** After the end of the overload, until the p99 of a second is below twice that, and none fails. */
  readonly recoveredAfterSeconds: number;
};

const shardCount = 3;
const giveUpMs = 1_000;
const recoverySecondsMax = 30;
const tooManyPerSecond = 80_000;
/** What is asked as fast as it is answered, to find out how fast that is. */
const saturatingConnections = 512;
/** Of a process, beside its connections to clients. */
const otherFiles = 200;
const defaultDeadlineMs = 1_000;
const delayResolutionMs = 10;
/** Different keys; the router keeps no answers. */
const askedMax = 100_000;

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
    const run: Run = (perSecond, duration, atOnce) =>
      runOpenLoop({
        ...{ address, perSecond, seconds: duration, connections: atOnce, giveUpMs },
        nextKey: () => `key-${Math.floor(random() * 1e9)}`,
        isRight: (key, status, body) => status !== 404 && (status !== 200 || body === `value of ${key}`),
      });
    return await overload(run, {
      ...{ routerPid: router.pid!, capacityPerSecond: shardsPerSecond },
      ...{ seconds, connections, deadlineMs: defaultDeadlineMs, log },
    });
  } finally {
    await router.stop();
    for (const shard of shards) await shard.stop();
  }
}

/** A router that cannot keep up. */
export function benchRouterOverload(options: RouterOverloadOptions): Promise<OverloadResult> {
  const { entries, seconds, deadlineMs, log } = options;
  return inTemporaryFolder(async (folder) => {
    const dataDir = join(folder, 'data');
    await makeData({ entries, dataDir });
    const cluster = await startCluster({ dataDir, shards: shardCount, replicas: 2, hasCache: false, deadlineMs, log });
    try {
      const random = randomNumbers(seed);
      // Made before: to make them takes the generator as long as to ask for them.
      const asked = Array.from({ length: Math.min(entries, askedMax) }, () => recordOf(seed, Math.floor(random() * entries)));
      const values = new Map(asked.map(({ key, value }) => [key, value]));
      const run: Run = (perSecond, duration, atOnce) =>
        runOpenLoop({
          ...{ address: cluster.routerAddress, perSecond, seconds: duration, connections: atOnce, giveUpMs },
          opensFirst: true,
          nextKey: () => asked[Math.floor(random() * asked.length)]!.key,
          isRight: (key, status, body) => status !== 404 && (status !== 200 || body === values.get(key)),
        });
      // More than any router answers.
      await run(tooManyPerSecond, 2, saturatingConnections);
      const fastest = await run(tooManyPerSecond, Math.min(5, seconds), saturatingConnections);
      const capacityPerSecond = Math.round(goodputOf(fastest));
      const connections = withinFileLimit(options.connections ?? Math.ceil((2 * capacityPerSecond * deadlineMs) / 1_000), log);
      return await overload(run, { routerPid: cluster.router.pid!, capacityPerSecond, seconds, connections, deadlineMs, log });
    } finally {
      await cluster.stop();
    }
  });
}

/** As many as a process may have. */
function withinFileLimit(wanted: number, log: (line: string) => void): number {
  const max = openFilesMax() - otherFiles;
  if (wanted > max) log(`overload: ${max} connections instead of ${wanted}, which would exceed the deadline: raise \`ulimit -n\``);
  return Math.min(wanted, max);
}

type Run = (perSecond: number, seconds: number, connections: number) => Promise<OpenLoopResult>;

async function overload(
  run: Run,
  options: {
    readonly routerPid: number;
    readonly capacityPerSecond: number;
    readonly seconds: number;
    readonly connections: number;
    readonly deadlineMs: number;
    readonly log: (line: string) => void;
  },
): Promise<OverloadResult> {
  const { routerPid, capacityPerSecond, seconds, connections, deadlineMs, log } = options;
  const half = capacityPerSecond / 2;
  await run(half, 2, saturatingConnections);
  const before = await run(half, Math.min(10, seconds), saturatingConnections);
  log(`overload: ${Math.round(capacityPerSecond)}/s can be done; at half of it p99 is ${before.p99Ms.toFixed(1)} ms`);
  const routerBytesBefore = residentBytesOf(routerPid);
  let routerBytesMax = 0;
  const timer = setInterval(() => {
    routerBytesMax = Math.max(routerBytesMax, residentBytesOf(routerPid));
  }, 100);
  const delay = monitorEventLoopDelay({ resolution: delayResolutionMs });
  delay.enable();
  const over = await run(2 * capacityPerSecond, seconds, connections);
  delay.disable();
  clearInterval(timer);
  const halfRun = (): Promise<OpenLoopResult> => run(half, 1, saturatingConnections);
  const { recoveredAfterSeconds, afterP99Ms } = await waitUntilRecovered(halfRun, before.p99Ms);
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
    routerBytesAfter: residentBytesOf(routerPid),
    connections,
    deadlineMs,
    beforeP99Ms: before.p99Ms,
    afterP99Ms,
    generatorLateP99Ms: Math.max(0, delay.percentile(99) / 1e6 - delayResolutionMs),
    recoveredAfterSeconds,
  };
}

/** Second by second; `recoverySecondsMax` when it never is. */
async function waitUntilRecovered(
  run: () => Promise<OpenLoopResult>,
  beforeP99Ms: number,
): Promise<{ recoveredAfterSeconds: number; afterP99Ms: number }> {
  for (let second = 1; ; second++) {
    const { p99Ms, requests, statuses } = await run();
    const isRecovered = p99Ms < 2 * beforeP99Ms && statuses[200] === requests;
    if (isRecovered || second === recoverySecondsMax) return { recoveredAfterSeconds: second, afterP99Ms: p99Ms };
  }
}

function goodputOf({ requests, perSecond, statuses }: OpenLoopResult): number {
  return ((statuses[200] ?? 0) * perSecond) / requests;
}
