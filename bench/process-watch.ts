// Looks at processes once a second: their memory and descriptors as the kernel has them, the lateness of their event loops as they say themselves.

import { readdirSync } from 'node:fs';
import { residentBytesOf } from './process-cpu.ts';

export type WatchedProcess = {
  readonly name: string;
  /** Of its `/status`: `host:port`. */
  readonly address: string;
  /** Undefined while it is not running. */
  readonly pid: () => number | undefined;
};

export type ProcessSample = {
  /** Since the watch began. */
  readonly atSeconds: number;
  readonly pid: number;
  readonly residentBytes: number;
  readonly descriptors: number;
  /** The worst of its last window; undefined where it has not answered. */
  readonly loopDelayMaxMs: number | undefined;
};

const intervalMs = 1_000;
const statusDeadlineMs = 900;

export class ProcessWatch {
  readonly samples = new Map<string, ProcessSample[]>();
  readonly #processes: readonly WatchedProcess[];
  readonly #startedMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<unknown> = Promise.resolve();

  constructor(processes: readonly WatchedProcess[]) {
    this.#processes = processes;
    for (const { name } of processes) this.samples.set(name, []);
    this.#timer = setInterval(() => {
      this.#looking = Promise.all(this.#processes.map((process) => this.#look(process)));
    }, intervalMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look({ name, address, pid }: WatchedProcess): Promise<void> {
    const now = pid();
    if (now === undefined) return;
    const atSeconds = (performance.now() - this.#startedMs) / 1_000;
    try {
      const residentBytes = residentBytesOf(now);
      const descriptors = readdirSync(`/proc/${now}/fd`).length;
      const loopDelayMaxMs = await loopDelayOf(address);
      this.samples.get(name)!.push({ atSeconds, pid: now, residentBytes, descriptors, loopDelayMaxMs });
    } catch {
      // It has died since.
    }
  }
}

async function loopDelayOf(address: string): Promise<number | undefined> {
  try {
    const response = await fetch(`http://${address}/status`, { signal: AbortSignal.timeout(statusDeadlineMs) });
    const { eventLoop } = (await response.json()) as { eventLoop: { delayMaxMs: number | null } };
    return eventLoop.delayMaxMs ?? undefined;
  } catch {
    return undefined;
  }
}
