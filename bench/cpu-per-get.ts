// CPU per GET: what a cluster of one router and three shards spends on one request, against nginx as a consistent-hash proxy over the
// `/get` of the same shards. 64 connections, no cache, uniform over the keys; every shard holds every slice, as nginx's own placement
// needs it. And one shard's `/get` against a bare fastify route, so that nginx is not made to look bad by slow upstreams.
//
// The figure is user and system time of the serving processes over the requests that they answered; pairs alternate in one run.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateLines, recordOf } from '../deploy/generate/records.ts';
import { LocalCluster } from '../deploy/serve/local-cluster.ts';
import { splitFiles } from '../deploy/split/split.ts';
import { HttpClient } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { cpuSecondsOf } from './process-cpu.ts';
import { freePort, isInstalled, type LoadResult, type Nginx, runWrk, startNginx, untilReady, writeWrkScript } from './tools.ts';

export type CpuPerGetOptions = {
  readonly entries: number;
  readonly seconds: number;
  readonly pairs: number;
  readonly log: (line: string) => void;
};

/** Microseconds of CPU per request, medians over the pairs; ratios are medians of the pairs' own ratios. */
export type CpuPerGetResult = {
  readonly clusterUs: number;
  readonly routerUs: number;
  readonly nginxClusterUs: number;
  readonly nginxUs: number;
  readonly clusterRatio: number;
  readonly routerRatio: number;
  readonly shardGetUs: number;
  readonly fastifyUs: number;
  readonly shardGetRatio: number;
  readonly routerPerSecond: number;
  readonly nginxPerSecond: number;
  /** One connection that waits for each answer: p50 in milliseconds, straight at a shard, through the router, through nginx. */
  readonly alone: { readonly shardMs: number; readonly routerMs: number; readonly nginxMs: number; readonly addedRatio: number };
  readonly checked: number;
};

const seed = 1;
const connections = 64;

/** Undefined, and a word why, when wrk or nginx are missing. */
export async function benchCpuPerGet(options: CpuPerGetOptions): Promise<CpuPerGetResult | undefined> {
  const missing = ['wrk', 'nginx'].filter((program) => !isInstalled(program));
  if (missing.length > 0) {
    options.log(`cpu-per-get: skipped, ${missing.join(' and ')} not installed`);
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'pavostore-bench-'));
  const stops: (() => Promise<void> | void)[] = [() => rmSync(folder, { recursive: true, force: true })];
  try {
    return await measure(options, folder, stops);
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

async function measure(options: CpuPerGetOptions, folder: string, stops: (() => Promise<void> | void)[]): Promise<CpuPerGetResult> {
  const { entries, seconds, pairs, log } = options;
  const input = join(folder, 'input.data');
  const keysFile = join(folder, 'keys.txt');
  await writeInput(input, keysFile, entries);
  const dataDir = join(folder, 'data');
  await splitFiles({ files: [input], dataDir });
  log(`cpu-per-get: ${entries} entries split`);

  const cluster = new LocalCluster({
    dataDir,
    host: '127.0.0.1',
    port: 0,
    shardPort: 0,
    shards: 3,
    replicas: 3,
    logLevel: 'warn',
    routerArgs: ['--cache-size', '0'],
    onEvent: log,
  });
  await cluster.start();
  stops.push(() => cluster.stop());
  // A router needs one holder of each slice; nginx and the shard alone ask shards for any of them.
  await untilReady(cluster.shardAddresses);
  const nginx = await startNginx({ folder, port: await freePort(), shardAddresses: cluster.shardAddresses });
  stops.push(() => nginx.stop());
  const bare = await startBareRoute(recordOf(seed, 0).value);
  stops.push(() => bare.stop());
  const checked = await checkAnswers([cluster.routerAddress, nginx.address, cluster.shardAddresses[0]!], entries);

  const script = join(folder, 'keys.lua');
  writeWrkScript(script, keysFile);
  const load = (address: string, atOnce = connections): LoadResult => {
    const result = runWrk({ script, address, connections: atOnce, seconds });
    if (result.failed > 0) throw new Error(`${result.failed} of ${result.requests} requests to ${address} failed`);
    return result;
  };
  return runPairs({ cluster, nginx, bare, pairs, load, checked, log });
}

type Contest = {
  readonly cluster: LocalCluster;
  readonly nginx: Nginx;
  readonly bare: BareRoute;
  readonly pairs: number;
  readonly load: (address: string, atOnce?: number) => LoadResult;
  readonly checked: number;
  readonly log: (line: string) => void;
};

function runPairs({ cluster, nginx, bare, pairs, load, checked, log }: Contest): CpuPerGetResult {
  const shardPids = cluster.shards.map(({ pid }) => pid!);
  const routerPid = cluster.router.pid!;
  const firstShard = cluster.shardAddresses[0]!;
  const samples: Sample[] = [];
  // The first round warms up: code is compiled, connections are opened.
  for (let round = 0; round <= pairs; round++) {
    const ours = measureCpu(() => load(cluster.routerAddress), [routerPid], shardPids);
    const theirs = measureCpu(() => load(nginx.address), [nginx.workerPid], shardPids);
    const shard = measureCpu(() => load(firstShard), [shardPids[0]!], []);
    const route = measureCpu(() => load(bare.address), [bare.pid], []);
    if (round === 0) continue;
    samples.push({ ours, theirs, shard, route });
    log(
      `cpu-per-get: pair ${round}: cluster ${ours.totalUs.toFixed(1)} us, nginx ${theirs.totalUs.toFixed(1)} us a request; ` +
        `router ${ours.frontUs.toFixed(1)}, nginx ${theirs.frontUs.toFixed(1)}; shard /get ${shard.frontUs.toFixed(1)}, bare route ${route.frontUs.toFixed(1)}`,
    );
  }
  const medianOf = (value: (sample: Sample) => number): number => median(samples.map(value));
  return {
    clusterUs: medianOf(({ ours }) => ours.totalUs),
    routerUs: medianOf(({ ours }) => ours.frontUs),
    nginxClusterUs: medianOf(({ theirs }) => theirs.totalUs),
    nginxUs: medianOf(({ theirs }) => theirs.frontUs),
    clusterRatio: medianOf(({ ours, theirs }) => ours.totalUs / theirs.totalUs),
    routerRatio: medianOf(({ ours, theirs }) => ours.frontUs / theirs.frontUs),
    shardGetUs: medianOf(({ shard }) => shard.frontUs),
    fastifyUs: medianOf(({ route }) => route.frontUs),
    shardGetRatio: medianOf(({ shard, route }) => shard.frontUs / route.frontUs),
    routerPerSecond: medianOf(({ ours }) => ours.perSecond),
    nginxPerSecond: medianOf(({ theirs }) => theirs.perSecond),
    alone: askAlone([firstShard, cluster.routerAddress, nginx.address], pairs, load),
    checked,
  };
}

/** What router and nginx add to a shard's own answer when nothing else goes on; medians over alternating rounds. */
function askAlone(addresses: readonly [string, string, string], roundCount: number, load: Contest['load']): CpuPerGetResult['alone'] {
  const rounds = Array.from({ length: roundCount }, () => addresses.map((address) => load(address, 1).p50Ms));
  const [shardMs, routerMs, nginxMs] = addresses.map((_, i) => median(rounds.map((round) => round[i]!))) as [number, number, number];
  return { shardMs, routerMs, nginxMs, addedRatio: (routerMs - shardMs) / (nginxMs - shardMs) };
}

type Cpu = { readonly frontUs: number; readonly totalUs: number; readonly perSecond: number };
type Sample = { readonly ours: Cpu; readonly theirs: Cpu; readonly shard: Cpu; readonly route: Cpu };

function measureCpu(run: () => LoadResult, frontPids: readonly number[], backPids: readonly number[]): Cpu {
  const frontBefore = cpuSecondsOf(frontPids);
  const backBefore = cpuSecondsOf(backPids);
  const { requests, perSecond } = run();
  const front = cpuSecondsOf(frontPids) - frontBefore;
  const back = cpuSecondsOf(backPids) - backBefore;
  return { frontUs: (front * 1e6) / requests, totalUs: ((front + back) * 1e6) / requests, perSecond };
}

/** The input, and beside it up to a million of its keys, spread over all of it. */
async function writeInput(path: string, keysPath: string, entries: number): Promise<void> {
  const input = createWriteStream(path);
  for (const lines of generateLines({ entries, seed })) if (!input.write(lines)) await once(input, 'drain');
  input.end();
  await once(input, 'close');
  const keys = createWriteStream(keysPath);
  const count = Math.min(entries, 1_000_000);
  for (let i = 0; i < count; i++) {
    if (!keys.write(`${recordOf(seed, Math.floor((i * entries) / count)).key}\n`)) await once(keys, 'drain');
  }
  keys.end();
  await once(keys, 'close');
}

/** Every contender must give the right bytes before its speed counts. */
async function checkAnswers(addresses: readonly string[], entries: number): Promise<number> {
  const client = new HttpClient();
  const sampleCount = Math.min(entries, 1_000);
  for (let i = 0; i < sampleCount; i++) {
    const { key, value } = recordOf(seed, Math.floor((i * entries) / sampleCount));
    for (const address of addresses) {
      const reply = await client.fetch(address, `/get?key=${key}`, { deadlineMs: limits.toolDeadlineMs, sizeMax: limits.valueSizeMax });
      if (reply.status !== 200 || reply.body.toString() !== value)
        throw new Error(`http://${address}/get?key=${key} answered ${reply.status} ${reply.body}`);
    }
  }
  await client.close();
  return sampleCount * addresses.length;
}

type BareRoute = { readonly address: string; readonly pid: number; stop(): Promise<void> };

/** The least that fastify does for a GET of one value of usual size, in a process of its own. */
async function startBareRoute(value: string): Promise<BareRoute> {
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(new URL('./bare-route.ts', import.meta.url)), value], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const [port] = (await once(child, 'message')) as [number];
  return {
    address: `127.0.0.1:${port}`,
    pid: child.pid!,
    stop: async () => {
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    },
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
