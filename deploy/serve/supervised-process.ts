// One child of the local cluster: started, waited for, started again with a growing delay when it dies, stopped gracefully.
//
// A child has a process group of its own, so that Ctrl-C reaches the parent alone and the order of stopping is the parent's; and a
// channel to the parent, whose end stops the child (shared/process-life.ts), so that even a killed parent leaves nothing behind.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { ListeningMessage } from '../../shared/process-life.ts';

const program = fileURLToPath(new URL('../pavostore.ts', import.meta.url));

export type SupervisedProcessOptions = {
  /** For messages: `shard 127.0.0.1:7070`. */
  readonly title: string;
  /** The command line after `pavostore`. */
  readonly args: readonly string[];
  readonly onDeath: (message: string) => void;
};

export class SupervisedProcess {
  readonly title: string;
  readonly #options: SupervisedProcessOptions;
  #child: ChildProcess | undefined;
  #restartTimer: NodeJS.Timeout | undefined;
  #restartDelayMs: number = limits.restartDelayMinMs;
  #stopping = false;

  constructor(options: SupervisedProcessOptions) {
    this.#options = options;
    this.title = options.title;
  }

  /** Undefined while it is not running. */
  get pid(): number | undefined {
    return this.#child?.exitCode === null && this.#child.signalCode === null ? this.#child.pid : undefined;
  }

  /** Resolves to its port once it listens. Rejects when the first start fails; later deaths are mended here. */
  async start(): Promise<number> {
    const { child, listening } = this.#spawn();
    const port = await Promise.race([listening, diedBeforeListening(child, this.title)]);
    this.#supervise(child);
    return port;
  }

  /** SIGTERM, and SIGKILL after `stopGraceMs`; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (!child || this.pid === undefined) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const killTimer = setTimeout(() => child.kill('SIGKILL'), limits.stopGraceMs);
    await exited;
    clearTimeout(killTimer);
  }

  #spawn(): { child: ChildProcess; listening: Promise<number> } {
    const child = spawn(process.execPath, [program, ...this.#options.args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: cleanEnvironment(),
      detached: true,
    });
    this.#child = child;
    const listening = new Promise<number>((resolve) => {
      child.on('message', (message: ListeningMessage) => {
        if (message.kind === 'listening') resolve(message.port);
      });
    });
    return { child, listening };
  }

  #supervise(child: ChildProcess): void {
    const startedMs = performance.now();
    const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (this.#stopping) return;
      if (performance.now() - startedMs >= limits.restartForgiveMs) this.#restartDelayMs = limits.restartDelayMinMs;
      const delayMs = this.#restartDelayMs;
      this.#restartDelayMs = Math.min(2 * delayMs, limits.restartDelayMaxMs);
      this.#options.onDeath(`${this.title} ended (${signal ?? `exit code ${code}`}); it starts again in ${delayMs} ms`);
      this.#restartTimer = setTimeout(() => this.#supervise(this.#spawn().child), delayMs);
    };
    if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode);
    else child.once('exit', onExit);
  }
}

async function diedBeforeListening(child: ChildProcess, title: string): Promise<never> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  throw new PavostoreError('child_failed', `${title} did not start (${signal ?? `exit code ${code}`}): its own message is above`);
}

/** Keeps what Node made of the sources: the next start of a child takes half the time. Of no effect where it cannot be written. */
const compileCache = fileURLToPath(new URL('../../node_modules/.cache/node-compile', import.meta.url));

/** The environment without our own variables: the children's flags are all given, and must not be changed from outside. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('PAVOSTORE_'));
  return { NODE_COMPILE_CACHE: compileCache, ...Object.fromEntries(kept) };
}
