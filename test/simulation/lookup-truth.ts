// What is true of the look-ups of a simulated router, counted plainly, to hold the product's own counts against.

import { limits } from '../../shared/limits.ts';

/** What came of what was sent to one member. */
export class LaneTruth {
  failuresInRow = 0;
  /** Since when something is under way without any sign of the member; undefined: nothing is. */
  #waitingSinceMs: number | undefined;

  sent(nowMs: number): void {
    this.#waitingSinceMs ??= nowMs;
  }

  /** `isSilence`: it was given up, without a sign of the member. `underWay`: what still is. */
  ended(nowMs: number, end: { readonly isAnswer: boolean; readonly isSilence: boolean; readonly underWay: number }): void {
    this.failuresInRow = end.isAnswer ? 0 : this.failuresInRow + 1;
    if (!end.isSilence) this.#waitingSinceMs = end.underWay > 0 ? nowMs : undefined;
  }

  silentMs(nowMs: number): number {
    return this.#waitingSinceMs === undefined ? 0 : nowMs - this.#waitingSinceMs;
  }

  isGone(nowMs: number): boolean {
    return this.silentMs(nowMs) >= limits.memberGoneMs;
  }
}

/** The window of the budget moves in steps: it is as long as the longer, and at least as long as the shorter of these. */
const longerMs = limits.retryWindowMs;
const shorterMs = limits.retryWindowMs - limits.retryWindowMs / limits.retryWindowParts;

/** When each key left, for the first time or once more. */
export class SendLedger {
  #firstMs: number[] = [];
  #twiceMs: number[] = [];
  /** When each was asked of the budget, and granted: a little more than are sent twice, since a key that was refused is paid for as well. */
  #takenMs: number[] = [];

  sent(nowMs: number, { isTwice }: { readonly isTwice: boolean }): void {
    (isTwice ? this.#twiceMs : this.#firstMs).push(nowMs);
    if (this.#firstMs.length > 4_096) this.#firstMs = this.#firstMs.filter((atMs) => nowMs - atMs <= longerMs);
    if (this.#twiceMs.length > 512) this.#twiceMs = this.#twiceMs.filter((atMs) => nowMs - atMs <= longerMs);
  }

  taken(nowMs: number): void {
    this.#takenMs.push(nowMs);
    if (this.#takenMs.length > 512) this.#takenMs = this.#takenMs.filter((atMs) => nowMs - atMs <= longerMs);
  }

  /** More was sent twice than the budget allows, however its window lies; undefined: it was not. */
  excess(nowMs: number): string | undefined {
    const twice = countWithin(this.#twiceMs, shorterMs, nowMs);
    if (twice <= limits.retryReserveKeys) return undefined;
    const first = countWithin(this.#firstMs, longerMs, nowMs);
    return twice > limits.retryShare * first + limits.retryReserveKeys ? `${twice} of ${first}` : undefined;
  }

  /** More could be sent twice, however the window lies; undefined: nothing could. */
  left(nowMs: number): string | undefined {
    const taken = countWithin(this.#takenMs, longerMs, nowMs);
    const sent = countWithin(this.#firstMs, shorterMs, nowMs) + countWithin(this.#twiceMs, shorterMs, nowMs);
    const allowance = Math.floor(limits.retryShare * Math.max(0, sent - taken)) + limits.retryReserveKeys;
    return taken < allowance ? `${taken} of ${sent}` : undefined;
  }
}

function countWithin(times: readonly number[], windowMs: number, nowMs: number): number {
  let count = 0;
  for (let i = times.length - 1; i >= 0 && nowMs - times[i]! <= windowMs; i--) count++;
  return count;
}
