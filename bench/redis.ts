// Redis, which most people would take instead: what it takes to load the same records (`redis-cli --pipe`) and to hold them, and what a GET
// over HTTP costs by webdis before it.

import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { seed } from './bench-cluster.ts';
import { measureCpu } from './process-cpu.ts';
import { missingForRedis, RedisServer, startWebdis, webdisPath, writeRedisCommands } from './redis-server.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { writeLines } from './text-lines.ts';
import { isInstalled, type LoadResult, runWrk, writeWrkScript } from './tools.ts';

export type RedisBenchOptions = {
  readonly entries: number;
  readonly valueSize: number;
  readonly seconds: number;
  readonly log: (line: string) => void;
};

export type RedisResult = {
  readonly entries: number;
  readonly loadSeconds: number;
  /** Of the server, and of `redis-cli`. */
  readonly loadCpuSeconds: number;
  /** Above key and value bytes, by Redis' own account of its memory. */
  readonly overheadPerEntry: number;
  /** Undefined where webdis is not installed. CPU in microseconds a request, of webdis and redis together. */
  readonly webdis: (LoadResult & { readonly cpuUs: number }) | undefined;
};

const keysMax = 200_000;

/** Undefined, and a word why, when Redis or wrk are missing. */
export async function benchRedis(options: RedisBenchOptions): Promise<RedisResult | undefined> {
  const missing = [...missingForRedis(), ...['wrk'].filter((name) => !isInstalled(name))];
  if (missing.length > 0) {
    options.log(`redis: skipped, ${missing.join(' and ')} not installed`);
    return undefined;
  }
  return inTemporaryFolder(async (folder) => {
    const redis = await RedisServer.start(folder);
    try {
      return await measure(options, folder, redis);
    } finally {
      await redis.stop();
    }
  });
}

async function measure(options: RedisBenchOptions, folder: string, redis: RedisServer): Promise<RedisResult> {
  const { entries, valueSize, log } = options;
  const commands = join(folder, 'commands');
  const { recordBytes } = await writeRedisCommands(commands, entries, valueSize);
  const before = redis.usedBytes;
  const { wallSeconds: loadSeconds, cpuSeconds: loadCpuSeconds } = redis.load(commands);
  const overheadPerEntry = (redis.usedBytes - before - recordBytes) / entries;
  log(`redis: ${entries} entries in ${loadSeconds.toFixed(1)} s, ${overheadPerEntry.toFixed(1)} bytes above key and value an entry`);
  const webdis = isInstalled('webdis') ? await loadWebdis(options, folder, redis) : undefined;
  return { entries, loadSeconds, loadCpuSeconds, overheadPerEntry, webdis };
}

async function loadWebdis({ entries, valueSize, seconds, log }: RedisBenchOptions, folder: string, redis: RedisServer) {
  const webdis = await startWebdis(folder, redis);
  try {
    const keysFile = join(folder, 'keys.txt');
    const count = Math.min(entries, keysMax);
    await writeLines(keysFile, count, (i) => recordOf(seed, Math.floor((i * entries) / count), valueSize).key);
    const script = join(folder, 'keys.lua');
    writeWrkScript(script, keysFile, 'random', webdisPath);
    const run = (duration: number): LoadResult => runWrk({ script, address: webdis.address, connections: 64, seconds: duration });
    run(1);
    const { result, cpuSeconds } = measureCpu(() => run(seconds), [webdis.pid, redis.pid]);
    if (result.failed > 0) throw new Error(`webdis: ${result.failed} of ${result.requests} requests failed`);
    const cpuUs = (cpuSeconds[0]! * 1e6) / result.requests;
    log(`redis: webdis ${Math.round(result.perSecond)} GETs/s, ${cpuUs.toFixed(1)} us of CPU each with Redis`);
    return { ...result, cpuUs };
  } finally {
    await webdis.stop();
  }
}
