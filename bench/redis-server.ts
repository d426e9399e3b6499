// Redis as a rival, and webdis before it as its HTTP server, in their best form for the task: no persistence, one database, values as plain
// strings, a unix socket for the pipe, plain answers over kept connections.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { seed } from './bench-cluster.ts';
import { cpuSecondsOf, peakResidentBytesOf, residentBytesOf } from './process-cpu.ts';
import { type RunCost, runCommand } from './run-cost.ts';
import { writePieces } from './text-lines.ts';
import { freePort, isInstalled, untilListening } from './tools.ts';

/** Those that are missing of what a `RedisServer` needs. */
export function missingForRedis(): string[] {
  return ['redis-server', 'redis-cli'].filter((name) => !isInstalled(name));
}

/** Records as the commands that `redis-cli --pipe` takes; resolves with the bytes of all keys and values. */
export async function writeRedisCommands(path: string, entries: number, valueSize?: number): Promise<{ recordBytes: number }> {
  let recordBytes = 0;
  function* commands(): Generator<string> {
    for (let i = 0; i < entries; i++) {
      const { key, value } = recordOf(seed, i, valueSize);
      recordBytes += key.length + value.length;
      yield `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value}\r\n`;
    }
  }
  await writePieces(path, commands());
  return { recordBytes };
}

/** Of records that it is about to hold. */
export class RedisServer {
  readonly port: number;
  readonly #server: ChildProcess;
  readonly #socket: string;

  private constructor(server: ChildProcess, port: number, socket: string) {
    this.#server = server;
    this.port = port;
    this.#socket = socket;
  }

  /** `folder` takes its socket. */
  static async start(folder: string): Promise<RedisServer> {
    const port = await freePort();
    const socket = join(folder, 'redis.sock');
    const listen = ['--port', String(port), '--bind', '127.0.0.1', '--unixsocket', socket];
    const server = spawn('redis-server', [...listen, '--save', '', '--appendonly', 'no', '--dir', folder], { stdio: 'ignore' });
    await untilListening(port);
    return new RedisServer(server, port, socket);
  }

  get pid(): number {
    return this.#server.pid!;
  }

  get residentBytes(): number {
    return residentBytesOf(this.pid);
  }

  /** By its own account. */
  get usedBytes(): number {
    return Number(/^used_memory:(\d+)/m.exec(this.#ask('info', 'memory'))![1]);
  }

  get entries(): number {
    return Number(this.#ask('dbsize'));
  }

  /** Loads a file of commands. CPU is that of the server and of `redis-cli`, memory that of the server. */
  load(commandsFile: string): RunCost {
    const before = cpuSecondsOf([this.pid]);
    const input = openSync(commandsFile, 'r');
    try {
      const { cost } = runCommand(['redis-cli', '-s', this.#socket, '--pipe'], { stdin: input });
      return {
        ...cost,
        cpuSeconds: cost.cpuSeconds + cpuSecondsOf([this.pid]) - before,
        peakMiB: peakResidentBytesOf(this.pid) / 2 ** 20,
      };
    } finally {
      closeSync(input);
    }
  }

  stop(): Promise<void> {
    return stopChild(this.#server);
  }

  #ask(...command: string[]): string {
    return execFileSync('redis-cli', ['-s', this.#socket, ...command], { encoding: 'utf8' });
  }
}

export type Webdis = { readonly address: string; readonly pid: number; stop(): Promise<void> };

/** Where webdis has the value of a key: between these. */
export const webdisPath = { prefix: '/GET/', suffix: '.txt' } as const;

/** `folder` takes its files. One thread, as nginx has one worker. */
export async function startWebdis(folder: string, redis: RedisServer): Promise<Webdis> {
  const port = await freePort();
  const config = join(folder, 'webdis.json');
  const of = { redis_host: '127.0.0.1', redis_port: redis.port, pool_size: 4, threads: 1 };
  const at = { http_host: '127.0.0.1', http_port: port, daemonize: false, verbosity: 0, logfile: join(folder, 'webdis.log') };
  writeFileSync(config, JSON.stringify({ ...of, ...at }));
  const webdis = spawn('webdis', [config], { stdio: 'ignore' });
  await untilListening(port);
  return { address: `127.0.0.1:${port}`, pid: webdis.pid!, stop: () => stopChild(webdis) };
}

/** They have nothing to save; and webdis calls `exit` in its handler of SIGTERM, which need not come to an end. */
async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
