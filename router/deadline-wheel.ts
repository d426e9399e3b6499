// Deadlines of many requests with one timer: a wheel of slots `deadlineTickMs` apart, each a doubly linked list threaded through the
// entries themselves, so that adding and removing allocate nothing.
//
// Source: Varghese and Lauck, Hashed and Hierarchical Timing Wheels (SOSP 1987), scheme 5 with the longest deadline as the wheel's size.

import { limits } from '../shared/limits.ts';

/** What has a deadline; extends this class. An entry is in one wheel at a time. */
export abstract class WheelEntry {
  /** Owned by the wheel: the neighbours in its slot; both undefined outside a wheel. */
  wheelNext: WheelEntry | undefined = undefined;
  wheelPrevious: WheelEntry | undefined = undefined;
  /** Owned by the wheel: the tick of the deadline. In a wheel whose timer runs late, a slot may hold entries of the next turn. */
  wheelDueTick = 0;

  /** What is left of its time, as far as the wheel knows: to a tick. 0 for one that never was in a wheel. */
  get remainingMs(): number {
    return Math.max(0, this.wheelDueTick * limits.deadlineTickMs - performance.now());
  }

  /** The deadline has passed; the entry has left the wheel. */
  abstract expire(): void;
}

class SlotHead extends WheelEntry {
  override expire(): void {}
}

const slotCount = Math.ceil(limits.deadlineMaxMs / limits.deadlineTickMs) + 2;

export class DeadlineWheel {
  readonly #slots: SlotHead[] = Array.from({ length: slotCount }, emptySlot);
  readonly #nowMs: () => number;
  #count = 0;
  /** The last tick whose slot has been emptied. */
  #tick: number;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer ran last: it does at the start of each turn of the event loop that is longer than a tick. */
  #turnedMs = 0;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#tick = this.#tickNow();
  }

  get count(): number {
    return this.#count;
  }

  /** The last one that has been emptied: it changes when deadlines pass, not by itself. */
  get tick(): number {
    return this.#tick;
  }

  /** `entry.expire()` will be called after `delayMs` (up to `deadlineMaxMs`), at most a tick late while the event loop turns. */
  add(entry: WheelEntry, delayMs: number): void {
    if (this.#count === 0) this.#tick = this.#tickNow();
    const due = Math.max(this.#tick + 1, Math.ceil((this.#nowMs() + Math.min(delayMs, limits.deadlineMaxMs)) / limits.deadlineTickMs));
    const head = this.#slots[due % slotCount]!;
    entry.wheelDueTick = due;
    const last = head.wheelPrevious!;
    entry.wheelPrevious = last;
    entry.wheelNext = head;
    last.wheelNext = entry;
    head.wheelPrevious = entry;
    this.#count++;
    if (!this.#timer) this.#start();
  }

  /** Takes the entry out; of no effect when it is not in. */
  remove(entry: WheelEntry): void {
    if (!entry.wheelNext) return;
    entry.wheelPrevious!.wheelNext = entry.wheelNext;
    entry.wheelNext.wheelPrevious = entry.wheelPrevious;
    entry.wheelNext = undefined;
    entry.wheelPrevious = undefined;
    this.#count--;
  }

  /** How long what is read now may have waited to be, as this turn takes so long: while there are entries. */
  lateMs(nowMs: number): number {
    return Math.max(0, nowMs - this.#turnedMs - limits.deadlineTickMs);
  }

  /** Expires all that is due. The timer calls it; tests with a clock of their own do too. */
  advance(): void {
    const tickNow = this.#tickNow();
    const from = Math.max(this.#tick + 1, tickNow - slotCount + 1);
    for (let tick = from; tick <= tickNow; tick++) this.#empty(this.#slots[tick % slotCount]!, tickNow);
    this.#tick = tickNow;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #start(): void {
    this.#turnedMs = this.#nowMs();
    this.#timer = setInterval(() => this.#turn(), limits.deadlineTickMs).unref();
  }

  #turn(): void {
    this.#turnedMs = this.#nowMs();
    if (this.#count === 0) return this.close();
    // After the sockets of this turn: an answer that is already here must not lose to a timer that merely runs first.
    setImmediate(() => this.advance());
  }

  #empty(head: SlotHead, tickNow: number): void {
    const due: WheelEntry[] = [];
    for (let entry = head.wheelNext!; entry !== head; entry = entry.wheelNext!) if (entry.wheelDueTick <= tickNow) due.push(entry);
    for (const entry of due) {
      // One that expired before it may have taken it out.
      if (!entry.wheelNext) continue;
      this.remove(entry);
      entry.expire();
    }
  }

  #tickNow(): number {
    return Math.floor(this.#nowMs() / limits.deadlineTickMs);
  }
}

function emptySlot(): SlotHead {
  const head = new SlotHead();
  head.wheelNext = head;
  head.wheelPrevious = head;
  return head;
}
