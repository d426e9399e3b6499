// What may be sent twice: of the keys of the last ten seconds a tenth, and a small reserve. One budget for retries and hedges
// of the whole router, so that trouble never makes much more load than there is without it. Pure state over a clock from outside.
//
//     allowance = retryShare * (keys sent for the first time in the window) + reserve - (keys sent twice in the window)
//
// The window moves in steps: it holds the current part and those before it.

import { limits } from '../shared/limits.ts';

const partCount = limits.retryWindowParts;
const partMs = limits.retryWindowMs / partCount;

export class RetryBudget {
  readonly #sent = new Array<number>(partCount).fill(0);
  readonly #twice = new Array<number>(partCount).fill(0);
  #sentSum = 0;
  #twiceSum = 0;
  #total = 0;
  /** The part that is being filled, counted from the clock's zero. */
  #part: number;

  constructor(nowMs: number) {
    this.#part = Math.floor(nowMs / partMs);
  }

  /** Keys sent twice since the start, as far as they cost budget. */
  get total(): number {
    return this.#total;
  }

  /** So many keys were written to a shard, those that were sent before included. */
  sent(keyCount: number, nowMs: number): void {
    this.#moveTo(nowMs);
    this.#sent[this.#part % partCount]! += keyCount;
    this.#sentSum += keyCount;
  }

  /** How many more keys may be sent twice. */
  allowance(nowMs: number): number {
    this.#moveTo(nowMs);
    const firstSum = Math.max(0, this.#sentSum - this.#twiceSum);
    return Math.max(0, Math.floor(limits.retryShare * firstSum) + limits.retryReserveKeys - this.#twiceSum);
  }

  /** True when one more key may be sent twice; it counts from now on. */
  take(nowMs: number): boolean {
    if (this.allowance(nowMs) === 0) return false;
    this.spend(nowMs);
    return true;
  }

  /** So many keys are sent twice in any case: a probe, or what left when its connection was made after all. */
  spend(nowMs: number, keyCount = 1): void {
    this.#moveTo(nowMs);
    this.#twice[this.#part % partCount]! += keyCount;
    this.#twiceSum += keyCount;
    this.#total += keyCount;
  }

  #moveTo(nowMs: number): void {
    const part = Math.floor(nowMs / partMs);
    // After a long pause each part is emptied once.
    for (let passed = Math.max(this.#part + 1, part - partCount + 1); passed <= part; passed++) {
      const i = passed % partCount;
      this.#sentSum -= this.#sent[i]!;
      this.#twiceSum -= this.#twice[i]!;
      this.#sent[i] = 0;
      this.#twice[i] = 0;
    }
    this.#part = Math.max(this.#part, part);
  }
}
