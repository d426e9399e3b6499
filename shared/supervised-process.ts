// A child process of ours: started, waited for, started again with a growing delay when it dies, stopped gracefully.
//
// It has a channel to its parent, whose end stops the child (process-life.ts), so that even a killed parent leaves nothing behind.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';
import type { ListeningMessage } from './process-life.ts';

export type SupervisedProcessOptions = {
  /** For messages: `shard 127.0.0.1:7070`. */
  readonly title: string;
  /** Starts the program, with a channel to it. */
  readonly spawn: () => ChildProcess;
  /** From SIGTERM to SIGKILL. */
  readonly stopGraceMs?: number;
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

  /** Resolves to its port once it listens. Rejects when the first start fails, or when it is stopped before; later deaths are mended here. */
  async start(): Promise<number> {
    this.#assertNotStopped();
    const { child, listening } = this.#spawn();
    const port = await Promise.race([listening, diedBeforeListening(child, this.title)]);
    // It came up all the same, and is about to go.
    this.#assertNotStopped();
    this.#supervise(child);
    return port;
  }

  /** SIGTERM, and SIGKILL after its grace; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (!child || this.pid === undefined) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const killTimer = setTimeout(() => child.kill('SIGKILL'), this.#options.stopGraceMs ?? limits.stopGraceMs);
    await exited;
    clearTimeout(killTimer);
  }

  #assertNotStopped(): void {
    if (this.#stopping) throw new PavostoreError('interrupted', `${this.title} was stopped before it had started`);
  }

  #spawn(): { child: ChildProcess; listening: Promise<number> } {
    const child = this.#options.spawn();
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
    const onEnd = (how: string): void => {
      if (performance.now() - startedMs >= limits.restartForgiveMs) this.#restartDelayMs = limits.restartDelayMinMs;
      this.#startAgainAfter(how);
    };
    if (child.exitCode !== null || child.signalCode !== null) onEnd(child.signalCode ?? `exit code ${child.exitCode}`);
    else void endOf(child).then(onEnd);
  }

  #startAgainAfter(how: string): void {
    if (this.#stopping) return;
    const delayMs = this.#restartDelayMs;
    this.#restartDelayMs = Math.min(2 * delayMs, limits.restartDelayMaxMs);
    this.#options.onDeath(`${this.title} ended (${how}); it starts again in ${delayMs} ms`);
    this.#restartTimer = setTimeout(() => this.#restart(), delayMs);
  }

  /** No process more, or no descriptor, may be had just now: that is one more death, and must not be that of the parent. */
  #restart(): void {
    try {
      this.#supervise(this.#spawn().child);
    } catch (error) {
      this.#startAgainAfter((error as Error).message);
    }
  }
}

async function diedBeforeListening(child: ChildProcess, title: string): Promise<never> {
  throw new PavostoreError('child_failed', `${title} did not start (${await endOf(child)}): its own message is above`);
}

/** Resolves when the process has ended, or could not be started, to how. */
function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
    child.on('error', (error) => {
      if (child.pid === undefined) resolve(error.message);
    });
  });
}
