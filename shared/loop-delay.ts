// How late the event loop of this process is: what a timer that should fire every `loopDelayResolutionMs` was late by, over the last whole window. Told in
// `/status`: work that keeps a loop to itself delays every answer of the process, and nothing else shows it. Measured outside JavaScript, 50 times a second.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { limits } from './limits.ts';

/** In milliseconds, to a tenth; null before the first window has passed. */
export type LoopDelayReport = {
  readonly windowSeconds: number;
  readonly delayP99Ms: number | null;
  readonly delayMaxMs: number | null;
};

export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: limits.loopDelayResolutionMs });
  readonly #windowMs: number;
  #timer: NodeJS.Timeout | undefined;
  #last: Pick<LoopDelayReport, 'delayP99Ms' | 'delayMaxMs'> = { delayP99Ms: null, delayMaxMs: null };

  constructor(windowMs: number = limits.loopDelayWindowMs) {
    this.#windowMs = windowMs;
  }

  start(): void {
    this.#histogram.enable();
    this.#timer = setInterval(() => this.#turn(), this.#windowMs).unref();
  }

  report(): LoopDelayReport {
    return { windowSeconds: this.#windowMs / 1_000, ...this.#last };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#histogram.disable();
  }

  #turn(): void {
    const { count } = this.#histogram;
    // A loop that never came round has nothing recorded yet: what it was late by comes in the next window.
    if (count > 0) this.#last = { delayP99Ms: lateness(this.#histogram.percentile(99)), delayMaxMs: lateness(this.#histogram.max) };
    this.#histogram.reset();
  }
}

/** The histogram has whole intervals, in nanoseconds. */
function lateness(intervalNs: number): number {
  return Math.max(0, Math.round(intervalNs / 1e5 - 10 * limits.loopDelayResolutionMs) / 10);
}
