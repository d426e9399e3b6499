// The way to one shard: the keys that wait for it, and the few batches under way. Keys that come in the same turn of the event
// loop leave together at its end. A batch costs as much as some ten keys: while one is under way, the next leaves when it is large enough to
// be worth that, when the reply comes, or after `batchPatienceMs`, so that a slow one (a huge value, a read from disk) holds up nobody.
//
//     push(key) ─> waiting ──(end of the turn)──> batch 1..4 in flight ─> reply ─> each key settled or handed back
//
// A lane owns its sockets. It never retries: what failed goes back to the engine.

import { type BatchStatus, batchStatus, encodeBatchRequest, isBatchReply, readBatchReply } from '../shared/batch-wire.ts';
import { type BatchFailure, BatchPool } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import type { KeyLookup } from './key-lookup.ts';
import type { RoutedVersion } from './routed-version.ts';

/** What the lane tells its owner. */
export type LaneEvents = {
  /** The shard answered `status` for the key: for `found` the value is in `reply` from `start` to `end`. */
  readonly onAnswer: (lane: MemberLane, lookup: KeyLookup, status: BatchStatus, reply: Buffer, start: number, end: number) => void;
  /** The whole batch has no answer. */
  readonly onFailure: (lane: MemberLane, lookups: readonly KeyLookup[], failure: BatchFailure) => void;
};

export class MemberLane {
  readonly address: string;
  readonly #pool: BatchPool;
  readonly #events: LaneEvents;
  #waiting: KeyLookup[] = [];
  #batchesInFlight = 0;
  #keysInFlight = 0;
  /** When settled keys were last taken out of a full queue. */
  #sweptTick = -1;
  /** Set while the shard is left alone, because it had no room for any key. */
  #pauseTimer: NodeJS.Timeout | undefined;
  /** Set while keys wait for a batch that is worth sending. */
  #patienceTimer: NodeJS.Timeout | undefined;
  /** Since the start: for `/status`. */
  readonly counts = { batches: 0, keys: 0, failures: 0 };

  constructor(address: string, events: LaneEvents) {
    this.address = address;
    this.#pool = new BatchPool(address);
    this.#events = events;
  }

  /** Keys that wait or are under way: what the load is spread by. */
  get load(): number {
    return this.#waiting.length + this.#keysInFlight;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get batchesInFlight(): number {
    return this.#batchesInFlight;
  }

  /** True when the queue is full, of keys that still have somebody waiting for them. */
  get isFull(): boolean {
    if (this.#waiting.length < limits.memberQueueMax) return false;
    // Only a deadline settles what waits: to look for each key that is refused would cost more than to answer it.
    const tick = Math.floor(performance.now() / limits.deadlineTickMs);
    if (tick === this.#sweptTick) return true;
    this.#sweptTick = tick;
    this.#waiting = this.#waiting.filter((lookup) => !lookup.isSettled);
    return this.#waiting.length >= limits.memberQueueMax;
  }

  push(lookup: KeyLookup): void {
    this.#waiting.push(lookup);
  }

  /** Sends what waits, as far as batches may be under way. */
  flush(): void {
    while (!this.#pauseTimer && this.#waiting.length > 0 && this.#batchesInFlight < limits.batchesInFlightMax) {
      if (this.#batchesInFlight > 0 && this.#waiting.length < limits.batchKeysWorth) return this.#bePatient();
      this.#sendBatch();
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#pauseTimer);
    clearTimeout(this.#patienceTimer);
    await this.#pool.close();
  }

  /** The first keys that wait, as many as fit, all of one version; those whose request has been answered meanwhile fall out. */
  #takeBatch(): KeyLookup[] {
    const batch: KeyLookup[] = [];
    let taken = 0;
    for (const lookup of this.#waiting) {
      if (batch.length === limits.batchKeysMax) break;
      if (!lookup.isSettled) {
        if (batch.length > 0 && lookup.version.id !== batch[0]!.version.id) break;
        batch.push(lookup);
      }
      taken++;
    }
    this.#waiting = taken === this.#waiting.length ? [] : this.#waiting.slice(taken);
    return batch;
  }

  #sendBatch(): void {
    const batch = this.#takeBatch();
    if (batch.length > 0) this.#send(batch, batch[0]!.version);
  }

  #bePatient(): void {
    this.#patienceTimer ??= setTimeout(() => {
      this.#patienceTimer = undefined;
      if (!this.#pauseTimer && this.#batchesInFlight < limits.batchesInFlightMax) this.#sendBatch();
    }, limits.batchPatienceMs);
  }

  #send(batch: KeyLookup[], version: RoutedVersion): void {
    this.#batchesInFlight++;
    this.#keysInFlight += batch.length;
    this.counts.batches++;
    this.counts.keys += batch.length;
    this.#pool.send(encodeBatchRequest(version.idBytes, batch), {
      onReply: (reply) => {
        this.#landed(batch);
        if (isBatchReply(reply, version.idBytes, batch.length)) {
          let deferredCount = 0;
          readBatchReply(reply, (i, status, start, end) => {
            if (status === batchStatus.deferred) deferredCount++;
            this.#events.onAnswer(this, batch[i]!, status, reply, start, end);
          });
          if (deferredCount === batch.length) this.#pause();
        } else {
          this.#fail(batch, 'wrong');
        }
        this.flush();
      },
      onFailure: (failure) => {
        this.#landed(batch);
        this.#fail(batch, failure);
        this.flush();
      },
    });
  }

  /** To ask at once again would only keep both sides busy. */
  #pause(): void {
    this.#pauseTimer ??= setTimeout(() => {
      this.#pauseTimer = undefined;
      this.flush();
    }, limits.deferralPauseMs);
  }

  #landed(batch: readonly KeyLookup[]): void {
    this.#batchesInFlight--;
    this.#keysInFlight -= batch.length;
  }

  #fail(batch: readonly KeyLookup[], failure: BatchFailure): void {
    this.counts.failures++;
    this.#events.onFailure(this, batch, failure);
  }
}
