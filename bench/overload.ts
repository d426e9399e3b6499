// More than the cluster can do. At the shards: three limited ones behind a real router, asked at twice their rate. At the router: real
// shards that could do more, and the router asked at twice what it answers. What counts is goodput (right answers a second), how soon the rest is
// refused, how much memory that takes, and how soon all is as before.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { SupervisedProcess } from '../deploy/serve/supervised-process.ts';
import { type Latencies, type OpenLoopResult, runOpenLoop } from './open-loop.ts';
import { residentBytesOf } from './process-cpu.ts';
import { untilServing } from './tools.ts';
import { randomNumbers } from './zipf.ts';

export type OverloadOptions = {
  /** Of each phase. */
  readonly seconds: number;
  /** What all shards can do together, in keys a second. */
  readonly shardsPerSecond: number;
  readonly connections: number;
  readonly log: (line: string) => void;
};

export type OverloadResult = {
  readonly offeredPerSecond: number;
  readonly capacityPerSecond: number;
  /** Right answers a second, and their share of the capacity. */
  readonly goodputPerSecond: number;
  readonly goodputShare: number;
  readonly wrong: number;
  readonly answers: Readonly<Record<number, Latencies>>;
  readonly routerBytesMax: number;
  /** At half of the capacity: before, and from one second after the overload on. */
  readonly beforeP99Ms: number;
  readonly afterP99Ms: number;
  readonly afterFailed: number;
};

const shardCount = 3;
const seed = 1;
const giveUpMs = 1_000;

/** Shards that cannot keep up. */
export async function benchShardOverload(options: OverloadOptions): Promise<OverloadResult> {
  const { seconds, shardsPerSecond, connections, log } = options;
  const shards: ChildProcess[] = [];
  const addresses: string[] = [];
  for (let i = 0; i < shardCount; i++) {
    const shard = fork(fileURLToPath(new URL('limited-shard.ts', import.meta.url)), [`limited-${i}`, String(shardsPerSecond / shardCount)]);
    shards.push(shard);
    const [port] = (await once(shard, 'message')) as [number];
    addresses.push(`127.0.0.1:${port}`);
  }
  const args = ['router', '--members', addresses.join(','), '--port', '0', '--cache-size', '0', '--drain', '0s', '--log-level', 'warn'];
  const router = new SupervisedProcess({ title: 'router', args, onDeath: log });
  const address = `127.0.0.1:${await router.start()}`;
  await untilServing(address);
  const random = randomNumbers(seed);
  const run = (perSecond: number, duration: number): Promise<OpenLoopResult> =>
    runOpenLoop({
      ...{ address, perSecond, seconds: duration, connections, giveUpMs },
      nextKey: () => `key-${Math.floor(random() * 1e9)}`,
      isRight: (key, status, body) => status !== 404 && (status !== 200 || body === `value of ${key}`),
    });
  const memory = watchMemory(router.pid!);
  try {
    await run(shardsPerSecond / 2, 2);
    const before = await run(shardsPerSecond / 2, seconds);

    const over = await run(2 * shardsPerSecond, seconds);

    await run(shardsPerSecond / 2, 1);
    const after = await run(shardsPerSecond / 2, seconds);
    const goodputPerSecond = ((over.statuses[200] ?? 0) * over.perSecond) / over.requests;
    const result = {
      offeredPerSecond: 2 * shardsPerSecond,
      capacityPerSecond: shardsPerSecond,
      goodputPerSecond,
      goodputShare: goodputPerSecond / shardsPerSecond,
      wrong: before.wrong + over.wrong + after.wrong,
      answers: over.answers,
      givenUp: over.givenUp,
      routerBytesMax: memory.max(),
      beforeP99Ms: before.p99Ms,
      afterP99Ms: after.p99Ms,
      afterFailed: after.requests - (after.statuses[200] ?? 0),
    };
    const status = await (await fetch(`http://${address}/status`)).json();
    log(JSON.stringify((status as { keys: object }).keys));
    return result;
  } finally {
    memory.stop();
    await router.stop();
    for (const shard of shards) shard.kill();
  }
}

function watchMemory(pid: number): { max: () => number; stop: () => void } {
  let max = 0;
  const timer = setInterval(() => {
    max = Math.max(max, residentBytesOf(pid));
  }, 100);
  return { max: () => max, stop: () => clearInterval(timer) };
}
