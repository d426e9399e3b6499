// A local cluster under load, at any size: how soon it serves, what memory each process takes, whether sampled keys are answered to the
// byte and absent ones with 404, and what GETs and `/mget`s it answers: uniform, by Zipf's law, and misses; as fast as 64 connections
// that wait can ask, and at half of that rate from clients that do not wait.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import type { LocalCluster } from '../deploy/serve/local-cluster.ts';
import { HttpClient } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { makeData, seed, startCluster } from './bench-cluster.ts';
import { type OpenLoopResult, runOpenLoop } from './open-loop.ts';
import { measureCpu, residentBytesOf } from './process-cpu.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { writeLines } from './text-lines.ts';
import { isInstalled, type LoadResult, runWrk, writeMgetScript, writeWrkScript } from './tools.ts';
import { randomNumbers, zipfRanks } from './zipf.ts';

export type ServingOptions = {
  readonly entries: number;
  /** Mean, in bytes. */
  readonly valueSize: number;
  readonly shards: number;
  /** One by default. */
  readonly replicas?: number;
  /** Of the router; by default its own. */
  readonly deadlineMs?: number;
  /** Of each load: whole ones. */
  readonly seconds: number;
  /** Of each load, before. */
  readonly warmUpSeconds: number;
  /** Keys that are compared with what was generated, and as many absent ones. */
  readonly samples: number;
  /** A published version of exactly these records, as `generate --seed 1` makes them; by default it is made and removed. */
  readonly dataDir?: string | undefined;
  readonly log: (line: string) => void;
};

/** CPU in microseconds per request. */
export type ServingLoad = LoadResult & { readonly routerUs: number; readonly shardsUs: number };

/** How soon a cluster serves, what memory its processes take, and what it answers to uniform load. */
export type ServingBase = {
  readonly entries: number;
  /** Mean, in bytes. */
  readonly valueSize: number;
  readonly shards: number;
  readonly readySeconds: number;
  /** Resident, before any load. */
  readonly loadedBytes: readonly number[];
  /** Resident, after all load. */
  readonly routerBytes: number;
  readonly shardBytes: readonly number[];
  readonly answeredExactly: number;
  readonly answeredMissing: number;
  readonly uniform: ServingLoad;
};

export type ServingResult = ServingBase & {
  readonly zipf: ServingLoad;
  readonly misses: ServingLoad;
  readonly openLoop: OpenLoopResult;
  readonly mget: {
    readonly keysPerSecond: number;
    readonly keysPerRouterCpuSecond: number;
    readonly p50Ms: number;
    readonly p99Ms: number;
  };
};

const absentSeed = 2;
const connections = 64;
const mgetKeys = 100;
/** Keys of one load, in a file for wrk. */
const loadKeys = 500_000;

/** Undefined, and a word why, when wrk is missing. */
export async function benchServing(options: ServingOptions): Promise<ServingResult | undefined> {
  if (!isInstalled('wrk')) {
    options.log('serving: skipped, wrk not installed');
    return undefined;
  }
  return inTemporaryFolder(async (folder) => {
    const dataDir = options.dataDir ?? join(folder, 'data');
    if (options.dataDir === undefined) await makeData({ ...options, dataDir });
    return await measureServing({ ...options, dataDir }, folder, askAll);
  });
}

/** The whole life of a cluster over `dataDir`: start, check, uniform load, `askMore`, stop. `folder` takes the files of the load. */
export async function measureServing<More extends object>(
  options: ServingOptions & { readonly dataDir: string },
  folder: string,
  askMore: (loaded: Loaded) => Promise<More>,
): Promise<ServingBase & More> {
  const { entries, valueSize, shards, replicas = 1, deadlineMs, dataDir, log } = options;
  const startedMs = performance.now();
  const cluster = await startCluster({ dataDir, shards, replicas, hasCache: true, deadlineMs, log });
  try {
    const readySeconds = (performance.now() - startedMs) / 1_000;
    const pids = cluster.shards.map(({ pid }) => pid!);
    const loadedBytes = pids.map(residentBytesOf);
    log(`serving: ready in ${readySeconds.toFixed(1)} s; shards ${loadedBytes.map((bytes) => Math.round(bytes / 2 ** 20)).join(', ')} MiB`);
    const { exact, missing } = await checkAnswers(cluster.routerAddress, options);
    log(`serving: ${exact} sampled keys answered exactly, ${missing} absent ones missing`);
    const load = loadOn(cluster, options, folder);
    const random = randomNumbers(seed);
    const uniformIndex = (): number => Math.floor(random() * entries);
    const uniform = await load('uniform', () => keyOf(seed, uniformIndex(), options));
    const more = await askMore({ cluster, options, folder, load, uniform, uniformIndex });
    return {
      ...{ entries, valueSize, shards, readySeconds, loadedBytes, answeredExactly: exact, answeredMissing: missing, uniform },
      routerBytes: residentBytesOf(cluster.router.pid!),
      shardBytes: pids.map(residentBytesOf),
      ...more,
    };
  } finally {
    await cluster.stop();
  }
}

type Loaded = {
  readonly cluster: LocalCluster;
  readonly options: ServingOptions;
  readonly folder: string;
  readonly load: (name: string, nextKey: () => string) => Promise<ServingLoad>;
  readonly uniform: ServingLoad;
  readonly uniformIndex: () => number;
};

async function askAll(loaded: Loaded): Promise<Omit<ServingResult, keyof ServingBase>> {
  const { cluster, options, folder, load, uniform, uniformIndex } = loaded;
  const rank = zipfRanks({ n: options.entries, exponent: 0.99, seed });
  // The hottest record is any record: ranks are spread over all of them.
  const zipf = await load('zipf', () => keyOf(seed, spread(rank() - 1, options.entries), options));
  const misses = await load('misses', () => keyOf(absentSeed, uniformIndex(), options));
  const openLoop = await runOpenLoop({
    address: cluster.routerAddress,
    perSecond: Math.round(uniform.perSecond / 2),
    seconds: options.seconds,
    connections,
    nextKey: () => keyOf(seed, uniformIndex(), options),
  });
  return { zipf, misses, openLoop, mget: await loadMget(cluster, options, folder, uniformIndex) };
}

function keyOf(keySeed: number, index: number, { valueSize }: ServingOptions): string {
  return recordOf(keySeed, index, valueSize).key;
}

/** A fixed permutation of 0 to n - 1: multiplication by a number without a common factor. */
function spread(index: number, n: number): number {
  return Number((BigInt(index) * 2_654_435_761n) % BigInt(n));
}

function loadOn(cluster: LocalCluster, { entries, seconds, warmUpSeconds, log }: ServingOptions, folder: string) {
  return async (name: string, nextKey: () => string): Promise<ServingLoad> => {
    const keysFile = join(folder, `${name}.txt`);
    const script = join(folder, `${name}.lua`);
    await writeLines(keysFile, Math.min(loadKeys, 10 * entries), nextKey);
    writeWrkScript(script, keysFile, 'as written');
    const run = (duration: number): LoadResult => runWrk({ script, address: cluster.routerAddress, connections, seconds: duration });
    if (warmUpSeconds > 0) run(warmUpSeconds);
    const routerPid = cluster.router.pid!;
    const shardPids = cluster.shards.map(({ pid }) => pid!);
    const { result, cpuSeconds } = measureCpu(() => run(seconds), [routerPid], shardPids);
    const failed = name === 'misses' ? result.failed - result.requests : result.failed;
    if (failed !== 0) throw new Error(`${name}: ${failed} of ${result.requests} requests failed`);
    const [routerUs, shardsUs] = cpuSeconds.map((spent) => (spent * 1e6) / result.requests) as [number, number];
    log(`serving: ${name}: ${Math.round(result.perSecond)}/s, p50 ${result.p50Ms} ms, p99 ${result.p99Ms} ms, p99.9 ${result.p999Ms} ms`);
    return { ...result, failed, routerUs, shardsUs };
  };
}

async function loadMget(
  cluster: LocalCluster,
  options: ServingOptions,
  folder: string,
  nextIndex: () => number,
): Promise<ServingResult['mget']> {
  const bodies = Array.from({ length: 2_000 }, () =>
    JSON.stringify({ keys: Array.from({ length: mgetKeys }, () => keyOf(seed, nextIndex(), options)) }),
  );
  const bodiesFile = join(folder, 'bodies.txt');
  writeFileSync(bodiesFile, `${bodies.join('\n')}\n`);
  const script = join(folder, 'mget.lua');
  writeMgetScript(script, bodiesFile);
  const run = (seconds: number): LoadResult => runWrk({ script, address: cluster.routerAddress, connections: 16, seconds });
  if (options.warmUpSeconds > 0) run(options.warmUpSeconds);
  const { result, cpuSeconds } = measureCpu(() => run(options.seconds), [cluster.router.pid!]);
  const { requests, perSecond, failed, p50Ms, p99Ms } = result;
  if (failed > 0) throw new Error(`mget: ${failed} of ${requests} requests failed`);
  return { keysPerSecond: perSecond * mgetKeys, keysPerRouterCpuSecond: (requests * mgetKeys) / cpuSeconds[0]!, p50Ms, p99Ms };
}

type MgetAnswer = { readonly results: readonly { readonly key: string; readonly status: string; readonly value?: string }[] };

/** Sampled records, and as many keys that are in none, by `/mget`; every answer is looked at. */
async function checkAnswers(address: string, options: ServingOptions): Promise<{ exact: number; missing: number }> {
  const { entries, samples, valueSize } = options;
  const random = randomNumbers(3);
  const client = new HttpClient();
  const counts = { exact: 0, missing: 0 };
  const ask = async (keys: readonly string[]): Promise<MgetAnswer['results']> => {
    const reply = await client.fetch(address, '/mget', {
      method: 'POST',
      body: JSON.stringify({ keys }),
      headers: { 'content-type': 'application/json' },
      deadlineMs: limits.toolDeadlineMs,
      sizeMax: limits.toolReplySizeMax,
    });
    if (reply.status !== 200) throw new Error(`/mget answered ${reply.status} ${reply.body}`);
    return (JSON.parse(reply.body.toString()) as MgetAnswer).results;
  };
  const sample = async (count: number): Promise<void> => {
    const records = Array.from({ length: count }, () => recordOf(seed, Math.floor(random() * entries), valueSize));
    const found = await ask(records.map(({ key }) => key));
    for (const [i, { key, value }] of records.entries()) {
      if (found[i]?.status !== 'found' || found[i].value !== value) throw new Error(`${key}: ${JSON.stringify(found[i])}, not ${value}`);
      counts.exact++;
    }
    const absent = Array.from({ length: count }, () => keyOf(absentSeed, Math.floor(random() * 2 ** 32), options));
    for (const result of await ask(absent)) {
      if (result.status !== 'missing') throw new Error(`absent ${result.key}: ${result.status}`);
      counts.missing++;
    }
  };
  let left = samples;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      const count = Math.min(mgetKeys, left);
      left -= count;
      await sample(count);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  await client.close();
  return counts;
}
