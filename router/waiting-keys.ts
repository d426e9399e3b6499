// The keys that wait for one shard, in two queues: those of single GETs go first, those of /mgets fill what is left of a batch, and of a full
// one a small part, so that neither starves the other. Bounded: /mgets may take only their share, so that there is always room for a GET.
//
//     push ─┬─> single ─┐
//           └─> bulk ───┴─> takeBatch: all of one version
//
// Whose request has been answered meanwhile falls out when a batch is taken, and when a queue is full.

import { limits } from '../shared/limits.ts';

/** What the queue reads of a key on its way, or of some keys of one /mget: at most `bulkBatchKeysMin`, so that they always fit a batch. */
export type WaitingKey = {
  readonly isBulk: boolean;
  readonly keyCount: number;
  readonly isSettled: boolean;
  readonly version: { readonly id: string };
  /** Of its deadline. */
  readonly wheelDueTick: number;
};

const bulkMax = Math.floor(limits.memberQueueMax * limits.bulkQueueShare);

export class WaitingKeys<Key extends WaitingKey> {
  #single: Key[] = [];
  #bulk: Key[] = [];
  /** In keys. */
  #bulkCount = 0;
  /** When settled keys were last taken out of a full queue. */
  #sweptTick = -1;

  get count(): number {
    return this.#single.length + this.#bulkCount;
  }

  get singleCount(): number {
    return this.#single.length;
  }

  push(key: Key): void {
    if (key.isBulk) {
      this.#bulk.push(key);
      this.#bulkCount += key.keyCount;
    } else this.#single.push(key);
  }

  /**
   * True when there is no room for another key of this kind, among keys that still have somebody waiting for them. `tick`: of the deadline
   * wheel, which stands still while keys are pushed, however long that takes.
   */
  isFullFor(key: WaitingKey, tick: number): boolean {
    if (this.#hasRoomFor(key)) return false;
    // Hardly anything but a deadline settles what waits: to look for each key that is refused would cost more than to answer it.
    if (tick === this.#sweptTick) return true;
    this.#sweptTick = tick;
    this.#single = this.#single.filter(isUnsettled);
    this.#bulk = this.#bulk.filter(isUnsettled);
    this.#bulkCount = countKeys(this.#bulk);
    return !this.#hasRoomFor(key);
  }

  /** The deadline of the key that leaves next, of this kind; infinite when none waits. */
  headDueTick(isBulk: boolean): number {
    return (isBulk ? this.#bulk : this.#single)[0]?.wheelDueTick ?? Number.POSITIVE_INFINITY;
  }

  /**
   * The first keys of one version, at most `countMax`, of which single GETs leave a quarter to /mgets that wait; none of these without `withBulk`.
   * With it there is always some of them, since those of one request may be more than all.
   */
  takeBatch({ withBulk, countMax = limits.batchKeysMax }: { withBulk: boolean; countMax?: number }): Key[] {
    const batch: Key[] = [];
    const bulkMin = withBulk ? Math.min(this.#bulkCount, limits.bulkBatchKeysMin, countMax >> 2) : 0;
    this.#single = takeFrom(this.#single, batch, countMax - bulkMin);
    if (withBulk && this.#bulk.length > 0) {
      this.#bulk = takeFrom(this.#bulk, batch, Math.max(countMax, countKeys(batch) + this.#bulk[0]!.keyCount));
      this.#bulkCount = countKeys(this.#bulk);
    }
    return batch;
  }

  /** Takes out what stands at the heads with a deadline before the tick; returns what of it has somebody waiting for it. */
  takeOverdue(dueTick: number): readonly Key[] {
    const single = countOverdue(this.#single, dueTick);
    const bulk = countOverdue(this.#bulk, dueTick);
    if (single + bulk === 0) return none;
    const overdue = [...this.#single.slice(0, single), ...this.#bulk.slice(0, bulk)].filter(isUnsettled);
    this.#single = this.#single.slice(single);
    this.#bulk = this.#bulk.slice(bulk);
    this.#bulkCount = countKeys(this.#bulk);
    return overdue;
  }

  /** Empties both queues. */
  takeAll(): Key[] {
    const keys = [...this.#single, ...this.#bulk].filter(isUnsettled);
    this.#single = [];
    this.#bulk = [];
    this.#bulkCount = 0;
    return keys;
  }

  #hasRoomFor({ isBulk, keyCount }: WaitingKey): boolean {
    return this.count + keyCount <= limits.memberQueueMax && !(isBulk && this.#bulkCount + keyCount > bulkMax);
  }
}

/** Moves the first keys from `queue` to `batch`, up to `countMax` in it, all of one version; returns what stays. */
function takeFrom<Key extends WaitingKey>(queue: Key[], batch: Key[], countMax: number): Key[] {
  let count = countKeys(batch);
  let taken = 0;
  for (const key of queue) {
    if (!key.isSettled) {
      count += key.keyCount;
      if (count > countMax || (batch.length > 0 && key.version.id !== batch[0]!.version.id)) break;
      batch.push(key);
    }
    taken++;
  }
  if (taken === 0) return queue;
  return taken === queue.length ? [] : queue.slice(taken);
}

const none: readonly never[] = [];

function countOverdue(queue: readonly WaitingKey[], dueTick: number): number {
  let count = 0;
  for (const { wheelDueTick } of queue) {
    if (wheelDueTick >= dueTick) break;
    count++;
  }
  return count;
}

function countKeys(keys: readonly WaitingKey[]): number {
  let count = 0;
  for (const { keyCount } of keys) count += keyCount;
  return count;
}

function isUnsettled(key: WaitingKey): boolean {
  return !key.isSettled;
}
