// How many keys one member may be given at a time, by how long it takes to answer them: pure state, told of each batch. As long as a member keeps
// up it limits nothing; one that cannot is given what it answers in a quarter of the deadline, and as much may wait for it; more is refused at once.
//
//     answered within deadline/8, and more waited ──> the window grows by what was answered, so that it doubles with each round
//     answered after deadline/4                   ──> it shrinks to what would have been answered by then
//     nothing to do                               ──> as at the start
//
// Without it a member that is asked for twice what it can do answers next to nothing in time: its queue grows until every answer comes just after
// the deadline of its key, and all its work is done for nobody. Bounds on the number of keys are no help: what a fast member works off in a moment
// takes a slow one a minute. Source: the window of TCP (Jacobson, Congestion Avoidance and Control, 1988), by delay instead of loss.

import { limits } from '../shared/limits.ts';

/** More would leave in no more batches than may be under way. */
const windowMax = limits.batchKeysMax * limits.batchesInFlightMax;

export class MemberWindow {
  readonly #deadlineMs: number;
  readonly #fastMs: number;
  readonly #slowMs: number;
  #keys: number = limits.windowStartKeys;
  /** Of batches, smoothed; 0: none has been answered yet. */
  #latencyMs = 0;
  /** Batches that left before it are no reason to shrink again. */
  #shrunkMs = Number.NEGATIVE_INFINITY;
  /** Keys had to wait for want of it. */
  #isUsedUp = false;

  /** `deadlineMs` is that of the keys. */
  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
    this.#fastMs = deadlineMs * limits.windowFastShare;
    this.#slowMs = deadlineMs * limits.windowSlowShare;
  }

  /** A key that has less time left would be answered too late. Never all of it: to know better the member must be asked. */
  get timeNeededMs(): number {
    return Math.min(this.#latencyMs, this.#deadlineMs / 2);
  }

  /** So many keys may leave together: half of a small window, so that the member goes on with another batch while a reply travels. */
  get batchMax(): number {
    return Math.min(limits.batchKeysMax, Math.floor(this.#keys / 2));
  }

  /** So many keys may wait: what is answered in `windowSlowShare` of the deadline. */
  get waitingMax(): number {
    if (this.#latencyMs === 0) return limits.memberQueueMax;
    const inTime = (this.#keys * this.#slowMs) / this.#latencyMs;
    return Math.min(limits.memberQueueMax, Math.max(limits.windowWaitingMin, inTime));
  }

  /** True when another batch may leave while so many keys are under way. */
  hasRoom(keysInFlight: number): boolean {
    return keysInFlight + this.batchMax <= this.#keys;
  }

  /** Keys wait because it has no room. */
  usedUp(): void {
    this.#isUsedUp = true;
  }

  /** Nothing waits or is under way: what it could do before says little of what it will. */
  rested(): void {
    this.#keys = limits.windowStartKeys;
  }

  answered(batch: { readonly keyCount: number; readonly sentMs: number }, nowMs: number): void {
    const latencyMs = nowMs - batch.sentMs;
    this.#latencyMs = this.#latencyMs === 0 ? latencyMs : this.#latencyMs + (latencyMs - this.#latencyMs) * limits.windowSmoothing;
    if (latencyMs > this.#slowMs && batch.sentMs > this.#shrunkMs) {
      this.#keys = Math.max(limits.windowKeysMin, Math.ceil((this.#keys * this.#slowMs) / latencyMs));
      this.#shrunkMs = nowMs;
    } else if (latencyMs < this.#fastMs && this.#isUsedUp) {
      this.#keys = Math.min(windowMax, this.#keys + batch.keyCount);
    }
    this.#isUsedUp = false;
  }
}
