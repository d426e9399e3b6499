// A new version published under load, in shards that have memory for 1.2 versions: whether a request fails, what it does to the latencies, how much memory
// each shard takes at the most, and how long it takes until every router serves the new one and the memory is as before.
//
//     load at a fixed rate   |── before ──|────────────── during ───────────────|── after ──|
//                                         `publish`        served      settled
//                                         verifies, then replaces `current`
//
// Both versions have the same keys, with values that differ in length: an answer may be the one or the other, and nothing else.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { recordOf } from '../deploy/generate/records.ts';
import { LocalCluster } from '../deploy/serve/local-cluster.ts';
import { program, SupervisedProcess } from '../deploy/serve/supervised-process.ts';
import { readManifest } from '../shared/data-set.ts';
import type { Manifest } from '../shared/manifest.ts';
import { placeSlices } from '../shared/placement.ts';
import { makeData, seed } from './bench-cluster.ts';
import { type OpenLoopResult, runOpenLoop } from './open-loop.ts';
import { forgetPeakOf, peakResidentBytesOf, residentBytesOf } from './process-cpu.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { untilServing } from './tools.ts';
import { randomNumbers } from './zipf.ts';

export type SwapOptions = {
  readonly entries: number;
  readonly shards: number;
  readonly replicas: number;
  /** Of the routers; by default their own. */
  readonly deadlineMs?: number;
  /** Of the load, through one of two routers. */
  readonly perSecond: number;
  /** Of the load before and after. */
  readonly seconds: number;
  readonly log: (line: string) => void;
};

/** Bytes of one shard. */
type ShardMemory = {
  /** Its slices of one version: the larger of the two. */
  readonly sliceBytes: number;
  readonly budget: number;
  readonly residentBefore: number;
  readonly residentPeak: number;
  readonly residentAfter: number;
  /** The most that it took beside what it took before, as a share of its slices. */
  readonly peakOverBefore: number;
};

export type SwapResult = {
  readonly entries: number;
  readonly shards: number;
  readonly replicas: number;
  readonly sliceBytes: number;
  /** What `publish` took to verify the version, before it replaced `current`. */
  readonly verifySeconds: number;
  /** From the time at which `current` was replaced. */
  readonly servedSeconds: number;
  /** Until every shard held the new version alone, all of it in memory. */
  readonly settledSeconds: number;
  readonly failed: number;
  readonly wrong: number;
  readonly before: OpenLoopResult;
  readonly during: OpenLoopResult;
  readonly after: OpenLoopResult;
  readonly memory: readonly ShardMemory[];
};

/** Mean sizes; of one record the second value is a byte longer. */
const valueSizes = [90, 91] as const;
const memoryShare = 1.2;
const connections = 64;
const lookMs = 50;
const swapSecondsMax = 600;

type ShardStatus = {
  readonly versions: readonly { readonly id: string; readonly settled: boolean }[];
  readonly memory: { readonly slices: number };
  readonly cache: object | null;
};

export async function benchSwap(options: SwapOptions): Promise<SwapResult> {
  return await inTemporaryFolder(async (folder) => {
    const dataDir = join(folder, 'data');
    const old = await makeVersion(options, { dataDir, valueSize: valueSizes[0], publish: true });
    const next = await makeVersion(options, { dataDir, valueSize: valueSizes[1], publish: false });
    return await measure(options, dataDir, { old, next });
  });
}

async function makeVersion(
  { entries, log }: SwapOptions,
  { dataDir, valueSize, publish }: { dataDir: string; valueSize: number; publish: boolean },
): Promise<Manifest> {
  const { id, seconds } = await makeData({ entries, valueSize, dataDir, publish });
  log(`swap: ${entries} entries split in ${seconds.total.toFixed(1)} s`);
  return await readManifest(dataDir, id);
}

async function measure(options: SwapOptions, dataDir: string, { old, next }: { old: Manifest; next: Manifest }): Promise<SwapResult> {
  const { entries, shards, replicas, deadlineMs, seconds, log } = options;
  const deadline = deadlineMs === undefined ? [] : ['--deadline', `${deadlineMs}ms`];
  const bytesOf = (name: string, names: readonly string[]): number =>
    Math.max(...[old, next].map((manifest) => bytesPlaced(manifest, { name, names, replicas })));
  const budgetOf = (name: string, names: readonly string[]): number => Math.floor(memoryShare * bytesOf(name, names));
  const cluster = new LocalCluster({
    ...{ dataDir, host: '127.0.0.1', port: 0, shardPort: 0, shards, replicas, logLevel: 'warn', onEvent: log },
    routerArgs: ['--cache-size', '0', ...deadline],
    shardArgsOf: (name, names) => ['--memory', String(budgetOf(name, names))],
  });
  let second: SupervisedProcess | undefined;
  try {
    await cluster.start();
    const { shardAddresses } = cluster;
    const args = ['router', '--members', shardAddresses.join(','), '--port', '0', '--drain', '0s', '--log-level', 'warn', ...deadline];
    second = new SupervisedProcess({ title: 'second router', args, onDeath: log });
    const routers = [cluster.routerAddress, `127.0.0.1:${await second.start()}`];
    await Promise.all(routers.map(untilServing));
    await untilAlone(shardAddresses, old);
    const load = loadOn(routers[0]!, options);
    await load(2);
    const pids = cluster.shards.map(({ pid }) => pid!);
    const before = await load(seconds);
    const residentBefore = pids.map(residentBytesOf);
    for (const pid of pids) forgetPeakOf(pid);
    const swapped = new AbortController();
    const loaded = load(swapSecondsMax, swapped.signal);
    const times = await swap({ dataDir, next, routers, shardAddresses, log }).finally(() => swapped.abort());
    const during = await loaded;
    const residentPeak = pids.map(peakResidentBytesOf);
    const after = await load(seconds);
    const phases = { before, during, after };
    for (const [name, { requests, p50Ms, p99Ms, p999Ms, maxMs }] of Object.entries(phases))
      log(`swap: ${name}: ${requests} requests, p50 ${p50Ms} ms, p99 ${p99Ms} ms, p99.9 ${p999Ms} ms, slowest ${maxMs} ms`);
    const memory = pids.map((pid, i) => {
      const sliceBytes = bytesOf(shardAddresses[i]!, shardAddresses);
      return {
        sliceBytes,
        budget: budgetOf(shardAddresses[i]!, shardAddresses),
        residentBefore: residentBefore[i]!,
        residentPeak: residentPeak[i]!,
        residentAfter: residentBytesOf(pid),
        peakOverBefore: (residentPeak[i]! - residentBefore[i]!) / sliceBytes,
      };
    });
    for (const { sliceBytes, residentBefore: resident, residentPeak: peak, residentAfter } of memory)
      log(
        `swap: a shard with ${MiB(sliceBytes)} MiB of slices took ${MiB(resident)} MiB, at most ${MiB(peak)}, then ${MiB(residentAfter)}`,
      );
    const runs = Object.values(phases);
    return {
      ...{ entries, shards, replicas, sliceBytes: next.totals.sliceBytes, ...times },
      failed: runs.reduce((sum, { requests, statuses }) => sum + requests - (statuses[200] ?? 0), 0),
      wrong: runs.reduce((sum, { wrong }) => sum + wrong, 0),
      ...phases,
      memory,
    };
  } finally {
    await second?.stop();
    await cluster.stop();
  }
}

function loadOn(address: string, { entries, perSecond }: SwapOptions) {
  const random = randomNumbers(seed);
  const indexes = new Map<string, number>();
  return async (seconds: number, signal?: AbortSignal): Promise<OpenLoopResult> =>
    await runOpenLoop({
      ...{ address, perSecond, seconds, connections, ...(signal ? { signal } : {}) },
      nextKey: () => {
        const index = Math.floor(random() * entries);
        const { key } = recordOf(seed, index);
        indexes.set(key, index);
        return key;
      },
      isRight: (key, status, body) => {
        const index = indexes.get(key)!;
        return status !== 200 ? status >= 500 : valueSizes.some((valueSize) => recordOf(seed, index, valueSize).value === body);
      },
    });
}

/** Bytes of the slices that placement gives to `name`. */
function bytesPlaced(
  { identity }: Manifest,
  { name, names, replicas }: { name: string; names: readonly string[]; replicas: number },
): number {
  const placement = placeSlices({ members: names.map((each) => ({ name: each })), sliceCount: identity.sliceCount, replicas });
  return identity.slices.reduce((sum, { bytes }, i) => sum + (placement[i]!.includes(name) ? bytes : 0), 0);
}

type Swap = {
  readonly dataDir: string;
  readonly next: Manifest;
  readonly routers: readonly string[];
  readonly shardAddresses: readonly string[];
  readonly log: (line: string) => void;
};

/** Publishes as an operator does, in a process of its own. */
async function swap({
  dataDir,
  next,
  routers,
  shardAddresses,
  log,
}: Swap): Promise<Pick<SwapResult, 'verifySeconds' | 'servedSeconds' | 'settledSeconds'>> {
  const startedMs = Date.now();
  const args = [program, 'publish', next.id, '--data', dataDir, '--no-wait', '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  // The sequence of a publication is the time at which it was made.
  const { sequence: publishedMs } = JSON.parse(stdout) as { sequence: number };
  const sinceSeconds = (): number => (Date.now() - publishedMs) / 1_000;
  const verifySeconds = (publishedMs - startedMs) / 1_000;
  for (const address of routers) await until(async () => (await statusOf<RouterStatus>(address)).version?.id === next.id);
  const servedSeconds = sinceSeconds();
  log(`swap: verified in ${verifySeconds.toFixed(1)} s, served by ${routers.length} routers ${servedSeconds.toFixed(1)} s after that`);
  await untilAlone(shardAddresses, next);
  const settledSeconds = sinceSeconds();
  log(`swap: the memory is as before after ${settledSeconds.toFixed(1)} s`);
  return { verifySeconds, servedSeconds, settledSeconds };
}

type RouterStatus = { readonly version: { readonly id: string } | null };

/** Every shard holds this version alone, all of it in memory. */
async function untilAlone(shardAddresses: readonly string[], { id }: Manifest): Promise<void> {
  for (const address of shardAddresses) {
    await until(async () => {
      const { versions, cache } = await statusOf<ShardStatus>(address);
      return versions.length === 1 && versions[0]!.id === id && versions[0]!.settled && cache === null;
    });
  }
}

async function statusOf<T>(address: string): Promise<T> {
  return (await (await fetch(`http://${address}/status`)).json()) as T;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 1_000 * swapSecondsMax;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`the swap takes more than ${swapSecondsMax} s`);
    await pause(lookMs);
  }
}

function MiB(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
