// A shard in virtual time: the real decisions of version-plan.ts, decide.ts, owners.ts and leases.ts over a real member table; what shard.ts and
// holdings.ts do with them is done here on arrays of states.

import { isTakenBack } from '../../shard/current-watch.ts';
import { type Decision, noMemory } from '../../shard/decide.ts';
import { type MemberView, noOwners, type Owners, viewOf } from '../../shard/owners.ts';
import { noVersionMemory, type VersionMemory } from '../../shard/version-plan.ts';
import type { Current } from '../../shared/data-set.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { noPublications, type Publications } from '../../shared/publications.ts';
import type { PublishedId, StatusReport, VersionReport } from '../../shared/status-report.ts';
import type { VersionUse } from '../../shared/version-use.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import { SimulatedPoller } from './simulated-poller.ts';
import { SimulatedVersion } from './simulated-version.ts';

export class SimulatedShard {
  readonly name: string;
  readonly address: string;
  readonly incarnation: string;
  readonly startedMs: number;
  /** The same by the clock of the simulation. */
  readonly bornMs: number;
  readonly leaveGraceMs: number;
  readonly #cluster: SimulatedCluster;
  readonly #poller: SimulatedPoller;
  readonly #table;
  readonly #leases;
  /** The newest first. */
  versions: readonly SimulatedVersion[] = [];
  serving: string | undefined;
  readonly #decisions = new Map<string, Decision>();
  #versionMemory: VersionMemory = noVersionMemory;
  #current: Current | undefined;
  #publications: Publications = noPublications;
  #reports: readonly VersionReport[] = [];
  #counter = 0;
  #owners: Owners = noOwners;
  #isLoading = false;
  #isOpening = false;
  leavingSinceMs: number | undefined;
  #coveredSinceMs: number | undefined;
  isGone = false;

  constructor(cluster: SimulatedCluster, options: { name: string; address: string; incarnation: string; leaveGraceMs: number }) {
    this.#cluster = cluster;
    this.name = options.name;
    this.address = options.address;
    this.incarnation = options.incarnation;
    this.leaveGraceMs = options.leaveGraceMs;
    this.bornMs = cluster.clock.nowMs;
    // Its host's clock is its own; the table's times are not of it.
    this.startedMs = Math.round(1_000_000 + cluster.clock.nowMs + cluster.clockSkewOf(options.name));
    this.#table = cluster.decisions.newTable(cluster.fixedAddresses);
    this.#leases = cluster.decisions.newLeases(this.incarnation);
    this.#poller = new SimulatedPoller({
      cluster,
      table: this.#table,
      self: this.name,
      isGone: () => this.isGone,
      onChange: () => this.#follow(),
    });
    cluster.clock.after(cluster.chance.between(0, 100), () => this.#watch());
  }

  get ownerNames(): readonly string[] {
    return (this.#owners.inForce ?? []).map(({ name }) => name);
  }

  /** How many members stay, for all that it has heard. */
  get stayingKnownCount(): number {
    return this.#table.members.filter(({ report, leavingSinceMs }) => report && leavingSinceMs === undefined).length;
  }

  find(id: string): SimulatedVersion | undefined {
    return this.versions.find((version) => version.id === id);
  }

  /** A poll, which says which versions a router uses when it comes from one. */
  polled(use: VersionUse | undefined): StatusReport {
    if (use && this.#leases.polled(use, this.#cluster.clock.nowMs)) this.#follow();
    return this.report();
  }

  report(): StatusReport {
    const { name, incarnation, startedMs, serving } = this;
    const version = this.find(serving ?? '');
    const placed = version && this.#decisions.get(version.id)?.placed;
    const isReady = placed?.every((i) => version!.states[i] === 'kept') === true;
    const state = this.leavingSinceMs !== undefined ? 'leaving' : isReady ? 'ready' : 'loading';
    return {
      name,
      incarnation,
      startedMs,
      counter: ++this.#counter,
      state,
      versions: this.#reportVersions(),
      ...(serving === undefined ? {} : { serving }),
    };
  }

  /** It can answer from the slice of the version. */
  has(id: string, sliceIndex: number): boolean {
    return this.find(id)?.has(sliceIndex) === true;
  }

  /** A key of the slice that is not in the data is asked for: answers with the version that it looked into. */
  answerAbsentKey(id: string, sliceIndex: number): string | 'not held' {
    const version = this.#cluster.decisions.findVersion(this.versions, id);
    const { nowMs } = this.#cluster.clock;
    if (version) this.#leases.asked(version.id, nowMs);
    if (!version?.has(sliceIndex)) return 'not held';
    version.asked(sliceIndex, nowMs);
    return version.id;
  }

  leave(): void {
    if (this.leavingSinceMs !== undefined) return;
    this.leavingSinceMs = this.#cluster.clock.nowMs;
    this.#follow();
    this.#leaveWhenReleased();
  }

  #leaveWhenReleased(): void {
    const { clock, decisions } = this.#cluster;
    if (this.isGone) return;
    const { nowMs } = clock;
    const leavingSinceMs = this.leavingSinceMs!;
    const leaving = decisions.followLeaving({
      self: this.name,
      members: this.#memberViews(),
      versions: this.versions.filter(({ endsFromReport }) => endsFromReport === undefined),
      leavingSinceMs,
      graceMs: this.leaveGraceMs,
      coveredSinceMs: this.#coveredSinceMs,
      nowMs,
    });
    this.#coveredSinceMs = leaving.coveredSinceMs;
    if (leaving.mayLeave) this.#cluster.hasLeft(this, { byGrace: nowMs - leavingSinceMs >= this.leaveGraceMs });
    else clock.after(250, () => this.#leaveWhenReleased());
  }

  /** Looks at what is published, a moment after it is. */
  #watch(): void {
    if (this.isGone) return;
    const { data, clock } = this.#cluster;
    this.#current = data.current;
    this.#publications = data.publications;
    this.#follow();
    clock.after(limits.currentWatchIntervalMs, () => this.#watch());
  }

  #follow(): void {
    const { clock, decisions } = this.#cluster;
    if (this.isGone || (this.#cluster.fixedAddresses.length === 0 && !this.#poller.firstRoundDone)) return;
    const { nowMs } = clock;
    const members = this.#memberViews();
    const isFrozen = this.#table.isFrozen(nowMs);
    const isListed = this.#cluster.fixedAddresses.includes(this.name);
    const settleMs = isListed && !this.#owners.inForce ? 0 : limits.membersSettleMs;
    const delusion = this.#cluster.delusions.get(this.name)?.map((name) => ({ name, zone: undefined }));
    this.#owners = delusion
      ? { inForce: delusion, seen: delusion, seenSinceMs: nowMs }
      : decisions.followOwners(this.#owners, members, { self: this.name, isFrozen, settleMs, nowMs });
    if (!this.#owners.inForce) return;
    if (this.versions.length > 0 || this.#poller.firstRoundDone) this.#planVersions(members, isFrozen);
    for (const version of this.versions) if (version.endsFromReport === undefined) this.#decide(version, members, isFrozen);
    this.#loadNext();
  }

  #planVersions(members: readonly MemberView[], isFrozen: boolean): void {
    const { clock, decisions, data } = this.#cluster;
    const { nowMs } = clock;
    const faultOf = (id: string): string | undefined => (data.unreadable.has(id) && !this.find(id) ? 'unreadable' : undefined);
    const wanted = this.#current && decisions.wantedOf(this.#current, this.#publications, faultOf);
    const plan = decisions.planVersions({
      self: this.name,
      members,
      isFrozen,
      held: this.versions.map((version) => ({
        id: version.id,
        sequence: version.sequence,
        endsFromReport: version.endsFromReport,
        isLeased: this.#leases.has(version.id, nowMs),
        isLoaded: this.#isLoaded(version),
      })),
      wanted: wanted?.version,
      isFallback: wanted?.isFallback ?? false,
      isWithdrawn: (version) => this.#current !== undefined && isTakenBack(version, this.#current, this.#publications),
      isUnreadable: (id) => faultOf(id) !== undefined,
      haveSeen: (counter) => this.#leases.haveSeen(counter, nowMs),
      memory: this.#versionMemory,
      nowMs,
    });
    this.#versionMemory = plan.memory;
    for (const { id, sequence } of plan.relabel) this.find(id)!.sequence = sequence;
    for (const id of plan.end) this.find(id)!.end(this.#counter + 1);
    for (const id of plan.resume) this.find(id)!.end(undefined);
    this.serving = plan.serving;
    for (const id of plan.drop) this.#drop(id);
    this.#sort();
    if (plan.open) this.#open(plan.open);
  }

  #isLoaded({ id }: SimulatedVersion): boolean {
    const decision = this.#decisions.get(id);
    return decision !== undefined && (decision.load.length === 0 || this.#cluster.data.tooLarge.has(id));
  }

  #drop(id: string): void {
    const version = this.find(id)!;
    this.versions = this.versions.filter((each) => each !== version);
    this.#decisions.delete(id);
    this.#cluster.hasDropped(this, version);
  }

  #open({ id, sequence }: PublishedId): void {
    const { clock, chance, data } = this.#cluster;
    if (this.#isOpening) return;
    this.#isOpening = true;
    clock.after(chance.between(1, 50), () => {
      this.#isOpening = false;
      if (this.isGone) return;
      this.versions = [...this.versions, new SimulatedVersion({ id, sequence, sliceCount: data.sliceCountOf(id) })];
      this.#sort();
      this.#cluster.hasOpened(this);
      this.#follow();
    });
  }

  #sort(): void {
    this.versions = this.versions.toSorted((a, b) => b.sequence - a.sequence);
  }

  #decide(version: SimulatedVersion, members: readonly MemberView[], isFrozen: boolean): void {
    const { clock, decisions, replicas } = this.#cluster;
    const decision = decisions.decide({
      self: this.name,
      replicas,
      members,
      owners: this.#owners,
      isFrozen,
      version,
      memory: this.#decisions.get(version.id)?.memory ?? noMemory,
      nowMs: clock.nowMs,
    });
    this.#decisions.set(version.id, decision);
    this.#cluster.hasDecided(this, version, members, decision);
    for (const i of decision.keep) version.become(i, 'kept');
    for (const i of decision.yield) version.become(i, 'yielding');
    for (const i of decision.free) {
      const wasHere = version.has(i);
      version.become(i, 'absent');
      if (wasHere) this.#cluster.hasFreed(this, version, i);
    }
    version.isSettled = decision.placed.every((i) => version.states[i] === 'kept');
    this.#poller.pollAfresh(decision.poll);
    this.#queue(version, this.#cluster.data.tooLarge.has(version.id) ? [] : decision.load);
  }

  #queue(version: SimulatedVersion, load: readonly SliceIndex[]): void {
    for (const [i, state] of version.states.entries()) {
      if (state === 'queued' && !load.includes(i as SliceIndex)) version.become(i, 'absent');
    }
    for (const i of load) if (version.states[i] !== 'queued') version.become(i, 'queued');
  }

  #loadNext(): void {
    const next = this.#isLoading ? undefined : this.#nextLoad();
    if (!next) return;
    const { version, sliceIndex } = next;
    this.#isLoading = true;
    version.become(sliceIndex, 'loading');
    const { clock, chance, data } = this.#cluster;
    clock.after(chance.happens(0.05) ? chance.between(500, 4_000) : chance.between(20, 150), () => {
      if (this.isGone) return;
      this.#isLoading = false;
      // What was loaded for a version that is dropped meanwhile is nothing.
      if (data.isDamaged(version.id, sliceIndex)) this.#failed(version, sliceIndex);
      else version.become(sliceIndex, 'kept');
      this.#cluster.hasLoaded(this, version, sliceIndex);
      this.#follow();
    });
  }

  /** It is tried again as often as a shard tries to heal, and loaded when there is a good copy. */
  #failed(version: SimulatedVersion, sliceIndex: SliceIndex): void {
    const { clock, data } = this.#cluster;
    version.become(sliceIndex, 'corrupt');
    let delayMs: number = limits.healDelayMinMs;
    const heal = (): void => {
      if (this.isGone || !this.versions.includes(version) || version.states[sliceIndex] !== 'corrupt') return;
      delayMs = Math.min(2 * delayMs, limits.healDelayMaxMs);
      if (data.isDamaged(version.id, sliceIndex)) return clock.after(delayMs, heal);
      version.become(sliceIndex, 'absent');
      this.#follow();
    };
    clock.after(delayMs, heal);
  }

  #nextLoad(): { readonly version: SimulatedVersion; readonly sliceIndex: SliceIndex } | undefined {
    const served = this.versions.filter(({ id }) => id === this.serving);
    const others = this.versions.filter(({ id }) => id !== this.serving).toReversed();
    for (const version of [...served, ...others]) {
      const sliceIndex = this.#decisions.get(version.id)?.load.find((i) => version.states[i] === 'queued');
      if (sliceIndex !== undefined && version.endsFromReport === undefined) return { version, sliceIndex };
    }
    return undefined;
  }

  #memberViews(): MemberView[] {
    const { nowMs } = this.#cluster.clock;
    const own: MemberView = {
      name: this.name,
      zone: undefined,
      alive: true,
      leavingSinceMs: this.leavingSinceMs,
      heldOut: false,
      askedMs: nowMs,
      versions: this.#reportVersions(),
      serving: this.serving,
    };
    const others = this.#table.members.filter(({ name }) => name !== this.name);
    return [own, ...others.map((member) => viewOf(member, nowMs))];
  }

  /** The same list as long as nothing has changed. */
  #reportVersions(): readonly VersionReport[] {
    const { nowMs } = this.#cluster.clock;
    const reports = this.versions.map((version) => version.report(this.#leases.has(version.id, nowMs)));
    const isSame = reports.length === this.#reports.length && reports.every((report, i) => report === this.#reports[i]);
    if (!isSame) this.#reports = reports;
    return this.#reports;
  }
}
