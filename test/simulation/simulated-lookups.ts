// How a simulated router sends its look-ups: the real MemberHealth, RetryBudget and chooseHolder in virtual time. What lookup-engine.ts and
// member-lane.ts do with them over sockets is done here with one key a batch, and nothing waits in a queue.
//
// A key whose slice has a holder that is *in service* (not ejected, not late) from its first ask to its end, and answers, is answered, but where the
// budget was used up, or two others had it already (a hedge that is refused is not made up for). For a try that fails or is late goes on to another
// holder that is in service as long as there is one: so it comes to that one, or to two others before. Checked: no key fails while such a holder has
// not been asked. That whoever answers is in service soon is checked by itself: all are, a while after the trouble has ended.

import { chooseHolder, type Holder } from '../../router/holder-choice.ts';
import { MemberHealth } from '../../router/member-health.ts';
import type { MemberLane } from '../../router/member-lane.ts';
import { RetryBudget } from '../../router/retry-budget.ts';
import type { RoutedVersion } from '../../router/routed-version.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { LaneTruth, SendLedger } from './lookup-truth.ts';
import type { KeyOutcome, SimulatedCluster } from './simulated-cluster.ts';

/** What decides about a key that is not answered at once. */
export type LookupDecisions = {
  readonly newHealth: (random: () => number) => MemberHealth;
  readonly newBudget: (nowMs: number) => RetryBudget;
  readonly chooseHolder: typeof chooseHolder;
};

export const realLookupDecisions: LookupDecisions = {
  newHealth: (random) => new MemberHealth(random),
  newBudget: (nowMs) => new RetryBudget(nowMs),
  chooseHolder,
};

export type LookupOptions = {
  readonly cluster: SimulatedCluster;
  /** Of the router, and whether it stands still: until when. */
  readonly name: string;
  readonly stoppedUntilMs: () => number;
  readonly isGone: () => boolean;
  /** Fails when the router's reports do not say that the member holds the slice. */
  readonly checkRoute: (lane: SimulatedLane, version: RoutedVersion, sliceIndex: number) => void;
};

export class SimulatedLane implements Holder {
  name = '';
  readonly address: string;
  readonly health: MemberHealth;
  readonly underWay = new Set<Try>();
  readonly truth = new LaneTruth();
  isStalled = false;
  isAvoided = false;
  isGone = false;
  /** Neither late nor ejected since then. */
  inServiceSinceMs: number;

  constructor(address: string, health: MemberHealth, nowMs: number) {
    this.address = address;
    this.health = health;
    this.inServiceSinceMs = nowMs;
  }

  get load(): number {
    return this.underWay.size;
  }

  get probesInFlight(): number {
    return [...this.underWay].filter(({ isProbe }) => isProbe).length;
  }
}

type LookUp = {
  readonly version: RoutedVersion;
  readonly sliceIndex: number;
  readonly startedMs: number;
  /** Called once, with what it was answered from; undefined: it failed. */
  readonly onEnd: (answeredId: string | undefined) => void;
  readonly asked: Set<SimulatedLane>;
  asks: number;
  tries: number;
  outstanding: number;
  lastLane: SimulatedLane | undefined;
  previousLane: SimulatedLane | undefined;
  isSettled: boolean;
  wasOverBudget: boolean;
  /** Members that may have seen it, by all that is known of its tries; and how many of its tries were charged to the budget. */
  seen: number;
  charged: number;
};

type Try = { readonly lookup: LookUp; readonly sentMs: number; readonly isProbe: boolean; dueMs: number; isLate: boolean };

/** Another try costs no budget: nobody has looked for the key. */
const freeOutcomes: ReadonlySet<KeyOutcome> = new Set<KeyOutcome>(['refused', 'reset', 'not held']);

export class SimulatedLookups {
  readonly #options: LookupOptions;
  readonly #cluster: SimulatedCluster;
  readonly #lanes = new Map<string, SimulatedLane>();
  readonly #budget: RetryBudget;
  readonly #ledger = new SendLedger();
  #routesChangedMs = 0;

  constructor(options: LookupOptions) {
    this.#options = options;
    this.#cluster = options.cluster;
    this.#budget = this.#cluster.decisions.newBudget(this.#nowMs);
  }

  laneTo(name: string, address: string): SimulatedLane {
    const { decisions, chance } = this.#cluster;
    const lane = this.#lanes.get(address) ?? new SimulatedLane(address, decisions.newHealth(chance.share), this.#nowMs);
    lane.name = name;
    this.#lanes.set(address, lane);
    return lane;
  }

  keepLanes(addresses: ReadonlySet<string>): void {
    for (const [address, { load }] of this.#lanes) if (!addresses.has(address) && load === 0) this.#lanes.delete(address);
  }

  /** The polls hear of it again. */
  cameBack(address: string): void {
    this.#lanes.get(address)?.health.cameBack(this.#nowMs);
  }

  routesChanged(): void {
    this.#routesChangedMs = this.#nowMs;
  }

  /** The names of those that hold something of the version and are left alone. */
  ejectedOf(version: RoutedVersion): readonly string[] {
    const slices = Array.from({ length: version.sliceCount }, (_, i) => version.holdersOf(i as SliceIndex) as readonly Holder[]);
    const ejected = [...this.#lanes.values()].filter((lane) => lane.health.isEjected && slices.some((holders) => holders.includes(lane)));
    return ejected.map(({ name }) => name);
  }

  ask(version: RoutedVersion, sliceIndex: number, onEnd: (answeredId: string | undefined) => void): void {
    const lookup: LookUp = {
      ...{ version, sliceIndex, onEnd, startedMs: this.#nowMs, asked: new Set() },
      ...{ asks: 0, tries: 0, outstanding: 0, lastLane: undefined, previousLane: undefined, isSettled: false },
      ...{ wasOverBudget: false, seen: 0, charged: 0 },
    };
    const lane = this.#choose(lookup, undefined, undefined);
    if (lane) this.#send(lookup, lane, { isProbe: false });
    this.#probeWith(lookup, lane);
    if (lookup.outstanding === 0) return this.#fail(lookup);
    this.#cluster.clock.after(limits.deadlineDefaultMs, () => this.#fail(lookup));
  }

  get #nowMs(): number {
    return this.#cluster.clock.nowMs;
  }

  #holdersOf({ version, sliceIndex }: LookUp): readonly SimulatedLane[] {
    return version.holdersOf(sliceIndex as SliceIndex) as unknown as readonly SimulatedLane[];
  }

  /** The product's choice, with what must be true of it. */
  #choose(lookup: LookUp, asked: SimulatedLane | undefined, before: SimulatedLane | undefined): SimulatedLane | undefined {
    const holders = this.#holdersOf(lookup);
    const chosen = this.#cluster.decisions.chooseHolder(holders, asked, before);
    const others = holders.filter((lane) => lane !== asked && lane !== before);
    for (const lane of others) this.#checkEjection(lane);
    const left = chosen ? undefined : others.find(({ truth }) => !truth.isGone(this.#nowMs));
    if (left) this.#wrong(`asks nobody for slice ${lookup.sliceIndex}, though ${left.name} holds it and is not gone`);
    const better = chosen?.isAvoided && others.find(({ isAvoided, isGone }) => !isAvoided && !isGone);
    if (better) this.#wrong(`asks ${chosen.name}, which it should leave alone, and not ${better.name}`);
    return chosen;
  }

  /** Whoever fails or is silent is ejected in time. A router that stood still first sees what came meanwhile. */
  #checkEjection({ name, health, truth, underWay }: SimulatedLane): void {
    if (health.isEjected || this.#stoodStillSince(this.#nowMs - 2_000)) return;
    // What was sent before the last sign of it may be lost, and says nothing.
    const sinceMs = this.#nowMs - truth.silentMs(this.#nowMs);
    const first = [...underWay].find(({ sentMs }) => sentMs >= sinceMs);
    const silentMs = first ? this.#nowMs - first.sentMs : 0;
    if (silentMs > limits.ejectSilenceMs + limits.deadlineTickMs) this.#wrong(`has not ejected ${name}, silent for ${silentMs} ms`);
    if (truth.failuresInRow >= limits.ejectFailures) this.#wrong(`has not ejected ${name} after ${truth.failuresInRow} failures`);
  }

  #ejected(lane: SimulatedLane): void {
    const { name, truth } = lane;
    this.#cluster.note(`${this.#options.name} ejects ${name} for ${lane.health.ejectedFor}`);
    if (truth.failuresInRow >= limits.ejectFailures || truth.silentMs(this.#nowMs) >= limits.ejectSilenceMs) return;
    this.#wrong(`ejects ${name} after ${truth.failuresInRow} failures and ${truth.silentMs(this.#nowMs)} ms of silence`);
  }

  #wrong(what: string): never {
    this.#cluster.fail(`${this.#options.name} ${what}`);
  }

  #stoodStillSince(sinceMs: number): boolean {
    return this.#options.stoppedUntilMs() >= sinceMs;
  }

  /** One key for a member that is left alone, beside another one that answers it. */
  #probeWith(lookup: LookUp, asked: SimulatedLane | undefined): void {
    const nowMs = this.#nowMs;
    for (const lane of this.#holdersOf(lookup)) {
      if (lane === asked || !lane.health.isEjected || lane.probesInFlight >= limits.probesInFlightMax) continue;
      if (!lane.health.isProbeDue(nowMs)) continue;
      this.#budget.spend(nowMs);
      this.#ledger.taken(nowMs);
      lane.health.probeSent();
      return this.#send(lookup, lane, { isProbe: true });
    }
  }

  #send(lookup: LookUp, lane: SimulatedLane, { isProbe }: { isProbe: boolean }): void {
    const nowMs = this.#nowMs;
    if (this.#holdersOf(lookup).includes(lane)) this.#options.checkRoute(lane, lookup.version, lookup.sliceIndex);
    this.#charge(lookup, isProbe);
    lookup.asks++;
    lookup.seen++;
    lookup.outstanding++;
    lookup.asked.add(lane);
    lookup.previousLane = lookup.lastLane;
    lookup.lastLane = lane;
    const attempt: Try = { lookup, sentMs: nowMs, isProbe, dueMs: 0, isLate: false };
    lane.underWay.add(attempt);
    lane.truth.sent(nowMs);
    lane.health.sent(nowMs);
    this.#budget.sent(1, nowMs);
    this.#callAfter(lane, attempt, isProbe ? limits.ejectSilenceMs : lane.health.hedgeDelayMs);
    this.#cluster.sendKey({ from: this.#options.name, to: lane.address, id: lookup.version.id, sliceIndex: lookup.sliceIndex }, (outcome) =>
      this.#whenItRuns(() => this.#ended(lane, attempt, outcome)),
    );
  }

  #charge(lookup: LookUp, isProbe: boolean): void {
    const isCharged = isProbe || lookup.seen > lookup.charged;
    this.#ledger.sent(this.#nowMs, { isTwice: isCharged });
    if (!isCharged) return;
    if (lookup.seen > 0) lookup.charged++;
    const excess = isProbe ? undefined : this.#ledger.excess(this.#nowMs);
    if (excess) this.#wrong(`sends more twice than its budget: ${excess}`);
  }

  /** True when one more key may be sent twice. */
  #mayCharge(lookup: LookUp): boolean {
    const isWithin = this.#budget.take(this.#nowMs);
    if (isWithin) {
      this.#ledger.taken(this.#nowMs);
      return true;
    }
    lookup.wasOverBudget = true;
    const left = this.#ledger.left(this.#nowMs);
    if (left) this.#wrong(`does not send a key twice, though its budget is not used up: ${left}`);
    return false;
  }

  /** While it stands still nothing is read, and no timer fires. */
  #whenItRuns(act: () => void): void {
    if (this.#options.isGone()) return;
    const stoppedMs = this.#options.stoppedUntilMs() - this.#nowMs;
    if (stoppedMs > 0) this.#cluster.clock.after(Math.min(stoppedMs, 50), () => this.#whenItRuns(act));
    else act();
  }

  #ended(lane: SimulatedLane, attempt: Try, outcome: KeyOutcome): void {
    if (!lane.underWay.delete(attempt)) return;
    const nowMs = this.#nowMs;
    const { lookup, sentMs } = attempt;
    const isProbe = attempt.isProbe && !attempt.isLate;
    const isAnswer = typeof outcome === 'object' || outcome === 'not held';
    let isEjected = false;
    if (isAnswer) lane.health.answered(nowMs, { latencyMs: nowMs - sentMs, isProbe });
    else isEjected = lane.health.failed(nowMs, { isSilence: outcome === 'late', isProbe });
    // Of a silence that fell into a standstill nothing is known.
    const isSilence = outcome === 'late' && !(this.#stoodStillSince(sentMs) && lane.health.silentForMs(nowMs) === 0);
    lane.truth.ended(nowMs, { isAnswer, isSilence, underWay: lane.load });
    lane.isStalled = false;
    this.#follow(lane);
    if (freeOutcomes.has(outcome)) lookup.seen--;
    if (typeof outcome !== 'object') this.#tryFailed(lane, lookup, outcome);
    else {
      lookup.outstanding--;
      this.#settle(lookup, outcome.answeredId);
    }
    if (isEjected) this.#ejected(lane);
  }

  #settle(lookup: LookUp, answeredId: string | undefined): void {
    if (lookup.isSettled) return;
    lookup.isSettled = true;
    lookup.onEnd(answeredId);
  }

  #tryFailed(lane: SimulatedLane, lookup: LookUp, outcome: KeyOutcome): void {
    lookup.outstanding--;
    if (outcome !== 'refused') lookup.tries++;
    if (lookup.isSettled || lookup.outstanding > 0) return;
    if (lookup.tries >= limits.keyTriesMax || lookup.asks >= limits.keyAsksMax) return this.#fail(lookup);
    const other = this.#choose(lookup, lookup.lastLane, lookup.previousLane) ?? (outcome === 'reset' && !lane.isGone ? lane : undefined);
    if (!other || (!freeOutcomes.has(outcome) && !this.#mayCharge(lookup))) return this.#fail(lookup);
    this.#send(lookup, other, { isProbe: false });
  }

  #callAfter(lane: SimulatedLane, attempt: Try, delayMs: number): void {
    attempt.dueMs = this.#nowMs + delayMs;
    this.#cluster.clock.after(delayMs, () => this.#whenItRuns(() => this.#due(lane, attempt)));
  }

  /** It has no answer yet: late first, then silence, then gone. */
  #due(lane: SimulatedLane, attempt: Try): void {
    if (!lane.underWay.has(attempt)) return;
    const { health } = lane;
    const lateMs = this.#nowMs - attempt.dueMs;
    if (lateMs > (attempt.isLate ? limits.silenceLateMs : limits.routerLateMs)) {
      return this.#callAfter(lane, attempt, Math.min(health.hedgeDelayMs, limits.hedgeDelayUnknownMs));
    }
    if (!attempt.isLate) this.#late(lane, attempt);
    if (health.checkSilence(this.#nowMs)) {
      this.#follow(lane);
      this.#ejected(lane);
      for (const { lookup } of [...lane.underWay]) this.#sendTwice(lane, lookup);
    }
    this.#follow(lane);
    if (lane.isGone) return;
    const silentMs = health.silentForMs(this.#nowMs);
    this.#callAfter(
      lane,
      attempt,
      Math.max(1, (silentMs < limits.ejectSilenceMs ? limits.ejectSilenceMs : limits.memberGoneMs) - silentMs),
    );
  }

  #late(lane: SimulatedLane, attempt: Try): void {
    attempt.isLate = true;
    if (attempt.isProbe) return lane.health.probeFailed(this.#nowMs);
    lane.isStalled ||= lane.health.isQuietSince(attempt.sentMs);
    this.#follow(lane);
    this.#sendTwice(lane, attempt.lookup);
  }

  /** To a holder that is in service, beside `lane`, which has it and is late. */
  #sendTwice(lane: SimulatedLane, lookup: LookUp): void {
    const isDone = lookup.isSettled || lookup.outstanding > 1 || lookup.asks >= limits.keyAsksMax;
    if (isDone || lookup.tries + 1 >= limits.keyTriesMax) return;
    const other = this.#choose(lookup, lane, lookup.previousLane);
    if (other && !other.isAvoided && this.#mayCharge(lookup)) this.#send(lookup, other, { isProbe: false });
  }

  #follow(lane: SimulatedLane): void {
    const wasAvoided = lane.isAvoided;
    lane.isAvoided = lane.isStalled || lane.health.isEjected;
    lane.isGone = lane.health.isGone(this.#nowMs);
    if (!wasAvoided || lane.isAvoided) return;
    lane.inServiceSinceMs = this.#nowMs;
    // What others, who stand still, had nobody to give to.
    for (const other of this.#lanes.values()) {
      if (other === lane || other.health.ejectedFor !== 'silence') continue;
      for (const { lookup } of [...other.underWay]) this.#sendTwice(other, lookup);
    }
  }

  /** It ends without an answer: nobody who is in service was left to ask. */
  #fail(lookup: LookUp): void {
    if (lookup.isSettled || this.#options.isGone()) return;
    const areRoutesOld = this.#routesChangedMs < lookup.startedMs;
    const wasTriedTwice = lookup.charged > 0 || lookup.tries + lookup.outstanding >= limits.keyTriesMax || lookup.asks >= limits.keyAsksMax;
    if (areRoutesOld && !wasTriedTwice && !lookup.wasOverBudget && !this.#stoodStillSince(lookup.startedMs)) {
      const inService = ({ isAvoided, inServiceSinceMs }: SimulatedLane): boolean => !isAvoided && inServiceSinceMs <= lookup.startedMs;
      const left = this.#holdersOf(lookup).find((lane) => inService(lane) && !lookup.asked.has(lane));
      if (left) this.#wrong(`fails a key of slice ${lookup.sliceIndex}, for which it has not asked ${left.name}, which is in service`);
    }
    this.#settle(lookup, undefined);
  }
}

/** The lane as the table from slice to holders has it. */
export function asMemberLane(lane: SimulatedLane): MemberLane {
  return lane as unknown as MemberLane;
}
