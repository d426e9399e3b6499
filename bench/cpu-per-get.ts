// CPU per GET: what a cluster of one router and three shards spends on one request, against what else one could put before the same shards:
// nginx as a consistent-hash proxy over their `/get`, and fastify with one undici request a key; and against webdis before Redis. 64 connections,
// no cache, uniform over the keys; every shard holds every slice, as the rivals' own placement needs it. And one shard's `/get` against a
// bare fastify route, so that the proxies are not made to look bad by slow upstreams.
//
// The figure is user and system time of the serving processes over the requests that they answered; contenders take turns in one run.
// Then how long an answer takes: at one connection that waits, and at half of the rate that router and nginx can do, from clients that do not.

import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { HttpClient } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { makeData, seed, startCluster } from './bench-cluster.ts';
import { startProgram } from './bench-program.ts';
import { runOpenLoop } from './open-loop.ts';
import { measureCpu } from './process-cpu.ts';
import { missingForRedis, RedisServer, startWebdis, webdisPath, writeRedisCommands } from './redis-server.ts';
import { median, type Spread, spreadOf } from './statistics.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { writeLines } from './text-lines.ts';
import { freePort, getPath, isInstalled, type KeyPath, type LoadResult, runWrk, startNginx, untilReady, writeWrkScript } from './tools.ts';
import { randomNumbers } from './zipf.ts';

export type CpuPerGetOptions = {
  readonly entries: number;
  /** Mean, in bytes. */
  readonly valueSize: number;
  /** Of each run of wrk: whole ones. */
  readonly seconds: number;
  readonly pairs: number;
  /** Rounds before that: code is compiled, connections are opened. */
  readonly warmUps: number;
  /** Of each run at half of the rate. */
  readonly openLoopSeconds: number;
  readonly log: (line: string) => void;
};

/** Microseconds of CPU per request, medians over the rounds. */
export type ContenderResult = {
  readonly name: 'Pavostore' | 'nginx' | 'undici' | 'webdis';
  /** Of all serving processes. */
  readonly us: number;
  /** Of the one in front: the router or what is in its place. */
  readonly frontUs: number;
  /** Pavostore's over this one's, round by round. */
  readonly ratio: Spread;
  readonly frontRatio: Spread;
  /** From 64 connections that wait. */
  readonly perSecond: number;
  /** p50 of one connection that waits. */
  readonly aloneMs: number;
  /** At `halfPerSecond`, counted from when each request was due; undefined where this is more than it can do. */
  readonly half: HalfRate | undefined;
};

export type HalfRate = { readonly p50Ms: number; readonly p99Ms: number; readonly p999Ms: number };

export type CpuPerGetResult = {
  readonly entries: number;
  readonly valueSize: number;
  readonly pairs: number;
  /** Pavostore, nginx, and those others that are installed. */
  readonly contenders: readonly ContenderResult[];
  /** One shard asked straight, and a fastify route that answers every key alike. */
  readonly shardGet: { readonly us: number; readonly fastifyUs: number; readonly ratio: Spread };
  readonly shardAloneMs: number;
  /** Half of what the slower of router and nginx can do. */
  readonly halfPerSecond: number;
  /** Answers that were compared before. */
  readonly checked: number;
};

const connections = 64;
const shardCount = 3;
/** Rounds of the open loop: each takes long enough for its own percentiles. */
const halfRounds = 3;
const keysMax = 1_000_000;

/** Undefined, and a word why, when wrk or nginx are missing. */
export async function benchCpuPerGet(options: CpuPerGetOptions): Promise<CpuPerGetResult | undefined> {
  const missing = ['wrk', 'nginx'].filter((program) => !isInstalled(program));
  if (missing.length > 0) {
    options.log(`cpu-per-get: skipped, ${missing.join(' and ')} not installed`);
    return undefined;
  }
  return inTemporaryFolder(async (folder) => {
    await using stops = new AsyncDisposableStack();
    return await measure(options, folder, stops);
  });
}

type Server = { readonly address: string; readonly script: string; readonly path: KeyPath };
type Contender = Server & {
  readonly name: ContenderResult['name'];
  readonly frontPids: readonly number[];
  readonly backPids: readonly number[];
};

async function measure(options: CpuPerGetOptions, folder: string, stops: AsyncDisposableStack): Promise<CpuPerGetResult> {
  const { entries, valueSize, log } = options;
  const dataDir = join(folder, 'data');
  await makeData({ entries, valueSize, dataDir });
  log(`cpu-per-get: ${entries} entries split`);
  const keysFile = join(folder, 'keys.txt');
  const keyCount = Math.min(entries, keysMax);
  await writeLines(keysFile, keyCount, (i) => recordOf(seed, Math.floor((i * entries) / keyCount), valueSize).key);
  const script = join(folder, 'keys.lua');
  writeWrkScript(script, keysFile);

  const cluster = await startCluster({ dataDir, shards: shardCount, replicas: shardCount, hasCache: false, log });
  stops.defer(() => cluster.stop());
  const { shardAddresses, routerAddress } = cluster;
  // A router needs one holder of each slice; the others ask shards for any of them.
  await untilReady(shardAddresses);
  const nginx = await startNginx({ folder, port: await freePort(), shardAddresses });
  stops.defer(() => nginx.stop());
  const undici = await startProgram('undici-proxy', shardAddresses);
  stops.defer(() => undici.stop());
  const bare = await startProgram('bare-route', [recordOf(seed, 0, valueSize).value]);
  stops.defer(() => bare.stop());
  const backPids = cluster.shards.map(({ pid }) => pid!);
  const plain = { script, path: getPath, backPids };
  const webdis = await startWebdisContender(options, { folder, keysFile, stops });
  const contenders: Contender[] = [
    { ...plain, name: 'Pavostore', address: routerAddress, frontPids: [cluster.router.pid!] },
    { ...plain, name: 'nginx', address: nginx.address, frontPids: [nginx.workerPid] },
    { ...plain, name: 'undici', address: undici.address, frontPids: [undici.pid] },
    ...(webdis ? [webdis] : []),
  ];
  const shard = { address: shardAddresses[0]!, script, path: getPath, pid: backPids[0]! };
  const checked = await checkAnswers([...contenders, shard], options);
  return runRounds({ ...options, contenders, shard, bare: { ...bare, script }, checked });
}

/** Undefined, and a word why, when it or Redis are not installed. */
async function startWebdisContender(
  { entries, valueSize, log }: CpuPerGetOptions,
  { folder, keysFile, stops }: { folder: string; keysFile: string; stops: AsyncDisposableStack },
): Promise<Contender | undefined> {
  const missing = [...missingForRedis(), ...['webdis'].filter((name) => !isInstalled(name))];
  if (missing.length > 0) {
    log(`cpu-per-get: ${missing.join(' and ')} not installed, left out`);
    return undefined;
  }
  const redis = await RedisServer.start(folder);
  stops.defer(() => redis.stop());
  const commands = join(folder, 'commands');
  await writeRedisCommands(commands, entries, valueSize);
  redis.load(commands);
  const webdis = await startWebdis(folder, redis);
  stops.defer(() => webdis.stop());
  const script = join(folder, 'webdis.lua');
  writeWrkScript(script, keysFile, 'random', webdisPath);
  return { name: 'webdis', address: webdis.address, script, path: webdisPath, frontPids: [webdis.pid], backPids: [redis.pid] };
}

type Asked = { readonly address: string; readonly script: string; readonly pid: number };
type Contest = CpuPerGetOptions & {
  readonly contenders: readonly Contender[];
  readonly shard: Asked;
  readonly bare: Asked;
  readonly checked: number;
};
type Sample = { readonly us: number; readonly frontUs: number; readonly perSecond: number };
type Round = { readonly samples: readonly Sample[]; readonly shardUs: number; readonly bareUs: number };

async function runRounds(contest: Contest): Promise<CpuPerGetResult> {
  const { contenders, shard, bare, pairs, warmUps, entries, valueSize, checked, log } = contest;
  const rounds: Round[] = [];
  for (let i = 1 - warmUps; i <= pairs; i++) {
    const samples = contenders.map(({ frontPids, backPids, ...server }) => sample(contest, server, frontPids, backPids));
    const shardUs = sample(contest, shard, [shard.pid], []).us;
    const bareUs = sample(contest, bare, [bare.pid], []).us;
    if (i <= 0) continue;
    rounds.push({ samples, shardUs, bareUs });
    const each = contenders.map(({ name }, c) => `${name} ${samples[c]!.us.toFixed(1)} (front ${samples[c]!.frontUs.toFixed(1)})`);
    log(`cpu-per-get: round ${i}: ${each.join(', ')} us a request; shard /get ${shardUs.toFixed(1)}, bare route ${bareUs.toFixed(1)}`);
  }
  const [shardAloneMs, ...aloneMs] = askAlone(contest, [shard, ...contenders]);
  const perSecond = contenders.map((_, c) => median(rounds.map(({ samples }) => samples[c]!.perSecond)));
  const halfPerSecond = Math.floor(Math.min(perSecond[0]!, perSecond[1]!) / 2);
  const able = contenders.filter((_, c) => perSecond[c]! > halfPerSecond);
  const half = await askAtRate({ ...contest, contenders: able }, halfPerSecond);
  return {
    ...{ entries, valueSize, pairs, shardAloneMs: shardAloneMs!, halfPerSecond, checked },
    contenders: contenders.map(({ name }, c) => ({
      name,
      us: median(rounds.map(({ samples }) => samples[c]!.us)),
      frontUs: median(rounds.map(({ samples }) => samples[c]!.frontUs)),
      ratio: spreadOf(rounds.map(({ samples }) => samples[0]!.us / samples[c]!.us)),
      frontRatio: spreadOf(rounds.map(({ samples }) => samples[0]!.frontUs / samples[c]!.frontUs)),
      perSecond: perSecond[c]!,
      aloneMs: aloneMs[c]!,
      half: half.get(name),
    })),
    shardGet: {
      us: median(rounds.map(({ shardUs }) => shardUs)),
      fastifyUs: median(rounds.map(({ bareUs }) => bareUs)),
      ratio: spreadOf(rounds.map(({ shardUs, bareUs }) => shardUs / bareUs)),
    },
  };
}

type Target = { readonly address: string; readonly script: string };

function load({ seconds }: CpuPerGetOptions, { address, script }: Target, atOnce = connections): LoadResult {
  const result = runWrk({ script, address, connections: atOnce, seconds });
  if (result.failed > 0) throw new Error(`${result.failed} of ${result.requests} requests to ${address} failed`);
  return result;
}

function sample(options: CpuPerGetOptions, target: Target, frontPids: readonly number[], backPids: readonly number[]): Sample {
  const { result, cpuSeconds } = measureCpu(() => load(options, target), frontPids, backPids);
  const [frontUs, backUs] = cpuSeconds.map((seconds) => (seconds * 1e6) / result.requests) as [number, number];
  return { us: frontUs + backUs, frontUs, perSecond: result.perSecond };
}

/** p50 of one connection when nothing else goes on, in milliseconds; medians over rounds in which all take turns. */
function askAlone(options: CpuPerGetOptions, targets: readonly Target[]): number[] {
  const rounds = Array.from({ length: options.pairs }, () => targets.map((target) => load(options, target, 1).p50Ms));
  return targets.map((_, i) => median(rounds.map((round) => round[i]!)));
}

/** Latencies at a fixed rate, whatever the answers take; medians over rounds in which all take turns. */
async function askAtRate(options: Contest, perSecond: number): Promise<Map<ContenderResult['name'], HalfRate>> {
  const { contenders, entries, valueSize, openLoopSeconds, log } = options;
  const random = randomNumbers(seed);
  const nextKey = (): string => recordOf(seed, Math.floor(random() * entries), valueSize).key;
  const rounds: HalfRate[][] = [];
  for (let i = 0; i < Math.min(halfRounds, options.pairs); i++) {
    const round: HalfRate[] = [];
    for (const { name, address, path } of contenders) {
      const result = await runOpenLoop({ address, path, perSecond, seconds: openLoopSeconds, connections, nextKey });
      if (result.statuses[200] !== result.requests) throw new Error(`${name} answered ${JSON.stringify(result.statuses)}`);
      round.push(result);
    }
    rounds.push(round);
  }
  const half = new Map<ContenderResult['name'], HalfRate>();
  for (const [c, { name }] of contenders.entries()) {
    const medianOf = (value: (result: HalfRate) => number): number => median(rounds.map((round) => value(round[c]!)));
    const result = {
      p50Ms: medianOf(({ p50Ms }) => p50Ms),
      p99Ms: medianOf(({ p99Ms }) => p99Ms),
      p999Ms: medianOf(({ p999Ms }) => p999Ms),
    };
    half.set(name, result);
    log(`cpu-per-get: ${name} at ${perSecond}/s: p50 ${result.p50Ms} ms, p99 ${result.p99Ms} ms`);
  }
  return half;
}

/** Every contender must give the right bytes before its speed counts. */
async function checkAnswers(servers: readonly Server[], { entries, valueSize }: CpuPerGetOptions): Promise<number> {
  const client = new HttpClient();
  const sampleCount = Math.min(entries, 1_000);
  const check = async ({ address, path }: Server, { key, value }: { key: string; value: string }): Promise<void> => {
    const target = `${path.prefix}${key}${path.suffix}`;
    const reply = await client.fetch(address, target, { deadlineMs: limits.toolDeadlineMs, sizeMax: limits.valueSizeMax });
    if (reply.status !== 200 || reply.body.toString() !== value)
      throw new Error(`http://${address}${target} answered ${reply.status} ${reply.body}`);
  };
  for (let i = 0; i < sampleCount; i++) {
    const record = recordOf(seed, Math.floor((i * entries) / sampleCount), valueSize);
    await Promise.all(servers.map((server) => check(server, record)));
  }
  await client.close();
  return sampleCount * servers.length;
}
