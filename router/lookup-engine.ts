// From a key to its answer: picks a holder, queues the key in its lane, tries once more where that may help, and bounds what waits.
// It knows nothing of HTTP requests: those are `KeyLookup`s.
//
// Another try is made on another holder after any failure or `not held`, `loading`, `corrupt`; on the same one only when its
// connection broke and there is no other, since a kept-alive socket may be closed just when it is used. `deferred` is no failure: the
// reply was full, and at least one key was answered.

import { type BatchStatus, batchStatus } from '../shared/batch-wire.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { BatchFailure } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { DeadlineWheel } from './deadline-wheel.ts';
import { Flights } from './flights.ts';
import { type Answer, HotAnswers } from './hot-answers.ts';
import type { KeyLookup } from './key-lookup.ts';
import { MemberLane } from './member-lane.ts';
import type { RoutedVersion } from './routed-version.ts';

const triesMax = 2;

export type EngineOptions = {
  readonly deadlineMs: number;
  /** Of the cache of hot answers, in bytes; 0 turns it off. */
  readonly cacheSize: number;
  /** Nobody listens at the address any more: the members should be asked at once. */
  readonly onRefused: (address: string) => void;
};

export class LookupEngine {
  readonly #options: EngineOptions;
  readonly #wheel = new DeadlineWheel();
  readonly hotAnswers: HotAnswers;
  /** The leaders on their way. */
  readonly #flights = new Flights();
  readonly #lanes = new Map<string, MemberLane>();
  readonly #dirty = new Set<MemberLane>();
  #flushScheduled = false;
  #pending = 0;
  /** Since the start: for `/status`. */
  readonly counts = { retries: 0, followed: 0, overloaded: 0, expired: 0 };

  constructor(options: EngineOptions) {
    this.#options = options;
    this.hotAnswers = new HotAnswers(options.cacheSize);
  }

  /** Keys admitted and not settled. */
  get pending(): number {
    return this.#pending;
  }

  /** The lane to an address, made when it is first asked for. */
  laneTo(address: string): MemberLane {
    let lane = this.#lanes.get(address);
    if (!lane) {
      lane = new MemberLane(address, {
        onAnswer: (from, lookup, status, reply, start, end) => this.#answered(from, lookup, status, reply, start, end),
        onFailure: (from, lookups, failure) => this.#failed(from, lookups, failure),
      });
      this.#lanes.set(address, lane);
    }
    return lane;
  }

  get lanes(): readonly MemberLane[] {
    return [...this.#lanes.values()];
  }

  /** Closes the lanes to addresses where no member is any more. */
  keepLanes(addresses: ReadonlySet<string>): void {
    for (const [address, lane] of this.#lanes) {
      if (addresses.has(address) || lane.load > 0) continue;
      this.#lanes.delete(address);
      void lane.close();
    }
  }

  /** Admits a key: from now on it is settled exactly once, within the deadline. */
  submit(lookup: KeyLookup): void {
    this.#pending++;
    this.#wheel.add(lookup, this.#options.deadlineMs);
    if (this.#pending > limits.routerQueueMax) {
      this.counts.overloaded++;
      lookup.settleFailed('overloaded');
      return;
    }
    if (!this.#followFlight(lookup)) this.#ask(lookup, 'slice_unavailable');
  }

  /** The answer to a key of the version when it is a hot one: nothing needs to be submitted then. */
  findHot(version: RoutedVersion, key: string): Answer | undefined {
    return this.hotAnswers.isOn ? this.hotAnswers.find(version.id, key) : undefined;
  }

  /** Called by a leader when it is answered, failed, or abandoned: the next one who asks for its key asks anew. */
  endFlight(lookup: KeyLookup): void {
    this.#flights.remove(lookup);
  }

  /** Called by a lookup when it is settled. */
  release(lookup: KeyLookup): void {
    this.#wheel.remove(lookup);
    this.#pending--;
  }

  async close(): Promise<void> {
    this.#wheel.close();
    await Promise.all(this.lanes.map((lane) => lane.close()));
  }

  /** True when the same key of the same version is on its way already, and there is room behind it; otherwise this lookup leads. */
  #followFlight(lookup: KeyLookup): boolean {
    const leader = this.#flights.find(lookup);
    if (leader === undefined) {
      this.#flights.add(lookup);
      return false;
    }
    if (leader.followerCount >= limits.flightFollowersMax) return false;
    leader.lead(lookup);
    this.counts.followed++;
    return true;
  }

  /** Queues the key with a holder that has not been asked; `code`: how it ends when there is none. */
  #ask(lookup: KeyLookup, code: ErrorCode): void {
    const holders = lookup.version.holdersOf(lookup.sliceIndex);
    const lane = leastLoaded(holders, lookup.lastLane);
    if (!lane) {
      lookup.settleFailed(holders.length === 0 ? lookup.version.absenceOf(lookup.sliceIndex) : code);
      return;
    }
    this.#push(lookup, lane);
  }

  #push(lookup: KeyLookup, lane: MemberLane): void {
    if (lane.isFull) {
      this.counts.overloaded++;
      lookup.settleFailed('overloaded');
      return;
    }
    lookup.lastLane = lane;
    lane.push(lookup);
    this.#dirty.add(lane);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    // After all sockets of this turn have been read: what came together leaves together.
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushScheduled = false;
    for (const lane of this.#dirty) lane.flush();
    this.#dirty.clear();
  }

  #answered(lane: MemberLane, lookup: KeyLookup, status: BatchStatus, reply: Buffer, start: number, end: number): void {
    switch (status) {
      case batchStatus.found:
        return this.#settle(
          lookup,
          end - start <= limits.oneWriteSizeMax ? reply.toString('latin1', start, end) : reply.subarray(start, end),
        );
      case batchStatus.missing:
        return this.#settle(lookup, null);
      case batchStatus.deferred:
        return lookup.isSettled ? undefined : this.#push(lookup, lane);
      case batchStatus.loading:
        return this.#tryAnother(lookup, 'slice_loading');
      case batchStatus.corrupt:
        return this.#tryAnother(lookup, 'slice_corrupt');
      case batchStatus.notHeld:
        return this.#tryAnother(lookup, 'slice_unavailable');
    }
  }

  #settle(lookup: KeyLookup, answer: Answer): void {
    if (this.hotAnswers.isOn) this.hotAnswers.put(lookup.version.id, lookup.key, answer);
    lookup.settleAnswered(answer);
  }

  #failed(lane: MemberLane, lookups: readonly KeyLookup[], failure: BatchFailure): void {
    if (failure === 'refused' || failure === 'broken') this.#options.onRefused(lane.address);
    for (const lookup of lookups) {
      const isAlone = lookup.version.holdersOf(lookup.sliceIndex).length <= 1;
      if (failure === 'broken' && isAlone && !lookup.isSettled && ++lookup.tries < triesMax) {
        this.counts.retries++;
        this.#push(lookup, lane);
      } else {
        this.#tryAnother(lookup, failure === 'late' ? 'deadline_exceeded' : 'slice_unavailable');
      }
    }
  }

  #tryAnother(lookup: KeyLookup, code: ErrorCode): void {
    if (lookup.isSettled) return;
    if (++lookup.tries >= triesMax) return lookup.settleFailed(code);
    this.counts.retries++;
    this.#ask(lookup, code);
  }
}

/**
 * The holder with the least load, the preferred one among equals; never `asked`, which just failed. A lane whose batch is open in this
 * turn counts as less loaded than it is, so that keys which any of several holders could answer share a batch.
 */
function leastLoaded(holders: readonly MemberLane[], asked: MemberLane | undefined): MemberLane | undefined {
  let best: MemberLane | undefined;
  let bestLoad = 0;
  for (const lane of holders) {
    if (lane === asked) continue;
    const load = lane.waiting > 0 ? lane.load - limits.batchAffinityKeys : lane.load;
    if (best && load >= bestLoad) continue;
    best = lane;
    bestLoad = load;
  }
  return best;
}
