// How busy this thread is: what may wait, like checking and sending slices, waits while there is much to answer.

import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { limits } from '../shared/limits.ts';

/** Owns nothing: looks when it is asked, at most every `busyLookMs`. */
export class LoadGauge {
  readonly #utilization: (since?: EventLoopUtilization) => EventLoopUtilization;
  #last: EventLoopUtilization;
  #lookedMs: number;
  #isBusy = false;

  constructor(utilization = (since?: EventLoopUtilization): EventLoopUtilization => performance.eventLoopUtilization(since)) {
    this.#utilization = utilization;
    this.#last = utilization();
    this.#lookedMs = performance.now();
  }

  /** In the last whole span of `busyLookMs`. */
  get isBusy(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs >= limits.busyLookMs) {
      this.#isBusy = this.#utilization(this.#last).utilization > limits.busyShare;
      this.#last = this.#utilization();
      this.#lookedMs = nowMs;
    }
    return this.#isBusy;
  }

  /** Resolves when the thread is calm, or after `busyPauseMs`: what never stops being busy must be checked too. Throws when aborted. */
  async untilCalm(signal: AbortSignal): Promise<void> {
    for (const startedMs = performance.now(); this.isBusy && performance.now() - startedMs < limits.busyPauseMs; )
      await pause(limits.busyLookMs, undefined, { signal });
  }
}
