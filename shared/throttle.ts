// Keeps a flow of bytes at a rate: whoever moves bytes asks first, and waits for as long as those before it take at that rate.
// A second's worth of unused time is not saved up: a pause is not followed by a burst of more than a tenth of a second.

import { setTimeout as delay } from 'node:timers/promises';

const burstMs = 100;

export class Throttle {
  /** Bytes a second. */
  readonly rate: number;
  readonly #now: () => number;
  readonly #sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
  /** When all that was let through is through at the rate. */
  #freeMs: number;

  /** `clock` is for tests; `now` is in milliseconds. */
  constructor(rate: number, clock: { now: () => number; sleep: typeof sleep } = { now: () => performance.now(), sleep }) {
    this.rate = rate;
    this.#now = clock.now;
    this.#sleep = clock.sleep;
    this.#freeMs = clock.now();
  }

  /** Resolves when `bytes` may go. Throws the signal's reason. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const nowMs = this.#now();
    const startMs = Math.max(this.#freeMs, nowMs - burstMs);
    this.#freeMs = startMs + (1_000 * bytes) / this.rate;
    const waitMs = this.#freeMs - nowMs;
    if (waitMs > 0) await this.#sleep(waitMs, signal);
  }
}

/** Throws the signal's reason. */
export async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => signal?.throwIfAborted());
}
