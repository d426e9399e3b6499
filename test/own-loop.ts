// How late the event loop of the test's own process was, and when: a busy machine lets it wait for a core, and whatever it measures meanwhile takes longer
// by that. A test that asserts a time subtracts it: what is left is what the product took.

const intervalMs = 5;
/** Timers are a millisecond late as a rule. */
const lateMs = 3;

type Span = { readonly fromMs: number; readonly toMs: number };

export class OwnLoop {
  /** When it should have come round, and when it did; by `performance.now()`. */
  readonly #late: Span[] = [];
  #isClosed = false;
  #dueMs = performance.now() + intervalMs;
  #timer = setTimeout(() => this.#tick(), intervalMs);

  /** How much of this time it was late for. */
  lateWithin(fromMs: number, toMs = performance.now()): number {
    let sumMs = this.#isClosed ? 0 : overlap({ fromMs: this.#dueMs, toMs: performance.now() }, fromMs, toMs);
    if (sumMs < lateMs) sumMs = 0;
    // The latest are the ones that are asked for.
    for (let i = this.#late.length - 1; i >= 0 && this.#late[i]!.toMs > fromMs; i--) sumMs += overlap(this.#late[i]!, fromMs, toMs);
    return sumMs;
  }

  /** The longest that it was late for at a time, of this time. */
  worstWithin(fromMs: number, toMs: number): number {
    return Math.max(0, ...this.#late.map((span) => overlap(span, fromMs, toMs)));
  }

  /**
   * How long another process took to answer what was asked then, now that the answer is read: without what this loop was late by just now, since the answer
   * may have come all that time ago. Had it come before, an earlier turn of the loop would have read it.
   */
  answeredSince(fromMs: number): number {
    const nowMs = performance.now();
    const last = this.#late.at(-1);
    const lateFromMs = nowMs - this.#dueMs >= lateMs ? this.#dueMs : last && nowMs - last.toMs < intervalMs ? last.fromMs : nowMs;
    return Math.max(0, Math.max(fromMs, lateFromMs) - fromMs);
  }

  /** How long something in this process took that began then, without what the process was late by. */
  tookSince(fromMs: number): number {
    const nowMs = performance.now();
    return nowMs - fromMs - this.lateWithin(fromMs, nowMs);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #tick(): void {
    const nowMs = performance.now();
    if (nowMs - this.#dueMs >= lateMs) this.#late.push({ fromMs: this.#dueMs, toMs: nowMs });
    this.#dueMs = nowMs + intervalMs;
    this.#timer = setTimeout(() => this.#tick(), intervalMs);
  }
}

function overlap(span: Span, fromMs: number, toMs: number): number {
  return Math.max(0, Math.min(span.toMs, toMs) - Math.max(span.fromMs, fromMs));
}
