// The programs that benchmarks compare with and drive load by: found on the PATH or not, started with a configuration of their best.

import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts } from '../shared/free-ports.ts';
import { childrenOf } from './process-cpu.ts';

export function isInstalled(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`], { env: withSbin() }).status === 0;
}

/** Debian puts nginx where users other than root do not look. */
function withSbin(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
}

/** How long a program may take to start. */
const startMsMax = 30_000;

export type Nginx = { readonly address: string; readonly workerPid: number; stop(): void };

/**
 * nginx with one worker as a consistent-hash proxy over the shards' `/get`, by the `key` argument, with enough kept-alive connections to
 * each. `folder` takes its files.
 */
export async function startNginx(options: { folder: string; port: number; shardAddresses: readonly string[] }): Promise<Nginx> {
  const { folder, port, shardAddresses } = options;
  const config = join(folder, 'nginx.conf');
  const pidFile = join(folder, 'nginx.pid');
  writeFileSync(
    config,
    `worker_processes 1; pid ${pidFile}; error_log ${join(folder, 'nginx.log')} crit; worker_rlimit_nofile 16384;
events { worker_connections 4096; }
http {
  access_log off; keepalive_timeout 75s; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  upstream shards {
    hash $arg_key consistent;
    ${shardAddresses.map((address) => `server ${address};`).join(' ')}
    keepalive 128; keepalive_requests 1000000000; keepalive_timeout 60s;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { proxy_pass http://shards; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  const nginx = (...args: string[]): void => {
    execFileSync('nginx', ['-p', folder, '-e', join(folder, 'nginx.log'), '-c', config, ...args], { env: withSbin() });
  };
  nginx();
  return { address: `127.0.0.1:${port}`, workerPid: await nginxWorker(pidFile), stop: () => nginx('-s', 'stop') };
}

/** nginx listens before it is a daemon, writes the file as one, and only then starts its worker: a connection proves neither. */
async function nginxWorker(pidFile: string): Promise<number> {
  for (const startedMs = performance.now(); performance.now() - startedMs < startMsMax; await pause(5)) {
    const masterPid = existsSync(pidFile) ? Number.parseInt(readFileSync(pidFile, 'utf8'), 10) : Number.NaN;
    const [workerPid] = Number.isNaN(masterPid) ? [] : childrenOf(masterPid);
    if (workerPid !== undefined) return workerPid;
  }
  throw new Error(`nginx has no worker after ${startMsMax} ms`);
}

/** A port of this machine on which nobody listens just now, another one each time. */
export async function freePort(): Promise<number> {
  return (await freePorts({ host: '127.0.0.1', first: 0, count: 1, purpose: 'a program of the benchmarks' }))[0]!;
}

/** Throws when nobody does for `startMsMax`. */
export async function untilListening(port: number): Promise<void> {
  for (const startedMs = performance.now(); performance.now() - startedMs < startMsMax; await pause(5)) {
    const socket = connect({ host: '127.0.0.1', port });
    const connected = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'error').then(() => false)]).catch(
      () => false,
    );
    socket.destroy();
    if (connected) return;
  }
  throw new Error(`nobody listens on port ${port} after ${startMsMax} ms`);
}

export type LoadResult = {
  readonly requests: number;
  readonly perSecond: number;
  /** Connections that failed, and answers of a status other than 2xx and 3xx. */
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
};

/** For reading its keys, and for the last answers. */
const wrkGraceMs = 30_000;

const resultLua = `
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %.3f %d %.3f %.3f %.3f\\n", summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
`;

/** What stands before and after a key in the path of its GET. */
export type KeyPath = { readonly prefix: string; readonly suffix: string };

/** Ours, and that of all proxies before shards. */
export const getPath: KeyPath = { prefix: '/get?key=', suffix: '' };

/** The script that makes wrk ask for the keys of a file, one a line: in a random order, or in the file's. */
export function writeWrkScript(
  path: string,
  keysFile: string,
  order: 'random' | 'as written' = 'random',
  { prefix, suffix } = getPath,
): void {
  const next = order === 'random' ? 'math.random(#keys)' : 'next_key()';
  writeFileSync(
    path,
    `local keys, at = {}, 0
for line in io.lines(${JSON.stringify(keysFile)}) do keys[#keys + 1] = line end
local function next_key() at = at % #keys + 1; return at end
function init(args) math.randomseed(1) end
function request() return wrk.format("GET", "${prefix}" .. keys[${next}] .. "${suffix}") end
${resultLua}`,
  );
}

/** The script that makes wrk post the bodies of a file, one a line, to `/mget`. */
export function writeMgetScript(path: string, bodiesFile: string): void {
  writeFileSync(
    path,
    `local requests, at = {}, 0
for line in io.lines(${JSON.stringify(bodiesFile)}) do
  requests[#requests + 1] = wrk.format("POST", "/mget", { ["Content-Type"] = "application/json", Host = "t" }, line)
end
function request() at = at % #requests + 1; return requests[at] end
${resultLua}`,
  );
}

/** Closed-loop load by wrk, one thread: latencies are those of a client that waits, so a stall counts once. */
export function runWrk(options: { script: string; address: string; connections: number; seconds: number }): LoadResult {
  const { script, address, connections, seconds } = options;
  // By itself it counts what takes more than 2 s as failed: how long answers take shows in the latencies.
  const timeout = `--timeout=${wrkGraceMs / 1_000}s`;
  const output = execFileSync('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, timeout, '-s', script, `http://${address}`], {
    encoding: 'utf8',
    // This process waits for it and for nothing else: one that did not end would hold up everything.
    timeout: 1_000 * seconds + wrkGraceMs,
    killSignal: 'SIGKILL',
  });
  const parts = /RESULT (\d+) ([\d.]+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+)/.exec(output);
  if (!parts) throw new Error(`wrk printed no result:\n${output}`);
  const [requests, duration, failed, p50Ms, p99Ms, p999Ms] = parts.slice(1).map(Number) as [number, number, number, number, number, number];
  return { requests, perSecond: requests / duration, failed, p50Ms, p99Ms, p999Ms };
}

/** Resolves when each shard keeps all that placement gives it. */
export async function untilReady(shardAddresses: readonly string[]): Promise<void> {
  for (const address of shardAddresses) {
    const isReady = async (): Promise<boolean> =>
      await fetch(`http://${address}/health/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    while (!(await isReady())) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Resolves when the router at the address serves a version of which every slice has a holder. */
export async function untilServing(address: string): Promise<void> {
  for (;;) {
    const status = await fetch(`http://${address}/status`).then(
      (response) => response.json(),
      () => undefined,
    );
    const { version, degraded } = (status ?? { version: null }) as { version: object | null; degraded?: boolean };
    if (version && degraded === false) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
