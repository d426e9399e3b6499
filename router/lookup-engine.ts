// From a key to its answer: picks a holder, queues the key in its lane, asks another one where that may help, and bounds what waits.
// It knows nothing of HTTP requests: those are `KeyLookup`s.
//
// Another holder is asked once, after any failure or `not held`, `loading`, `corrupt`; and before there is one, when a batch is late
// (a hedge) or its member is ejected. The same one is asked again only when there is no other and a connection broke that had served
// before, since a kept-alive socket may be closed just when it is used. `deferred` is no failure: the reply was full, and at least one key was
// answered. What a shard may have seen counts against the `RetryBudget`, unless its connection broke or it said that it has no such slice.

import { setTimeout as pause } from 'node:timers/promises';
import type { BatchFailure } from '../shared/batch-pool.ts';
import { batchStatus, type ReplyCursor } from '../shared/batch-wire.ts';
import type { ErrorCode } from '../shared/errors.ts';
import { keyHash32, sliceIndexOf } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { type BulkLookup, BulkPart } from './bulk-lookup.ts';
import { DeadlineWheel } from './deadline-wheel.ts';
import { Flights } from './flights.ts';
import { chooseHolder } from './holder-choice.ts';
import { type HotAnswer, HotAnswers } from './hot-answers.ts';
import type { KeyLookup } from './key-lookup.ts';
import { type LaneBatch, type LaneEntry, MemberLane } from './member-lane.ts';
import { RetryBudget } from './retry-budget.ts';
import type { RoutedVersion } from './routed-version.ts';

const bulkPendingMax = Math.floor(limits.routerQueueMax * limits.bulkQueueShare);

export type EngineOptions = {
  readonly deadlineMs: number;
  /** Of the cache of hot answers, in bytes; 0 turns it off. */
  readonly cacheSize: number;
  /** Nobody listens at the address any more: the members should be asked at once. */
  readonly onRefused: (address: string) => void;
  /** Nobody who should holds the version that is served: resolves when all members have been asked anew. */
  readonly onNotHeld: () => Promise<void>;
};

export class LookupEngine {
  readonly #options: EngineOptions;
  readonly #wheel = new DeadlineWheel();
  readonly hotAnswers: HotAnswers;
  /** The leaders on their way. */
  readonly #flights = new Flights();
  readonly #lanes = new Map<string, MemberLane>();
  /** Lanes to be flushed at the end of the turn. No `Set`: one that is filled and cleared all the time leaves old tables behind, which only a full collection frees. */
  #dirty: MemberLane[] = [];
  readonly #budget = new RetryBudget(performance.now());
  /** Ejected ones that wait for a key to be tried with. */
  readonly #probesDue = new Set<MemberLane>();
  #served: RoutedVersion | undefined;
  #askingAnew: Promise<void> | undefined;
  #flushScheduled = false;
  #pending = 0;
  #bulkPending = 0;
  /**
   * Since the start, in keys: for `/status`. `hedged` and `rescued`: asked of another one while the first still had them, since it was late, or
   * ejected; `moved`: taken out of a queue that stood still; `overBudget`: not asked again for want of budget; `unavailable`: failed at once,
   * because everybody who holds the slice is gone; `rebound`: asked again of another version, since nobody held theirs any more.
   */
  readonly counts = {
    retries: 0,
    hedged: 0,
    hedgesWon: 0,
    rescued: 0,
    moved: 0,
    overBudget: 0,
    followed: 0,
    overloaded: 0,
    unavailable: 0,
    expired: 0,
    rebound: 0,
  };

  constructor(options: EngineOptions) {
    this.#options = options;
    this.hotAnswers = new HotAnswers(options.cacheSize);
  }

  /** What is served from now on: requests that are admitted bind it. */
  serve(version: RoutedVersion): void {
    this.#served = version;
    this.hotAnswers.serve(version.id);
  }

  /** Keys admitted and not settled. */
  get pending(): number {
    return this.#pending;
  }

  /** No key more would be admitted. */
  get isFull(): boolean {
    return this.#pending >= limits.routerQueueMax;
  }

  /** No key more of an /mget would be admitted. */
  get isFullForBulk(): boolean {
    return this.isFull || this.#bulkPending >= bulkPendingMax;
  }

  /** Keys sent twice since the start, as far as they cost budget. */
  get sentTwice(): number {
    return this.#budget.total;
  }

  /** How many keys may be sent twice now. */
  get retryAllowance(): number {
    return this.#budget.allowance(performance.now());
  }

  /** The lane to an address, made when it is first asked for. */
  laneTo(address: string): MemberLane {
    let lane = this.#lanes.get(address);
    if (!lane) {
      lane = new MemberLane(address, this.#wheel, {
        deadlineMs: this.#options.deadlineMs,
        events: {
          onSent: (keyCount, nowMs) => this.#budget.sent(keyCount, nowMs),
          onSentTwice: (keyCount, nowMs) => this.#budget.spend(nowMs, keyCount),
          onAnswer: (from, entry, reply) => this.#answeredEntry(from, entry, reply),
          onOverdue: (from, entry) => this.#overdue(from, entry),
          onFailure: (from, batch, failure) => this.#failed(from, batch, failure),
          onLate: (from, batch, nowMs) => this.#hedge(from, batch, nowMs),
          onStalled: (from) => this.#moveWaiting(from),
          onEjected: (from, underWay, nowMs) => this.#rescue(from, underWay, nowMs),
          onCalm: (to, nowMs) => this.#relieve(to, nowMs),
          onProbeDue: (from) => this.#probesDue.add(from),
        },
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
      this.#probesDue.delete(lane);
      void lane.close();
    }
  }

  /** Admits a key: from now on it is settled exactly once, within the deadline. */
  submit(lookup: KeyLookup, deadlineMs: number = this.#options.deadlineMs): void {
    this.#pending++;
    lookup.version.pending++;
    if (lookup.isBulk) this.#bulkPending++;
    if (this.#pending > limits.routerQueueMax || this.#bulkPending > bulkPendingMax) return this.#refuse(lookup);
    if (!this.#followFlight(lookup)) this.#askFirst(lookup);
    // What is refused at once needs no deadline.
    if (!lookup.isSettled) this.#wheel.add(lookup, deadlineMs);
  }

  /** Whether a request whose key failed with `code` should bind another version: its own may be gone, and one that is served says so itself. */
  mayRebind({ version }: Binding, code: ErrorCode): boolean {
    return code === 'version_not_held' || (goneWithVersion.has(code) && this.#served?.id !== version.id);
  }

  /**
   * The version that such a request binds anew, and the time that is left for it; undefined: none is. The members are asked first: it may be that
   * this router stood still while all others went on, and that what it serves by now is gone as well.
   */
  async rebind({ remainingMs: leftMs }: Binding): Promise<Binding | undefined> {
    const dueMs = performance.now() + leftMs;
    this.#pending++;
    this.#askingAnew ??= this.#options.onNotHeld().finally(() => {
      this.#askingAnew = undefined;
    });
    await Promise.race([this.#askingAnew, pause(leftMs, undefined, { ref: false })]);
    this.#pending--;
    const remainingMs = dueMs - performance.now();
    if (!this.#served || remainingMs <= 0) return undefined;
    this.counts.rebound++;
    return { version: this.#served, remainingMs };
  }

  /** Admits all keys of a request together: each is settled exactly once, within the deadline. */
  submitBulk(bulk: BulkLookup, deadlineMs: number = this.#options.deadlineMs): void {
    const count = bulk.keys.starts.length;
    const isRoomy = this.#pending + count <= limits.routerQueueMax && this.#bulkPending + count <= bulkPendingMax;
    if (!isRoomy) {
      // Then what is to be done is decided for each key.
      for (let i = 0; i < count; i++) this.submit(bulk.takeOut(i), deadlineMs);
      return;
    }
    this.#pending += count;
    bulk.version.pending += count;
    this.#bulkPending += count;
    const probing = this.#probesDue.size > 0 ? this.#findProbe(bulk) : -1;
    if (probing >= 0) this.#askAlone(bulk.takeOut(probing), deadlineMs);
    for (const [lane, part] of this.#partsOf(bulk, probing)) this.#pushPart(lane, part, deadlineMs);
    if (!bulk.isSettled) this.#wheel.add(bulk, deadlineMs);
  }

  /** The answer to a key of the version when it is a hot one: nothing needs to be submitted then. */
  findHot(version: RoutedVersion, key: string): HotAnswer | undefined {
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
    lookup.version.pending--;
    if (lookup.isBulk) this.#bulkPending--;
  }

  /** Called by a bulk look-up when one of its keys is settled. */
  releaseBulk(bulk: BulkLookup): void {
    this.#pending--;
    bulk.version.pending--;
    this.#bulkPending--;
    if (bulk.isSettled) this.#wheel.remove(bulk);
  }

  async close(): Promise<void> {
    this.#wheel.close();
    await Promise.all(this.lanes.map((lane) => lane.close()));
  }

  /** True when the same key of the same version is on its way already, and there is room behind it; otherwise this lookup leads. */
  #followFlight(lookup: KeyLookup): boolean {
    const leader = this.#flights.find(lookup);
    if (leader === undefined || this.#isStuck(leader)) {
      if (leader) this.#flights.remove(leader);
      this.#flights.add(lookup);
      return false;
    }
    if (leader.followerCount >= limits.flightFollowersMax) return false;
    leader.lead(lookup);
    this.counts.followed++;
    return true;
  }

  /** Its own deadline has passed, or it waits for a member that stands still while another one could be asked: whoever comes now should not wait with it. */
  #isStuck(leader: KeyLookup): boolean {
    if (leader.isOver) return true;
    const { lastLane, outstanding } = leader;
    if (!lastLane?.isAvoided || outstanding !== 1) return false;
    const other = chooseHolder(leader.version.holdersOf(leader.sliceIndex), lastLane, undefined);
    return other !== undefined && !other.isAvoided;
  }

  #askFirst(lookup: KeyLookup): void {
    const holders = lookup.version.holdersOf(lookup.sliceIndex);
    const lane = this.#chooseFirst(lookup, holders);
    if (lane) this.#push(lookup, lane);
    if (this.#probesDue.size > 0 && !lookup.isSettled) this.#probeWith(lookup, holders, lane);
    // When all are gone, a probe may still find one.
    if (lane || lookup.outstanding > 0) return;
    if (holders.length > 0) this.counts.unavailable++;
    lookup.settleFailed(holders.length > 0 ? 'slice_unavailable' : lookup.version.absenceOf(lookup.sliceIndex));
  }

  /** One that cannot keep up is full with less than what others work off in a moment. */
  #chooseFirst(lookup: KeyLookup, holders: readonly MemberLane[]): MemberLane | undefined {
    const lane = chooseHolder(holders, undefined, undefined);
    return lane?.isFullFor(lookup) ? (chooseHolder(holders, lane, undefined) ?? lane) : lane;
  }

  /** A holder that is ejected is tried with this key, beside `asked`, which will answer it. An ejected one that is asked anyway needs no probe. */
  #probeWith(lookup: KeyLookup, holders: readonly MemberLane[], asked: MemberLane | undefined): void {
    for (const lane of this.#probesDue) {
      if (!lane.health.isEjected) this.#probesDue.delete(lane);
      if (lane === asked || !holders.includes(lane) || !lane.isProbeDue) continue;
      this.#probesDue.delete(lane);
      this.#budget.spend(performance.now());
      this.#note(lookup, lane);
      lane.probe(lookup);
      return;
    }
  }

  /** The first key of a request that an ejected holder may be tried with; -1: there is none. */
  #findProbe({ version, keys: { source, starts, ends } }: BulkLookup): number {
    const due = [...this.#probesDue].filter((lane) => lane.isProbeDue && version.isAskedOf(lane));
    if (due.length === 0) return -1;
    return starts.findIndex((start, i) => {
      const holders = version.holdersOf(sliceIndexOf(keyHash32(source.bytes, start, ends[i]), version.sliceBits));
      return due.some((lane) => holders.includes(lane));
    });
  }

  /** A key that was taken out of its request before that was sent. */
  #askAlone(lookup: KeyLookup, deadlineMs: number): void {
    this.#askFirst(lookup);
    if (!lookup.isSettled) this.#wheel.add(lookup, deadlineMs);
  }

  /** The keys of a request by lane, in parts, but for the one that goes alone; those that nobody can be asked for are settled. */
  #partsOf(bulk: BulkLookup, alone: number): [MemberLane, BulkPart][] {
    const { version } = bulk;
    const { source, starts, ends } = bulk.keys;
    const parts: [MemberLane, BulkPart][] = [];
    for (let i = 0; i < starts.length; i++) {
      if (i === alone) continue;
      const sliceIndex = sliceIndexOf(keyHash32(source.bytes, starts[i], ends[i]), version.sliceBits);
      const holders = version.holdersOf(sliceIndex);
      const lane = chooseHolder(holders, undefined, undefined);
      if (lane) {
        const part = lane.gather(bulk, i);
        if (part) parts.push([lane, part]);
        continue;
      }
      if (holders.length > 0) this.counts.unavailable++;
      bulk.settleFailed(i, holders.length > 0 ? 'slice_unavailable' : version.absenceOf(sliceIndex));
    }
    return parts;
  }

  #pushPart(lane: MemberLane, part: BulkPart, deadlineMs: number): void {
    lane.endGathering();
    if (!lane.isFullFor(part)) {
      lane.push(part);
      this.#flushLater(lane);
      return;
    }
    // As many of its keys as there is room for, or another lane for them.
    for (const i of part.indices) this.#askAlone(part.request.takeOut(i), deadlineMs);
  }

  /** A key that `lane` was asked for among others, as a look-up of its own. */
  #takeOut(lane: MemberLane, bulk: BulkLookup, keyIndex: number): KeyLookup {
    const leftMs = Math.max(0, bulk.wheelDueTick * limits.deadlineTickMs - performance.now());
    const lookup = bulk.takeOut(keyIndex);
    if (bulk.isSettled) this.#wheel.remove(bulk);
    this.#note(lookup, lane);
    this.#wheel.add(lookup, leftMs);
    return lookup;
  }

  /** All keys of the entries that somebody waits for, as look-ups of their own. */
  #takeApart(lane: MemberLane, entries: readonly LaneEntry[]): KeyLookup[] {
    const lookups: KeyLookup[] = [];
    for (const entry of entries) {
      if (!(entry instanceof BulkPart)) lookups.push(entry);
      else {
        entry.lookups ??= entry.isSettled ? [] : entry.indices.map((i) => this.#takeOut(lane, entry.request, i));
        lookups.push(...entry.lookups);
      }
    }
    return lookups;
  }

  #push(lookup: KeyLookup, lane: MemberLane): void {
    if (lane.isFullFor(lookup)) {
      // It may still be under way elsewhere.
      if (lookup.outstanding === 0) this.#refuse(lookup);
      return;
    }
    this.#note(lookup, lane);
    lane.push(lookup);
    this.#flushLater(lane);
  }

  #note(lookup: KeyLookup, lane: MemberLane): void {
    lookup.asks++;
    lookup.outstanding++;
    lookup.previousLane = lookup.lastLane;
    lookup.lastLane = lane;
  }

  /** It may still be under way elsewhere, or another holder may have room: a member that is slow is no reason to refuse it. */
  #overdue(lane: MemberLane, entry: LaneEntry): void {
    for (const lookup of this.#takeApart(lane, [entry])) {
      if (--lookup.outstanding > 0) continue;
      const other =
        lookup.moves < limits.keyMovesMax
          ? chooseHolder(lookup.version.holdersOf(lookup.sliceIndex), lane, lookup.previousLane)
          : undefined;
      if (!other?.hasRoom || other.isFullFor(lookup)) {
        this.#refuse(lookup);
        continue;
      }
      this.counts.moved++;
      this.#forget(lookup, lane);
      this.#push(lookup, other);
    }
  }

  /** Who has the key as well, or has failed to answer it and would fail it for good: one that is only late is worth waiting for, one that is ejected is not. */
  #askedBefore(lane: MemberLane, { outstanding, failedLane, lastLane, previousLane }: KeyLookup): MemberLane | undefined {
    if (outstanding > 1) return lastLane === lane ? previousLane : lastLane;
    return lane.health.isEjected ? undefined : failedLane;
  }

  /** It was in the queue of the lane and never left: that was no ask, and should the one that gets it now fail, it may come back. */
  #forget(lookup: KeyLookup, lane: MemberLane): void {
    lookup.asks--;
    lookup.moves++;
    if (lookup.lastLane === lane) {
      lookup.lastLane = lookup.previousLane;
      lookup.previousLane = undefined;
    } else if (lookup.previousLane === lane) lookup.previousLane = undefined;
  }

  #refuse(lookup: KeyLookup): void {
    this.counts.overloaded++;
    lookup.settleFailed('overloaded');
  }

  #flushLater(lane: MemberLane): void {
    if (!lane.isFlushDue) {
      lane.isFlushDue = true;
      this.#dirty.push(lane);
    }
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    // After all sockets of this turn have been read: what came together leaves together.
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushScheduled = false;
    // What a flush gives to a lane that has been flushed already is for the next one.
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const lane of dirty) {
      lane.isFlushDue = false;
      lane.flush();
    }
  }

  #answeredEntry(lane: MemberLane, entry: LaneEntry, reply: ReplyCursor): void {
    if (entry instanceof BulkPart) return this.#answeredPart(lane, entry, reply);
    reply.next();
    this.#answered(lane, entry, reply);
  }

  #answeredPart(lane: MemberLane, part: BulkPart, reply: ReplyCursor): void {
    const { request, indices, lookups } = part;
    // Since when it has been taken apart, or nobody has waited for it, is the same for all of its keys.
    const isSettled = request.isSettled;
    for (let n = 0; n < indices.length; n++) {
      reply.next();
      if (lookups) {
        if (n < lookups.length) this.#answered(lane, lookups[n]!, reply);
      } else if (isSettled) continue;
      else if (reply.status === batchStatus.found) request.settleFound(indices[n]!, reply.reply, reply.start, reply.end);
      else if (reply.status === batchStatus.missing) request.settleMissing(indices[n]!);
      else this.#answered(lane, this.#takeOut(lane, request, indices[n]!), reply);
    }
  }

  #answered(lane: MemberLane, lookup: KeyLookup, { status, reply, start, end }: ReplyCursor): void {
    // Nobody waits for it: its deadline has passed, or another holder was faster.
    if (lookup.isSettled) {
      lookup.outstanding--;
      return;
    }
    switch (status) {
      case batchStatus.found:
        this.#noteAnswer(lane, lookup);
        this.hotAnswers.meet(lookup.version.id, lookup.key, lookup.keyHash32, reply, start, end);
        return lookup.settleFound(reply, start, end);
      case batchStatus.missing:
        this.#noteAnswer(lane, lookup);
        this.hotAnswers.meet(lookup.version.id, lookup.key, lookup.keyHash32, null, 0, 0);
        return lookup.settleMissing();
      case batchStatus.deferred:
        return this.#deferred(lane, lookup);
      case batchStatus.loading:
        return this.#attemptFailed(lane, lookup, loadingThere);
      case batchStatus.corrupt:
        return this.#attemptFailed(lane, lookup, corruptThere);
      case batchStatus.notHeld:
        return this.#attemptFailed(lane, lookup, notHeldThere);
    }
  }

  #noteAnswer(lane: MemberLane, lookup: KeyLookup): void {
    if (--lookup.outstanding > 0 && lane === lookup.lastLane) this.counts.hedgesWon++;
  }

  /** It goes to the end of the same queue. */
  #deferred(lane: MemberLane, lookup: KeyLookup): void {
    if (lane.isFullFor(lookup)) {
      if (--lookup.outstanding === 0) this.#refuse(lookup);
      return;
    }
    lane.push(lookup);
    this.#flushLater(lane);
  }

  #failed(lane: MemberLane, batch: LaneBatch, failure: BatchFailure): void {
    if (failure === 'refused' || failure === 'reset' || failure === 'broken') this.#options.onRefused(lane.address);
    const isSeen = batch.isWritten && failure !== 'refused';
    const attempt: FailedAttempt = {
      code: failure === 'late' ? 'deadline_exceeded' : 'slice_unavailable',
      isFree: !isSeen || failure === 'reset' || failure === 'broken',
      isSeen,
      isReset: failure === 'reset',
    };
    for (const lookup of this.#takeApart(lane, batch.entries)) this.#attemptFailed(lane, lookup, attempt);
  }

  /** The last of its attempts decides: another holder, or the end. */
  #attemptFailed(lane: MemberLane, lookup: KeyLookup, { code, isFree, isSeen, isReset }: FailedAttempt): void {
    lookup.outstanding--;
    if (isSeen) {
      lookup.tries++;
      lookup.failedLane = lane;
    }
    if (lookup.isSettled || lookup.outstanding > 0) return;
    if (lookup.tries >= limits.keyTriesMax || lookup.asks >= limits.keyAsksMax) return lookup.settleFailed(code);
    const holders = lookup.version.holdersOf(lookup.sliceIndex);
    const { lastLane, previousLane, failedLane } = lookup;
    const before = failedLane && failedLane !== lastLane ? failedLane : previousLane;
    const other = chooseHolder(holders, lastLane, before) ?? (isReset && !lane.isGone ? lane : undefined);
    if (!other) return lookup.settleFailed(holders.length === 0 ? lookup.version.absenceOf(lookup.sliceIndex) : code);
    if (!isFree && !this.#budget.take(performance.now())) {
      this.counts.overBudget++;
      return lookup.settleFailed(code);
    }
    this.counts.retries++;
    this.#push(lookup, other);
  }

  /** The keys of a late batch are sent to others as well, as far as these have their hands free. */
  #hedge(lane: MemberLane, batch: LaneBatch, nowMs: number): void {
    for (const lookup of this.#takeApart(lane, batch.entries)) {
      const other = this.#otherFor(lane, lookup);
      if (other?.isFree && this.#sendTwice(lookup, other, batch, nowMs)) this.counts.hedged++;
    }
  }

  /** The member is ejected: what waits for it is given to others at once, and when it is silent what is under way as well. */
  #rescue(lane: MemberLane, underWay: readonly LaneBatch[], nowMs: number): void {
    this.#moveWaiting(lane);
    if (lane.health.ejectedFor !== 'silence') return;
    for (const batch of underWay) {
      for (const lookup of this.#takeApart(lane, batch.entries)) {
        const other = this.#otherFor(lane, lookup);
        if (other && !other.isAvoided && this.#sendTwice(lookup, other, batch, nowMs)) this.counts.rescued++;
      }
    }
  }

  /** The member may be asked again: what others, who stand still, could give to nobody while it was avoided as well, they can give to it. */
  #relieve(calm: MemberLane, nowMs: number): void {
    for (const lane of this.#lanes.values()) {
      if (lane === calm || !lane.isAvoided) continue;
      if (lane.health.isEjected) this.#rescue(lane, lane.underWay, nowMs);
      else this.#moveWaiting(lane);
    }
  }

  /** Another holder for a key that only `lane` has; undefined when there is none, or nobody waits for the key. */
  #otherFor(lane: MemberLane, lookup: KeyLookup): MemberLane | undefined {
    if (lookup.isSettled || lookup.outstanding > 1 || lookup.asks >= limits.keyAsksMax || lookup.tries + 1 >= limits.keyTriesMax)
      return undefined;
    const other = chooseHolder(lookup.version.holdersOf(lookup.sliceIndex), lane, lookup.previousLane);
    return other && !other.isFullFor(lookup) ? other : undefined;
  }

  /** Free of the budget as long as nothing has been written: then nobody is asked twice. */
  #sendTwice(lookup: KeyLookup, other: MemberLane, batch: LaneBatch, nowMs: number): boolean {
    if (!batch.isWritten) batch.givenAwayCount++;
    else if (!this.#budget.take(nowMs)) {
      this.counts.overBudget++;
      return false;
    }
    this.#push(lookup, other);
    return true;
  }

  /** The keys in the queue of a lane that stands still go to others, as far as there are any: nobody has seen them yet. */
  #moveWaiting(lane: MemberLane): void {
    if (lane.waiting === 0) return;
    for (const lookup of this.#takeApart(lane, lane.takeWaiting())) {
      const other =
        lookup.moves < limits.keyMovesMax
          ? chooseHolder(lookup.version.holdersOf(lookup.sliceIndex), lane, this.#askedBefore(lane, lookup))
          : undefined;
      if (other && !other.isAvoided && !other.isFullFor(lookup)) {
        lookup.outstanding--;
        this.counts.moved++;
        this.#forget(lookup, lane);
        this.#push(lookup, other);
      } else {
        lane.push(lookup);
      }
    }
  }
}

/** What a request is asked of, and the time that it has. */
export type Binding = { readonly version: RoutedVersion; readonly remainingMs: number };

/** What may become of a key because its version is gone; all else has nothing to do with it. */
const goneWithVersion: ReadonlySet<ErrorCode> = new Set(['slice_unavailable', 'slice_loading', 'slice_corrupt']);

/** What became of a key at one member. */
type FailedAttempt = {
  /** How the key ends when this was its last attempt. */
  readonly code: ErrorCode;
  /** Another one costs no budget. */
  readonly isFree: boolean;
  /** The shard may have seen it. */
  readonly isSeen: boolean;
  /** The connection had served before, and ended without a byte of the answer. */
  readonly isReset: boolean;
};

/** What a shard says that has no such slice to look into: routes were out of date, and nothing was looked up. */
const notHeldThere: FailedAttempt = { code: 'version_not_held', isFree: true, isSeen: true, isReset: false };
const loadingThere: FailedAttempt = { ...notHeldThere, code: 'slice_loading' };
const corruptThere: FailedAttempt = { ...notHeldThere, code: 'slice_corrupt' };
