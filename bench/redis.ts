// Redis, which most people would take instead: what it takes to load the same records (`redis-cli --pipe`) and to hold them, and what a GET
// over HTTP costs by webdis before it. In its best form for the task: no persistence, one database, values as plain strings, unix
// socket for the pipe, webdis with raw answers over kept connections.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { cpuSecondsOf } from './process-cpu.ts';
import { freePort, isInstalled, type LoadResult, runWrk, untilListening, writeWrkScript } from './tools.ts';

export type RedisBenchOptions = {
  readonly entries: number;
  readonly valueSize: number;
  readonly seconds: number;
  readonly log: (line: string) => void;
};

export type RedisResult = {
  readonly entries: number;
  readonly loadSeconds: number;
  /** Of the server alone. */
  readonly loadCpuSeconds: number;
  /** Above key and value bytes, by Redis' own account of its memory. */
  readonly overheadPerEntry: number;
  /** Undefined where webdis is not installed. CPU in microseconds a request, of webdis and redis together. */
  readonly webdis: (LoadResult & { readonly cpuUs: number }) | undefined;
};

const seed = 1;
const keysMax = 200_000;

/** Undefined, and a word why, when Redis or wrk are missing. */
export async function benchRedis(options: RedisBenchOptions): Promise<RedisResult | undefined> {
  const missing = ['redis-server', 'redis-cli', 'wrk'].filter((program) => !isInstalled(program));
  if (missing.length > 0) {
    options.log(`redis: skipped, ${missing.join(' and ')} not installed`);
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'pavostore-bench-'));
  const children: ChildProcess[] = [];
  try {
    return await measure(options, folder, children);
  } finally {
    for (const child of children.reverse()) {
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  { entries, valueSize, seconds, log }: RedisBenchOptions,
  folder: string,
  children: ChildProcess[],
): Promise<RedisResult> {
  const socket = join(folder, 'redis.sock');
  const redisPort = await freePort();
  const server = spawn(
    'redis-server',
    ['--port', String(redisPort), '--bind', '127.0.0.1', '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--dir', folder],
    { stdio: 'ignore' },
  );
  children.push(server);
  await untilListening(redisPort);
  const commands = join(folder, 'commands');
  const { recordBytes } = await writeCommands(commands, entries, valueSize);
  const before = usedMemory(socket);
  const startedMs = performance.now();
  const cpuBefore = cpuSecondsOf([server.pid!]);
  execFileSync('redis-cli', ['-s', socket, '--pipe'], { stdio: [openSync(commands, 'r'), 'ignore', 'inherit'] });
  const loadSeconds = (performance.now() - startedMs) / 1_000;
  const loadCpuSeconds = cpuSecondsOf([server.pid!]) - cpuBefore;
  const overheadPerEntry = (usedMemory(socket) - before - recordBytes) / entries;
  log(`redis: ${entries} entries in ${loadSeconds.toFixed(1)} s, ${overheadPerEntry.toFixed(1)} bytes above key and value an entry`);
  const webdis = isInstalled('webdis')
    ? await loadWebdis({ entries, valueSize, seconds, folder, children, redisPort, redisPid: server.pid!, log })
    : undefined;
  return { entries, loadSeconds, loadCpuSeconds, overheadPerEntry, webdis };
}

async function writeCommands(path: string, entries: number, valueSize: number): Promise<{ recordBytes: number }> {
  const file = createWriteStream(path);
  let recordBytes = 0;
  for (let i = 0; i < entries; i++) {
    const { key, value } = recordOf(seed, i, valueSize);
    recordBytes += key.length + value.length;
    const command = `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value}\r\n`;
    if (!file.write(command)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'close');
  return { recordBytes };
}

function usedMemory(socket: string): number {
  const info = execFileSync('redis-cli', ['-s', socket, 'info', 'memory'], { encoding: 'utf8' });
  return Number(/^used_memory:(\d+)/m.exec(info)![1]);
}

async function loadWebdis(options: {
  entries: number;
  valueSize: number;
  seconds: number;
  folder: string;
  children: ChildProcess[];
  redisPort: number;
  redisPid: number;
  log: (line: string) => void;
}): Promise<LoadResult & { cpuUs: number }> {
  const { entries, valueSize, seconds, folder, children, redisPort, redisPid, log } = options;
  const webdisPort = await freePort();
  const config = join(folder, 'webdis.json');
  writeFileSync(
    config,
    JSON.stringify({
      redis_host: '127.0.0.1',
      redis_port: redisPort,
      http_host: '127.0.0.1',
      http_port: webdisPort,
      threads: 1,
      pool_size: 4,
      daemonize: false,
      verbosity: 0,
      logfile: join(folder, 'webdis.log'),
    }),
  );
  const webdis = spawn('webdis', [config], { stdio: 'ignore' });
  children.push(webdis);
  await untilListening(webdisPort);
  const keysFile = join(folder, 'keys.txt');
  const count = Math.min(entries, keysMax);
  const keys = Array.from({ length: count }, (_, i) => recordOf(seed, Math.floor((i * entries) / count), valueSize).key);
  writeFileSync(keysFile, `${keys.join('\n')}\n`);
  const script = join(folder, 'keys.lua');
  writeWrkScript(script, keysFile, 'random', { prefix: '/GET/', suffix: '.raw' });
  const run = (duration: number): LoadResult => runWrk({ script, address: `127.0.0.1:${webdisPort}`, connections: 64, seconds: duration });
  run(1);
  const before = cpuSecondsOf([webdis.pid!, redisPid]);
  const result = run(seconds);
  if (result.failed > 0) throw new Error(`webdis: ${result.failed} of ${result.requests} requests failed`);
  const cpuUs = ((cpuSecondsOf([webdis.pid!, redisPid]) - before) * 1e6) / result.requests;
  log(`redis: webdis ${Math.round(result.perSecond)} GETs/s, ${cpuUs.toFixed(1)} us of CPU each with Redis`);
  return { ...result, cpuUs };
}
