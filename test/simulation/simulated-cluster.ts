// Shards and routers, the network between them, and what must be true at every step. Nothing here decides: that is the product's own code,
// given as `Decisions` so that a test can plant a fault.
//
// Checked at each step: nobody gives up the last copy of a slice that is in memory; nobody leaves with it, unless those that stay had the
// time of its grace, or died; a router asks only who says that it holds the slice; `missing` comes only from a slice that is held, of the version
// that was asked for; nobody holds three versions; no router binds an older version after it answered from a newer one, goes to a version that
// not everybody has who should, or needs to bind a request anew, unless it stood still.

import { Flights } from '../../router/flights.ts';
import { HotAnswers } from '../../router/hot-answers.ts';
import { chooseVersion } from '../../router/version-choice.ts';
import { wantedOf } from '../../shard/current-watch.ts';
import { type Decision, decide } from '../../shard/decide.ts';
import { Leases } from '../../shard/leases.ts';
import { followLeaving } from '../../shard/leave.ts';
import { followOwners, type MemberView } from '../../shard/owners.ts';
import { planVersions } from '../../shard/version-plan.ts';
import { limits } from '../../shared/limits.ts';
import { type KnownMember, MemberTable } from '../../shared/member-table.ts';
import { placeSlices } from '../../shared/placement.ts';
import { countSlices, includesSlice } from '../../shared/slice-ranges.ts';
import type { StatusReport } from '../../shared/status-report.ts';
import type { VersionUse } from '../../shared/version-use.ts';
import { SimulatedData } from './simulated-data.ts';
import { type LookupDecisions, realLookupDecisions } from './simulated-lookups.ts';
import { SimulatedRouter, short } from './simulated-router.ts';
import { SimulatedShard } from './simulated-shard.ts';
import type { SimulatedVersion } from './simulated-version.ts';
import { type Chance, fairWeather, VirtualClock, type Weather } from './virtual-world.ts';

export type Decisions = LookupDecisions & {
  readonly decide: typeof decide;
  readonly followOwners: typeof followOwners;
  readonly followLeaving: typeof followLeaving;
  readonly newTable: (fixedAddresses: readonly string[]) => MemberTable;
  readonly planVersions: typeof planVersions;
  readonly newLeases: (incarnation: string) => Leases;
  readonly chooseVersion: typeof chooseVersion;
  /** What a router names in its polls, of the version that it serves and those of requests under way. */
  readonly versionsInUse: (versions: readonly { readonly id: string }[]) => readonly string[];
  readonly wantedOf: typeof wantedOf;
  /** A request whose version is gone binds the next one. */
  readonly rebinds: boolean;
  /** What a batch is looked up in. */
  readonly findVersion: (versions: readonly SimulatedVersion[], id: string) => SimulatedVersion | undefined;
  /** Answers, and keys on their way, by version and key. */
  readonly newAnswers: () => HotAnswers;
  readonly newFlights: () => Flights;
};

export const realDecisions: Decisions = {
  ...realLookupDecisions,
  decide,
  followOwners,
  followLeaving,
  newTable: (fixedAddresses) => new MemberTable(fixedAddresses),
  planVersions,
  newLeases: (incarnation) => new Leases(incarnation),
  chooseVersion,
  versionsInUse: (versions) => versions.map(({ id }) => id),
  wantedOf,
  rebinds: true,
  findVersion: (versions, id) => versions.find((version) => version.id === id),
  newAnswers: () => new HotAnswers(hotAnswersSize),
  newFlights: () => new Flights(),
};

/** What a member does with keys, while it answers polls as ever. `errs`: every other answer is none, or not of this key. */
export const ailments = ['slow', 'silent', 'refuses', 'resets', 'errs', 'disowns'] as const;
export type Ailment = (typeof ailments)[number];

/** What comes of one key at one member; `late`: nothing, until its socket is given up. */
export type KeyOutcome = { readonly answeredId: string } | 'not held' | 'refused' | 'reset' | 'wrong' | 'late';

export type ClusterOptions = {
  readonly chance: Chance;
  readonly decisions: Decisions;
  readonly sliceCount: number;
  readonly replicas: number;
  readonly routerCount: number;
  /** Of a fixed list; empty: the members are found by name. */
  readonly fixedAddresses: readonly string[];
  /** Nothing dies and nothing gets lost: then every slice must be answered all the time. */
  readonly isGraceful: boolean;
  /** Clients ask for keys of every slice all the time: which alone keeps a slice from being freed. */
  readonly isAsked: boolean;
};

/** As long as it takes the shards to forget who left and to have what they should. */
const membersSteadyMs = 60_000;

/** More than all that are asked for. */
const hotAnswersSize = 65_536;

/** How wrong a host's clock may be, which may be set between two starts. */
const clockSkewMaxMs = 300_000;

/** Of the versions that a simulation cuts. */
const sliceCountMost = 16;

function describeVersions({ name, serving, versions }: SimulatedShard): string {
  const described = versions.map((version) => {
    const { kept, loading, yielding } = version.report(false).slices;
    const role = version.endsFromReport !== undefined ? 'ending' : version.id === serving ? 'serving' : 'other';
    return `${short(version)} ${role}, kept ${countSlices(kept)}, loading ${countSlices(loading)}, yielding ${countSlices(yielding)}`;
  });
  return `${name} holds ${described.join(' and ')}`;
}

/** What an invariant says when it is broken. */
export class Violation extends Error {}

type Poll = {
  readonly use: VersionUse | undefined;
  readonly onReport: (report: StatusReport) => void;
  readonly onSilence: (refused: boolean) => void;
};

/** A shard that sees nobody for a while, and what it was like when it must have noticed. */
type Cut = { readonly shard: SimulatedShard; readonly sinceMs: number; owners: readonly string[] | undefined };

/** After so long somebody who is cut off has seen that all others are silent, and then ended what it was loading. */
const cutSeenMs = limits.memberSilentMs + limits.pollIntervalMs + limits.pollDeadlineMs + 500;
const cutQuietMs = cutSeenMs + 4_500;

/** How long what somebody reported may be behind what is: a death in this time excuses whoever relied upon the dead one. */
const deathExcuseMs = limits.reportFreshMs + 1_000;

export class SimulatedCluster {
  readonly clock = new VirtualClock();
  readonly chance: Chance;
  readonly decisions: Decisions;
  readonly data = new SimulatedData();
  readonly replicas: number;
  readonly fixedAddresses: readonly string[];
  /** By address: those whose process runs. */
  readonly shards = new Map<string, SimulatedShard>();
  readonly routers: SimulatedRouter[];
  /** Nobody asks these anything; they poll. */
  readonly idleRouters = new Set<SimulatedRouter>();
  readonly log: string[] = [];
  weather: Weather = fairWeather;
  /** Pairs of a name that asks and an address, between which nothing comes through. */
  readonly blocked = new Set<string>();
  /** Such pairs over which every answer comes by so much later. */
  readonly slow = new Map<string, number>();
  /** A second address of one process, and the first. */
  readonly aliases = new Map<string, string>();
  /** Names of shards that can ask nobody but themselves. */
  readonly #cuts = new Map<string, Cut>();
  #cutMs = Number.NEGATIVE_INFINITY;
  /** Since nothing happens but to this one, nobody else has a reason to load anything; undefined: more happens. */
  loadsOnly: string | undefined;
  /** By address: what is the matter with its member. */
  readonly ailing = new Map<string, Ailment>();
  /** Names that somebody takes for the owners, whatever is true. */
  readonly delusions = new Map<string, readonly string[]>();
  loadCount = 0;
  readonly #isGraceful: boolean;
  readonly #skews = new Map<string, number>();
  readonly #views = new Map<string, { readonly addresses: readonly string[]; readonly untilMs: number }>();
  /** Processes that ended without having been released, and what they held. */
  readonly #deaths: { readonly atMs: number; readonly slices: readonly string[] }[] = [];
  /** When a shard started, left or died last. */
  #membersChangedMs = 0;
  #processCount = 0;
  #routerCount = 0;
  #fairSinceMs = Number.NEGATIVE_INFINITY;

  constructor(options: ClusterOptions) {
    this.chance = options.chance;
    this.decisions = options.decisions;
    this.replicas = options.replicas;
    this.fixedAddresses = options.fixedAddresses;
    this.#isGraceful = options.isGraceful;
    this.data.publish('publish', this.data.add(options.sliceCount).id, 0);
    this.routers = Array.from({ length: options.routerCount }, (_, i) => this.#newRouter(`router ${i}`));
    if (options.isAsked) this.clock.after(500, () => this.#askEverything());
  }

  get staying(): readonly SimulatedShard[] {
    return [...this.shards.values()].filter(({ leavingSinceMs }) => leavingSinceMs === undefined);
  }

  /** Those that stay and that all others know. */
  get known(): readonly SimulatedShard[] {
    return this.staying.filter(({ bornMs }) => this.clock.nowMs - bornMs > limits.membersSettleMs);
  }

  start(name: string, address: string = this.newAddress(), leaveGraceMs: number = limits.leaveGraceDefaultMs): SimulatedShard {
    const shard = new SimulatedShard(this, { name, address, incarnation: `start ${++this.#processCount}`, leaveGraceMs });
    this.shards.set(address, shard);
    this.#membersChangedMs = this.clock.nowMs;
    const hasAlias = this.chance.happens(0.1);
    if (hasAlias) this.aliases.set(`also ${this.#processCount}:1`, address);
    this.note(`${name} starts at ${address}${hasAlias ? ' and another address' : ''}`);
    return shard;
  }

  /** Whoever listens there. */
  shardAt(address: string): SimulatedShard | undefined {
    return this.shards.get(this.aliases.get(address) ?? address);
  }

  /** For a while the shard can ask nobody else, and name servers tell it nothing. */
  cutOff(shard: SimulatedShard, forMs: number): void {
    const cut: Cut = { shard, sinceMs: this.clock.nowMs, owners: undefined };
    this.#cuts.set(shard.name, cut);
    this.note(`${shard.name} is cut off for ${Math.round(forMs)} ms`);
    this.clock.after(cutSeenMs, () => {
      // Two others at the least are silent, and more than half of all.
      if (shard.stayingKnownCount >= 3) cut.owners = shard.ownerNames;
    });
    this.clock.after(forMs, () => this.#endCut(cut));
  }

  #endCut(cut: Cut): void {
    const { shard, owners } = cut;
    if (this.#cuts.get(shard.name) !== cut) return;
    this.#cuts.delete(shard.name);
    this.#cutMs = this.clock.nowMs;
    if (owners && !shard.isGone && shard.ownerNames.join() !== owners.join())
      this.fail(`${shard.name}, cut off, took ${shard.ownerNames} for the owners, not ${owners} any more`);
  }

  /** Mostly one that nobody had before; sometimes that of a process that is gone. */
  newAddress(): string {
    const used = Array.from({ length: this.#processCount }, (_, i) => `h${i}:1`).filter((address) => !this.shards.has(address));
    return used.length > 0 && this.chance.happens(0.2) ? this.chance.oneOf(used) : `h${this.#processCount}:1`;
  }

  kill(shard: SimulatedShard): void {
    this.note(`${shard.name} is killed`);
    this.#end(shard, { isDeath: true });
  }

  /** A router dies, and another process takes its place. */
  restartRouter(router: SimulatedRouter): void {
    router.isGone = true;
    this.idleRouters.delete(router);
    this.routers[this.routers.indexOf(router)] = this.#newRouter(router.name);
    this.note(`${router.name} starts again`);
  }

  #newRouter(name: string): SimulatedRouter {
    return new SimulatedRouter(this, name, (++this.#routerCount).toString(16));
  }

  clockSkewOf(name: string): number {
    const known = this.#skews.get(name);
    const isSet = known === undefined || this.chance.happens(0.5);
    const skewMs = isSet ? this.chance.between(-clockSkewMaxMs, clockSkewMaxMs) : known;
    this.#skews.set(name, skewMs);
    return skewMs;
  }

  note(line: string): void {
    this.log.push(`${(this.clock.nowMs / 1_000).toFixed(3).padStart(9)} s  ${line}`);
  }

  /** What the name of the shards resolves to for one process; empty: nothing, or a failure. */
  resolve(self: string): readonly string[] {
    if (this.fixedAddresses.length > 0) return this.fixedAddresses;
    const { chance, clock } = this;
    const view = this.#views.get(self);
    if (view && view.untilMs > clock.nowMs) return view.addresses;
    if (this.#cuts.has(self)) return [];
    const all = [...this.shards.keys(), ...this.aliases.keys()];
    if (!chance.happens(this.weather.dnsWrong)) return all;
    const addresses = chance.happens(0.3) ? [] : all.filter(() => chance.happens(0.6));
    this.#views.set(self, { addresses, untilMs: clock.nowMs + chance.between(0, 20_000) });
    return addresses;
  }

  /** Views that are wrong are right from now on. */
  clearUp(): void {
    this.weather = fairWeather;
    this.blocked.clear();
    this.slow.clear();
    this.ailing.clear();
    for (const cut of this.#cuts.values()) this.#endCut(cut);
    this.delusions.clear();
    this.#views.clear();
    for (const router of this.routers) router.goOn();
    this.#fairSinceMs = this.clock.nowMs;
    this.note('all is quiet');
  }

  /** Carries one poll there and back. */
  send(from: string, address: string, poll: Poll): void {
    const { chance, clock, weather } = this;
    const isCut = (): boolean => this.#cuts.has(from) && this.shardAt(address)?.name !== from;
    const isLost = isCut() || this.blocked.has(`${from} ${address}`) || chance.happens(weather.lost);
    if (isLost) return clock.after(limits.pollDeadlineMs, () => poll.onSilence(false));
    clock.after(chance.between(0.5, 30), () => {
      const shard = this.shardAt(address);
      // A host that is gone says nothing, one that is there refuses.
      if (!shard) return clock.after(chance.happens(0.8) ? 1 : limits.pollDeadlineMs, () => poll.onSilence(chance.happens(0.8)));
      const report = shard.polled(poll.use);
      const slowMs = this.slow.get(`${from} ${address}`) ?? (chance.happens(weather.late) ? chance.between(800, 15_000) : 0);
      if (slowMs > 0) clock.after(limits.pollDeadlineMs, () => poll.onSilence(false));
      clock.after(slowMs + chance.between(0.5, 30), () => {
        if (!isCut()) poll.onReport(report);
      });
    });
  }

  /** Carries one key to a member; `onEnd` is called once. */
  sendKey(key: { from: string; to: string; id: string; sliceIndex: number }, onEnd: (outcome: KeyOutcome) => void): void {
    const { chance, clock } = this;
    const ailment = this.ailing.get(key.to);
    const stayUnanswered = (): void => clock.after(limits.socketSilentMs, () => onEnd('late'));
    if (ailment === 'silent' || this.blocked.has(`${key.from} ${key.to}`)) return stayUnanswered();
    clock.after(chance.between(0.2, 2), () => {
      const shard = this.shardAt(key.to);
      if (!shard && chance.happens(0.2)) return stayUnanswered();
      if (!shard || ailment === 'refuses') return onEnd('refused');
      if (ailment === 'resets' && chance.happens(0.5)) return onEnd('reset');
      const answer = ailment === 'disowns' ? 'not held' : shard.answerAbsentKey(key.id, key.sliceIndex);
      if (answer === key.id && !shard.has(key.id, key.sliceIndex))
        this.fail(`${shard.name} answers from slice ${key.sliceIndex}, which it does not hold`);
      const outcome = answer === 'not held' ? answer : { answeredId: answer };
      clock.after(ailment === 'slow' ? chance.between(20, 900) : chance.between(0.2, 2), () =>
        onEnd(ailment === 'errs' && chance.happens(0.5) ? 'wrong' : outcome),
      );
    });
  }

  hasFreed(shard: SimulatedShard, version: SimulatedVersion, sliceIndex: number): void {
    if (this.#hasCopy(version.id, sliceIndex) || this.#deathExcuses(version.id, sliceIndex)) return;
    // An old version goes as a whole, as soon as a newer one is there.
    if (this.#isSuperseded(version)) return;
    this.fail(`${shard.name} gave up the last copy of slice ${sliceIndex} of version ${short(version)}`);
  }

  hasOpened(shard: SimulatedShard): void {
    const unreadable = shard.versions.find(({ id }) => this.data.unreadable.has(id));
    if (unreadable) this.fail(`${shard.name} opens version ${short(unreadable)}, which cannot be read`);
    if (shard.versions.length > 2) this.fail(`${shard.name} holds ${shard.versions.length} versions`);
  }

  /** A router that has served another version goes to this one. */
  hasSwitched(router: SimulatedRouter, version: { readonly id: string; readonly sequence: number; readonly sliceCount: number }): void {
    const areMembersSteady = this.clock.nowMs - this.#membersChangedMs > membersSteadyMs && this.staying.length === this.shards.size;
    // One that stood still goes to whatever is whole, when its own version is gone.
    if (!this.#isGraceful || router.stoodStillLately || !areMembersSteady || !this.#isYoung(version)) return;
    for (let i = 0; i < version.sliceCount; i++) {
      const copies = this.staying.filter((shard) => shard.has(version.id, i)).length;
      if (copies < Math.min(this.replicas, this.staying.length))
        this.fail(`${router.name} serves version ${short(version)}, of which slice ${i} has ${copies} copies`);
    }
  }

  /** A router serves its first version: not before it has asked every member, and what the other routers serve, when that is whole. */
  hasStarted(
    router: SimulatedRouter,
    version: { readonly id: string; readonly sequence: number },
    { firstRoundDone }: { firstRoundDone: boolean },
  ): void {
    if (!firstRoundDone) this.fail(`${router.name} serves version ${short(version)} before it has asked every member`);
    const others = this.routers.filter((other) => other !== router && other.version && !other.stoodStillLately);
    const areAsOne = others.length > 0 && others.every(({ version }) => version!.id === others[0]!.version!.id);
    const isSteady = others.every(({ servesSinceMs }) => this.clock.nowMs - servesSinceMs > 5_000);
    if (!this.#isGraceful || !areAsOne || !isSteady || !this.#isWhole(others[0]!.version!)) return;
    if (version.id !== others[0]!.version!.id)
      this.fail(`${router.name} starts with version ${short(version)}, which no other router serves`);
  }

  /** Those that stay keep every slice of it. */
  #isWhole({ id, sliceCount }: { readonly id: string; readonly sliceCount: number }): boolean {
    const slices = Array.from({ length: sliceCount }, (_, i) => i);
    return slices.every((i) => this.staying.some((shard) => shard.find(id)?.states[i] === 'kept'));
  }

  /** `table` has taken in a report, or not; `before` is what it knew of the member. */
  hasHeard(self: string, table: MemberTable, before: KnownMember | undefined, { name, incarnation }: StatusReport): void {
    const report = table.find(name)?.report;
    const isAnother = before?.alive && before.report && report && report.incarnation !== before.report.incarnation;
    // Not by their clocks, which may be set back between the two.
    if (isAnother && startOf(report) < startOf(before.report!)) this.fail(`${self} takes an earlier start of ${name} for the later one`);
    const twins = table.members.filter((member) => member.report?.incarnation === incarnation);
    if (twins.length > 1) this.fail(`${self} takes one process for ${twins.map((twin) => twin.name).join(' and ')}`);
  }

  /** What the fewest hold is loaded first. */
  hasDecided(shard: SimulatedShard, { id }: SimulatedVersion, members: readonly MemberView[], { load }: Decision): void {
    if (load.length < 2) return;
    const reports = members
      .filter(({ name, alive }) => alive && name !== shard.name)
      .map(({ versions }) => versions.find((each) => each.id === id));
    const counts = load.map(
      (i) =>
        reports.filter((report) => report && [report.slices.kept, report.slices.loading].some((ranges) => includesSlice(ranges, i))).length,
    );
    if (counts.some((count, n) => n > 0 && count < counts[n - 1]!))
      this.fail(`${shard.name} loads slices that are held ${counts} times, in this order`);
  }

  /** Published so lately that nobody has waited in vain for it. */
  #isYoung({ sequence }: { readonly sequence: number }): boolean {
    return this.clock.nowMs - (sequence - 1_000_000) < limits.versionFlipMs;
  }

  hasDropped(shard: SimulatedShard, version: SimulatedVersion): void {
    this.note(`${shard.name} drops version ${short(version)}`);
    if (shard.versions.length === 0) this.fail(`${shard.name} dropped the only version that it had, ${short(version)}`);
    const user = this.routers.find((router) => router.version?.id === version.id && !router.stoodStillLately);
    if (this.#isGraceful && user) this.fail(`${shard.name} dropped version ${short(version)}, which ${user.name} serves`);
  }

  /** Nobody whom the router knows holds what a request is bound to. */
  needsRebinding(router: SimulatedRouter, version: { readonly id: string; readonly sequence: number }): void {
    if (!this.#isGraceful || router.stoodStillLately || !router.wasWhole) return;
    this.fail(`${router.name} must bind a request of version ${short(version)} anew, though it did not stand still`);
  }

  /** A request got no answer, though it was bound anew. */
  requestFailed(
    router: SimulatedRouter,
    request: { version: { id: string; sequence: number }; sliceIndex: number; wasWhole: boolean },
  ): void {
    if (!this.#isGraceful || !request.wasWhole) return;
    this.fail(`nobody that ${router.name} knows answers for slice ${request.sliceIndex} of version ${short(request.version)}`);
  }

  hasLoaded(shard: SimulatedShard, { id, sliceCount }: SimulatedVersion, sliceIndex: number): void {
    this.loadCount++;
    if (this.loadsOnly !== undefined && shard.name !== this.loadsOnly)
      this.fail(`${shard.name} loads slice ${sliceIndex}, though nothing happens but to ${this.loadsOnly}`);
    const cut = this.#cuts.get(shard.name);
    if (cut?.shard !== shard || !cut.owners || id !== shard.serving || this.clock.nowMs - cut.sinceMs < cutQuietMs) return;
    const placement = placeSlices({ members: cut.owners.map((name) => ({ name })), sliceCount, replicas: this.replicas });
    if (!placement[sliceIndex]!.includes(shard.name))
      this.fail(`${shard.name}, cut off, loads slice ${sliceIndex}, which belongs to others`);
  }

  hasLeft(shard: SimulatedShard, { byGrace }: { byGrace: boolean }): void {
    this.note(`${shard.name} has left${byGrace ? ' at the end of its grace' : ''}`);
    const isExcused = byGrace && (!this.#isGraceful || shard.leaveGraceMs < limits.leaveGraceDefaultMs);
    this.#end(shard, { isDeath: byGrace });
    if (isExcused || this.staying.length === 0) return;
    // In bad weather it may have seen nobody who stays.
    if (!this.#isGraceful && !byGrace && !this.#couldSeeSomebody(shard)) return;
    for (const version of shard.versions) {
      if (version.endsFromReport !== undefined || this.#isSuperseded(version)) continue;
      for (let i = 0; i < version.sliceCount; i++) {
        if (!version.has(i) || this.#hasCopy(version.id, i) || this.#deathExcuses(version.id, i)) continue;
        this.fail(`${shard.name} left with the last copy of slice ${i} of version ${short(version)}`);
      }
    }
  }

  fail(reason: string): never {
    this.note(`VIOLATION: ${reason}`);
    throw new Violation(reason);
  }

  /** What is not yet as it should be when nothing happens any more; undefined: all is. */
  unsettled(): string | undefined {
    const shards = [...this.shards.values()];
    const { id } = this.data.due!;
    const sliceCount = this.data.sliceCountOf(id);
    const placement = placeSlices({ members: shards, sliceCount, replicas: this.replicas });
    for (const shard of shards) {
      const [version, other] = shard.versions;
      if (other || version?.id !== id) return `not all hold ${id.slice(-3)} alone: ${shards.map(describeVersions).join('; ')}`;
      for (let i = 0; i < sliceCount; i++) {
        const due = placement[i]!.includes(shard.name) ? 'kept' : 'absent';
        if (version.states[i] !== due) {
          return `slice ${i} of ${shard.name} is ${version.states[i]}, not ${due}; its owners are ${shard.ownerNames.join(' ')}`;
        }
      }
    }
    for (const router of this.routers) {
      if (router.ejected.length > 0) return `${router.name} leaves ${router.ejected} alone`;
      if (router.version?.id !== id)
        return `${router.name} serves ${router.version ? short(router.version) : 'nothing'}, not ${id.slice(-3)}`;
      for (let i = 0; i < sliceCount; i++) {
        const asked = router.holdersOf(i).map(({ name }) => name);
        if (asked.toSorted().join() !== placement[i]!.toSorted().join())
          return `${router.name} asks ${asked} for slice ${i}, not ${placement[i]}`;
      }
    }
    return undefined;
  }

  /** A slice that some router cannot have answered; undefined: there is none. */
  unanswered(): string | undefined {
    for (const router of this.routers) {
      const sliceIndex = router.unanswered();
      if (sliceIndex !== undefined) return `slice ${sliceIndex} for ${router.name}`;
    }
    return undefined;
  }

  #end(shard: SimulatedShard, { isDeath }: { isDeath: boolean }): void {
    shard.isGone = true;
    this.#membersChangedMs = this.clock.nowMs;
    this.shards.delete(shard.address);
    for (const [alias, address] of this.aliases) if (address === shard.address) this.aliases.delete(alias);
    const slices = shard.versions.flatMap(({ id, states }) => states.flatMap((_, i) => (shard.has(id, i) ? `${id}/${i}` : [])));
    if (isDeath) this.#deaths.push({ atMs: this.clock.nowMs, slices });
  }

  #hasCopy(id: string, sliceIndex: number): boolean {
    for (const shard of this.shards.values()) if (shard.has(id, sliceIndex)) return true;
    return false;
  }

  #deathExcuses(id: string, sliceIndex: number): boolean {
    return this.#deaths.some(({ atMs, slices }) => this.clock.nowMs - atMs <= deathExcuseMs && slices.includes(`${id}/${sliceIndex}`));
  }

  /** Somebody holds a newer version: which one is whole is for others to say. */
  #isSuperseded({ sequence }: SimulatedVersion): boolean {
    return [...this.shards.values()].some(({ versions }) => versions.some((version) => version.sequence > sequence));
  }

  /** Somebody stays to whom nothing was in the way. */
  #couldSeeSomebody({ name }: SimulatedShard): boolean {
    const { lost, late, dnsWrong } = this.weather;
    if (lost + late + dnsWrong > 0 || this.clock.nowMs - this.#fairSinceMs < 5_000) return false;
    if (this.#cuts.has(name) || this.clock.nowMs - this.#cutMs < 5_000) return false;
    return this.staying.some(({ address }) => !this.blocked.has(`${name} ${address}`) && !this.slow.has(`${name} ${address}`));
  }

  /** Every router asks for a key that is not there, in every slice. */
  #askEverything(): void {
    for (const router of this.routers) {
      if (this.idleRouters.has(router)) continue;
      for (let i = 0; i < sliceCountMost; i++) router.ask((i + 0.5) / sliceCountMost);
    }
    this.clock.after(1_000, () => this.#askEverything());
  }
}

/** Processes are numbered as they start. */
function startOf({ incarnation }: StatusReport): number {
  return Number(incarnation.split(' ')[1]);
}
