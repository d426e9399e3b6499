// The way to one shard: the keys that wait for it, and the few batches under way. Keys that come in the same turn of the event
// loop leave together at its end. A batch costs as much as some ten keys: while one is under way, the next leaves when it is large enough to
// be worth that, when the reply comes, or after `batchPatienceMs`, so that a slow one (a huge value, a read from disk) holds up nobody.
//
//     push(key) ─> waiting ──(end of the turn)──> batch 1..4 in flight ─┬─> reply ─> each key settled or handed back
//                                                                       └─> late ──> the owner may ask others as well
//
// Each batch stands in the deadline wheel: when it is late by what the member usually takes, when the member is silent, and when it is
// gone. A lane owns its sockets. It never retries: what failed goes back to the engine.

import { type BatchFailure, BatchPool, type SentBatch } from '../shared/batch-pool.ts';
import { encodeBatch, isBatchReply, ReplyCursor } from '../shared/batch-wire.ts';
import { limits } from '../shared/limits.ts';
import { type BulkLookup, BulkPart } from './bulk-lookup.ts';
import { type DeadlineWheel, WheelEntry } from './deadline-wheel.ts';
import type { KeyLookup } from './key-lookup.ts';
import { MemberHealth } from './member-health.ts';
import { MemberWindow } from './member-window.ts';
import { WaitingKeys } from './waiting-keys.ts';

/** What the lane tells its owner. */
export type LaneEvents = {
  /** So many keys leave. */
  readonly onSent: (keyCount: number, nowMs: number) => void;
  /** So many keys leave that another member was given in the meantime. */
  readonly onSentTwice: (keyCount: number, nowMs: number) => void;
  /** The shard answered for the entry: its keys are the next ones of `reply`, and are all read from there. */
  readonly onAnswer: (lane: MemberLane, entry: LaneEntry, reply: ReplyCursor) => void;
  /** Its answer would come too late; nobody has seen it. */
  readonly onOverdue: (lane: MemberLane, entry: LaneEntry) => void;
  /** The whole batch has no answer. */
  readonly onFailure: (lane: MemberLane, batch: LaneBatch, failure: BatchFailure) => void;
  /** The batch is late by what its member usually takes, and the router itself is not. */
  readonly onLate: (lane: MemberLane, batch: LaneBatch, nowMs: number) => void;
  /** No answer since a batch left that is late now: whatever waits should go elsewhere. */
  readonly onStalled: (lane: MemberLane) => void;
  /** The member is left alone from now on, where others hold its slices. */
  readonly onEjected: (lane: MemberLane, underWay: readonly LaneBatch[], nowMs: number) => void;
  /** The member is no longer avoided: it may take what others, who stand still, have not been able to give away. */
  readonly onCalm: (lane: MemberLane, nowMs: number) => void;
  /** An ejected member may be tried with one key. */
  readonly onProbeDue: (lane: MemberLane) => void;
};

/** What waits and leaves as one: a key, or the keys of one /mget. */
export type LaneEntry = KeyLookup | BulkPart;

/** Keys that left together. */
export class LaneBatch extends WheelEntry {
  readonly entries: readonly LaneEntry[];
  readonly keyCount: number;
  readonly sentMs: number;
  readonly isProbe: boolean;
  readonly hasBulk: boolean;
  /** When the wheel should call, to tell how late it does. */
  dueMs = 0;
  isLate = false;
  /** Keys that were given to another member as well while no byte of it had left: should it leave after all, they are sent twice. */
  givenAwayCount = 0;
  sent: SentBatch | undefined = undefined;
  readonly #onDue: (batch: LaneBatch) => void;

  constructor(entries: readonly LaneEntry[], options: { sentMs: number; isProbe: boolean; onDue: (batch: LaneBatch) => void }) {
    super();
    this.entries = entries;
    this.keyCount = entries.reduce((sum, { keyCount }) => sum + keyCount, 0);
    this.sentMs = options.sentMs;
    this.isProbe = options.isProbe;
    // Keys of /mgets stand behind the others.
    this.hasBulk = entries.at(-1)!.isBulk;
    this.#onDue = options.onDue;
  }

  /** False: no byte of it has left, no shard has seen its keys. */
  get isWritten(): boolean {
    return this.sent?.isWritten === true;
  }

  override expire(): void {
    this.#onDue(this);
  }
}

export class MemberLane {
  readonly address: string;
  readonly health = new MemberHealth(Math.random);
  /** The owner's: it will flush this lane at the end of the turn. */
  isFlushDue = false;
  readonly #pool: BatchPool;
  readonly #wheel: DeadlineWheel;
  readonly #events: LaneEvents;
  readonly #window: MemberWindow;
  /** Of the deadline wheel, from a key's admission to its deadline. */
  readonly #deadlineTicks: number;
  readonly #waiting = new WaitingKeys<LaneEntry>();
  /** The last part of the request that is being admitted just now. */
  #gathered: BulkPart | undefined;
  /** A few at most, in no order. */
  readonly #underWay: LaneBatch[] = [];
  readonly #onDue = (batch: LaneBatch): void => this.#due(batch);
  #probesInFlight = 0;
  #bulkBatchesInFlight = 0;
  #keysInFlight = 0;
  /** Of them, those of batches with keys of /mgets. */
  #bulkKeysInFlight = 0;
  /** A batch is late, and no answer has come since it left. */
  #isStalled = false;
  #isAvoided = false;
  #isGone = false;
  #isClosed = false;
  /** Set while the shard is left alone, because it had no room for any key. */
  #pauseTimer: NodeJS.Timeout | undefined;
  /** Set while keys wait for a batch that is worth sending. */
  #patienceTimer: NodeJS.Timeout | undefined;
  /** Set while an ejected member waits for its probe. */
  #probeTimer: NodeJS.Timeout | undefined;
  /** Since the start: for `/status`. */
  readonly counts = { batches: 0, keys: 0, failures: 0 };

  /** `deadlineMs`: of every key. */
  constructor(address: string, wheel: DeadlineWheel, options: { readonly deadlineMs: number; readonly events: LaneEvents }) {
    const { deadlineMs, events } = options;
    this.address = address;
    this.#window = new MemberWindow(deadlineMs);
    this.#deadlineTicks = deadlineMs / limits.deadlineTickMs;
    this.#pool = new BatchPool(address);
    this.#wheel = wheel;
    this.#events = events;
  }

  /** Keys that wait or are under way: what the load is spread by. */
  get load(): number {
    return this.#waiting.count + this.#keysInFlight;
  }

  get waiting(): number {
    return this.#waiting.count;
  }

  get batchesInFlight(): number {
    return this.#underWay.length;
  }

  get underWay(): readonly LaneBatch[] {
    return [...this.#underWay];
  }

  /** Late just now, or ejected: others are asked first. */
  get isAvoided(): boolean {
    return this.#isAvoided;
  }

  /** Silent for so long that nobody is sent there, but for probes. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Another batch would leave at once: only then does it help a late key to be sent here too. */
  get isFree(): boolean {
    if (this.#isAvoided || this.#usualInFlight >= limits.batchesInFlightMax) return false;
    return this.#waiting.count < Math.min(limits.batchKeysWorth, this.#window.batchMax) && this.#window.hasRoom(this.#keysInFlight);
  }

  /** What waits here leaves at once, and more would. */
  get hasRoom(): boolean {
    if (this.#pauseTimer) return false;
    return (
      !this.#isAvoided && this.#usualInFlight < limits.batchesInFlightMax && this.#window.hasRoom(this.#keysInFlight + this.#waiting.count)
    );
  }

  /** No key more may wait: for want of memory, or because it would be answered too late. */
  isFullFor(entry: LaneEntry): boolean {
    const { tick } = this.#wheel;
    return this.#waiting.isFullFor(entry, tick) || this.#isBackedUpFor(entry, tick);
  }

  /** Keys have waited for long, and there are more of them than the member answers in time. */
  #isBackedUpFor({ isBulk }: LaneEntry, tick: number): boolean {
    const waiting = isBulk ? this.#waiting.count : this.#waiting.singleCount;
    if (waiting < limits.windowWaitingMin || waiting < this.#window.waitingMax) return false;
    return this.#waiting.headDueTick(isBulk) < tick + this.#deadlineTicks * (1 - limits.windowFastShare);
  }

  push(entry: LaneEntry): void {
    this.#waiting.push(entry);
  }

  /** One more key of the request that is being admitted; returns its part when that is a new one, for the caller to push once it is whole. */
  gather(request: BulkLookup, keyIndex: number): BulkPart | undefined {
    let part = this.#gathered;
    if (part && part.keyCount < limits.bulkBatchKeysMin) {
      part.add(keyIndex);
      return undefined;
    }
    part = new BulkPart(request);
    part.add(keyIndex);
    this.#gathered = part;
    return part;
  }

  /** The request that was being admitted is. */
  endGathering(): void {
    this.#gathered = undefined;
  }

  /** Sends what waits, as far as batches may be under way. */
  flush(): void {
    while (!this.#pauseTimer && this.#hasSendable) {
      const sendable = this.#mayHaveBulk ? this.#waiting.count : this.#waiting.singleCount;
      if (this.#underWay.length > 0 && sendable < Math.min(limits.batchKeysWorth, this.#window.batchMax)) return this.#bePatient();
      this.#sendBatch();
    }
    if (this.#waiting.count > 0 && !this.#window.hasRoom(this.#keysInFlight)) this.#window.usedUp();
  }

  /** All that waits and has somebody waiting for it; the owner sends it elsewhere, or pushes it again. */
  takeWaiting(): LaneEntry[] {
    return this.#waiting.takeAll();
  }

  get isProbeDue(): boolean {
    return this.#probesInFlight < limits.probesInFlightMax && this.health.isProbeDue(now());
  }

  /** Sends one key at once, whatever else is under way; only when a probe is due. */
  probe(lookup: KeyLookup): void {
    this.health.probeSent();
    this.#send([lookup], true);
  }

  /** The polls hear of it again after a while without. */
  cameBack(): void {
    this.health.cameBack(now());
    this.#follow(now());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#pauseTimer);
    clearTimeout(this.#patienceTimer);
    clearTimeout(this.#probeTimer);
    for (const batch of this.#underWay) this.#wheel.remove(batch);
    this.#pool.close();
  }

  get #usualInFlight(): number {
    return this.#underWay.length - this.#probesInFlight;
  }

  get #mayHaveBulk(): boolean {
    return this.#bulkBatchesInFlight < limits.bulkBatchesInFlightMax && this.#window.hasRoom(this.#keysInFlight);
  }

  get #hasSendable(): boolean {
    if (this.#usualInFlight >= limits.batchesInFlightMax) return false;
    // What is under way of /mgets takes no room from single GETs.
    if (this.#waiting.singleCount > 0 && this.#window.hasRoom(this.#keysInFlight - this.#bulkKeysInFlight)) return true;
    return this.#waiting.count > 0 && this.#mayHaveBulk;
  }

  #sendBatch(): void {
    const dueTick = this.#wheel.tick + this.#window.timeNeededMs / limits.deadlineTickMs;
    for (const entry of this.#waiting.takeOverdue(dueTick)) this.#events.onOverdue(this, entry);
    const batch = this.#waiting.takeBatch({ withBulk: this.#mayHaveBulk, countMax: this.#window.batchMax });
    if (batch.length > 0) this.#send(batch, false);
  }

  #bePatient(): void {
    this.#patienceTimer ??= setTimeout(() => {
      this.#patienceTimer = undefined;
      if (!this.#pauseTimer && this.#hasSendable) this.#sendBatch();
    }, limits.batchPatienceMs);
  }

  #send(entries: readonly LaneEntry[], isProbe: boolean): void {
    const nowMs = now();
    const batch = new LaneBatch(entries, { sentMs: nowMs, isProbe, onDue: this.#onDue });
    const { keyCount } = batch;
    this.#underWay.push(batch);
    this.#keysInFlight += keyCount;
    if (isProbe) this.#probesInFlight++;
    if (batch.hasBulk) {
      this.#bulkBatchesInFlight++;
      this.#bulkKeysInFlight += keyCount;
    }
    this.counts.batches++;
    this.counts.keys += keyCount;
    this.health.sent(nowMs);
    this.#events.onSent(keyCount, nowMs);
    this.#callAfter(batch, isProbe ? limits.ejectSilenceMs : this.health.hedgeDelayMs, nowMs);
    const { idBytes } = entries[0]!.version;
    batch.sent = this.#pool.send(encodeBatch(idBytes, entries), {
      onWrite: () => {
        if (batch.givenAwayCount > 0) this.#events.onSentTwice(batch.givenAwayCount, now());
      },
      onReply: (reply) => {
        if (isBatchReply(reply, idBytes, keyCount)) this.#answered(batch, reply);
        else this.#failed(batch, 'wrong');
        this.flush();
      },
      onFailure: (failure) => {
        this.#failed(batch, failure);
        this.flush();
      },
    });
  }

  #answered(batch: LaneBatch, reply: Buffer): void {
    const nowMs = now();
    // A router with more to do than it can reads late what its members answered in time: they are not full.
    const lateMs = this.#wheel.lateMs(nowMs);
    this.#landed(batch);
    this.#window.answered(batch, nowMs - Math.min(lateMs, nowMs - batch.sentMs));
    this.health.answered(nowMs, { latencyMs: nowMs - batch.sentMs, isProbe: batch.isProbe && !batch.isLate });
    if (this.#isAvoided) {
      this.#isStalled = false;
      this.#follow(nowMs);
    }
    const cursor = new ReplyCursor(reply);
    for (const entry of batch.entries) this.#events.onAnswer(this, entry, cursor);
    if (cursor.deferredCount === batch.keyCount) this.#pause();
  }

  #failed(batch: LaneBatch, failure: BatchFailure): void {
    const nowMs = now();
    this.#landed(batch);
    this.counts.failures++;
    const isSilence = failure === 'late';
    const isEjected = this.health.failed(nowMs, { isSilence, isProbe: batch.isProbe && !batch.isLate });
    // A member that is still silent will be ejected for it; one of which nothing is under way any more could not clear itself.
    this.#isStalled = false;
    this.#follow(nowMs);
    this.#events.onFailure(this, batch, failure);
    if (isEjected) this.#events.onEjected(this, [...this.#underWay], nowMs);
  }

  /** To ask at once again would only keep both sides busy. */
  #pause(): void {
    this.#pauseTimer ??= setTimeout(() => {
      this.#pauseTimer = undefined;
      this.flush();
    }, limits.deferralPauseMs);
  }

  #landed(batch: LaneBatch): void {
    this.#wheel.remove(batch);
    this.#forget(batch);
    this.#keysInFlight -= batch.keyCount;
    if (batch.isProbe) this.#probesInFlight--;
    if (batch.hasBulk) {
      this.#bulkBatchesInFlight--;
      this.#bulkKeysInFlight -= batch.keyCount;
    }
    if (this.load === 0) this.#window.rested();
  }

  #forget(batch: LaneBatch): void {
    const index = this.#underWay.indexOf(batch);
    const last = this.#underWay.pop()!;
    if (last !== batch) this.#underWay[index] = last;
  }

  #callAfter(batch: LaneBatch, delayMs: number, nowMs: number): void {
    batch.dueMs = nowMs + delayMs;
    this.#wheel.add(batch, delayMs);
  }

  /** The batch is not answered at its time: late first, then silence. */
  #due(batch: LaneBatch): void {
    const nowMs = now();
    const lateMs = nowMs - batch.dueMs - limits.deadlineTickMs;
    // The router itself stood still: the answer may lie in a socket, unread.
    if (lateMs > (batch.isLate ? limits.silenceLateMs : limits.routerLateMs)) {
      return this.#callAfter(batch, Math.min(this.health.hedgeDelayMs, limits.hedgeDelayUnknownMs), nowMs);
    }
    if (!batch.isLate) this.#late(batch, nowMs);
    if (this.health.checkSilence(nowMs)) this.#events.onEjected(this, [...this.#underWay], nowMs);
    this.#follow(nowMs);
    if (this.#isGone) return;
    const nextMs = this.health.silentForMs(nowMs) < limits.ejectSilenceMs ? limits.ejectSilenceMs : limits.memberGoneMs;
    this.#callAfter(batch, Math.max(1, nextMs - this.health.silentForMs(nowMs)), nowMs);
  }

  #late(batch: LaneBatch, nowMs: number): void {
    batch.isLate = true;
    if (batch.isProbe) return this.health.probeFailed(nowMs);
    // One that has as much as it can do is late for that: to give its keys to others would make these late too.
    if (this.health.isQuietSince(batch.sentMs) && !this.#isStalled && this.#window.hasRoom(this.#keysInFlight)) {
      this.#isStalled = true;
      this.#follow(nowMs);
      this.#events.onStalled(this);
    }
    this.#events.onLate(this, batch, nowMs);
  }

  /** What the health says, as the choice of a holder reads it for every key; and the timer of the next probe. */
  #follow(nowMs: number): void {
    const wasAvoided = this.#isAvoided;
    this.#isAvoided = this.#isStalled || this.health.isEjected;
    this.#isGone = this.health.isGone(nowMs);
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    const { probeDueMs } = this.health;
    if (this.#isClosed) return;
    if (probeDueMs !== Number.POSITIVE_INFINITY) {
      this.#probeTimer = setTimeout(() => this.#events.onProbeDue(this), Math.max(0, probeDueMs - nowMs));
      this.#probeTimer.unref();
    }
    if (wasAvoided && !this.#isAvoided) this.#events.onCalm(this, nowMs);
  }
}

function now(): number {
  return performance.now();
}
