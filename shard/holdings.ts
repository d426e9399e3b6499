// What this shard holds: at most two versions, and slices of each. Carries out what version-plan.ts decides about versions and decide.ts about the
// slices of each, over what is published (current-watch.ts) and what routers use (leases.ts), by way of the slice keeper.
//
// One slice is loaded at a time: those of the version that is served come first, then those of older ones, then those of the next.

import { availableMemory } from '../shared/available-memory.ts';
import type { Current } from '../shared/data-set.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { formatSize } from '../shared/quantities.ts';
import type { PublishedId, RefusedVersion, VersionReport } from '../shared/status-report.ts';
import type { VersionUse } from '../shared/version-use.ts';
import { CurrentWatch, type VersionDoor } from './current-watch.ts';
import { type Decision, decide, noMemory } from './decide.ts';
import { HeldVersion } from './held-version.ts';
import { Leases } from './leases.ts';
import type { MemberView, Owners } from './owners.ts';
import { SliceKeeper, type SliceKeeperOptions } from './slice-keeper.ts';
import { noVersionMemory, planVersions, type VersionMemory } from './version-plan.ts';

/** What the shard knows of everybody at one moment. */
export type Situation = {
  readonly self: string;
  readonly replicas: number;
  /** This shard among them. */
  readonly members: readonly MemberView[];
  readonly owners: Owners;
  readonly isFrozen: boolean;
  /** Every member has been asked once: what they serve is known. */
  readonly haveMembersSpoken: boolean;
  /** The counter of the shard's next report. */
  readonly reportNext: number;
  readonly nowMs: number;
};

export type HoldingsOptions = SliceKeeperOptions & {
  /** Of the shard's process, as its reports name it. */
  readonly incarnation: string;
  readonly door: VersionDoor;
  /** Its file is not here: what is here is loaded before it. */
  readonly isMissing: (version: HeldVersion, sliceIndex: SliceIndex) => boolean;
  /** Something is held that was not, or is loaded: decide afresh. */
  readonly onChange: () => void;
};

export class Holdings {
  readonly #options: HoldingsOptions;
  readonly #watch: CurrentWatch;
  readonly #leases: Leases;
  readonly #keeper: SliceKeeper;
  /** The newest first. */
  #versions: readonly HeldVersion[] = [];
  #serving: HeldVersion | undefined;
  readonly #decisions = new Map<string, Decision>();
  #versionMemory: VersionMemory = noVersionMemory;
  #isOpening = false;
  #isLoading = false;
  #readyTold = '';
  #refusedTold = '';
  #troubleTold = '';
  #closing = false;

  constructor(options: HoldingsOptions) {
    this.#options = options;
    this.#watch = new CurrentWatch(options.dataDir, options.door);
    this.#leases = new Leases(options.incarnation);
    this.#keeper = new SliceKeeper(options);
  }

  get versions(): readonly HeldVersion[] {
    return this.#versions;
  }

  /** What is served, as far as is known here; undefined while nothing is held. */
  get serving(): HeldVersion | undefined {
    return this.#serving;
  }

  get current(): PublishedId | undefined {
    const { current } = this.#watch;
    return current && { id: current.id, sequence: current.sequence };
  }

  /** What was to be served and is not, and why. */
  get refused(): readonly RefusedVersion[] {
    const short = this.#versions.flatMap((version) => {
      const why = this.#keeper.shortageOf(version);
      return why === undefined ? [] : { id: version.id, sequence: version.sequence, why };
    });
    return [...this.#watch.wanted.refused, ...short];
  }

  /** The slices of the served version that placement gives this shard. */
  get placed(): readonly SliceIndex[] {
    return (this.#serving && this.#decisions.get(this.#serving.id)?.placed) ?? [];
  }

  /** Each slice of the served version that placement gives it is kept or corrupt. */
  get isReady(): boolean {
    const version = this.#serving;
    if (!version || !this.#decisions.has(version.id)) return false;
    return this.placed.every((i) => version.stateOf(i) === 'kept' || version.stateOf(i) === 'corrupt');
  }

  /** Versions that routers use go by the leases of now. */
  reports(nowMs: number): readonly VersionReport[] {
    return this.#versions.map((version) => version.report({ inUse: this.#leases.has(version.id, nowMs) }));
  }

  /** A router says with a poll which versions it uses. */
  polled(use: VersionUse): void {
    const namesOthers = this.#leases.polled(use, performance.now());
    // It may be the last one that an ending version waits for.
    if (namesOthers || this.#versions.some(({ endsFromReport }) => endsFromReport !== undefined)) this.#options.onChange();
  }

  /** A batch asks for the version. */
  asked(version: HeldVersion): void {
    this.#leases.asked(version.id, performance.now());
  }

  /** Looks at what is published. */
  async look(): Promise<void> {
    await this.#watch.look(new Set(this.#versions.map(({ id }) => id)));
    const { trouble } = this.#watch;
    // What is served goes on being served.
    if (trouble !== '' && trouble !== this.#troubleTold) this.#options.log.error(`published version: ${trouble}`);
    this.#troubleTold = trouble;
    const { version, isFallback, refused: list } = this.#watch.wanted;
    const refused = list.map(({ id, why }) => `version ${id} is refused: ${why}`).join('; ');
    const instead = isFallback ? `; ${version ? `the one before it, ${version.id}, is served` : 'nor is the one before it'}` : '';
    if (refused !== '' && refused !== this.#refusedTold) this.#options.log.error(refused + instead);
    this.#refusedTold = refused;
  }

  /** Decides afresh, carries out at once what is only a matter of saying so, and sees to it that the rest is loaded. Returns whom to poll afresh. */
  follow(situation: Situation): readonly string[] {
    if (this.#versions.length > 0 || situation.haveMembersSpoken) this.#planVersions(situation);
    const names = new Set<string>();
    for (const version of this.#versions) {
      if (version.endsFromReport !== undefined) continue;
      for (const name of this.#decide(version, situation)) names.add(name);
    }
    this.#keeper.closeIdle();
    void this.#loadDecided();
    return [...names];
  }

  /** The version that is published, when it is held, and what names it. */
  get published(): { readonly version: HeldVersion; readonly current: Current } | undefined {
    const { current } = this.#watch;
    const version = current && this.#versions.find(({ id }) => id === current.id);
    return version && { version, current };
  }

  /** Gives the memory of dropped slices back. */
  collect(): void {
    this.#keeper.collect();
  }

  /** A hint for the next start. */
  async saveHotKeys(): Promise<void> {
    await this.#keeper.saveHotKeys();
  }

  status(): Readonly<Record<string, unknown>> {
    const { placed } = this;
    const { slices } = this.#serving?.manifest.identity ?? { slices: [] };
    const next = this.#versions.find((version) => this.#serving && version.sequence > this.#serving.sequence);
    return {
      next: next ? this.#progressOf(next) : null,
      currentTrouble: this.#watch.trouble === '' ? null : this.#watch.trouble,
      placed: { slices: placed.length, bytes: placed.reduce((sum, i) => sum + slices[i]!.bytes, 0) },
      memory: {
        plan: (this.#serving && this.#keeper.planOf(this.#serving)?.reason) ?? null,
        slices: this.#versions.reduce((sum, version) => sum + version.bytesInMemory, 0),
        rss: process.memoryUsage.rss(),
        available: availableMemory(),
      },
      cache: this.#keeper.cacheStatus(),
      leases: { routers: this.#leases.routerCount },
    };
  }

  /** Loads nothing any more, and answers on. */
  async stopLoading(): Promise<void> {
    this.#closing = true;
    await this.#keeper.stopLoading();
  }

  /** Drops everything; the server must not ask any more. */
  close(): void {
    this.#keeper.close();
  }

  #planVersions({ self, members, isFrozen, reportNext, nowMs }: Situation): void {
    const plan = planVersions({
      self,
      members,
      isFrozen,
      held: this.#versions.map((version) => ({
        id: version.id,
        sequence: version.sequence,
        endsFromReport: version.endsFromReport,
        isLeased: this.#leases.has(version.id, nowMs),
        isLoaded: this.#isLoaded(version),
      })),
      wanted: this.#watch.wanted.version,
      isFallback: this.#watch.wanted.isFallback,
      isWithdrawn: (version) => this.#watch.isWithdrawn(version),
      isUnreadable: (id) => this.#watch.isUnreadable(id),
      haveSeen: (counter) => this.#leases.haveSeen(counter, nowMs),
      memory: this.#versionMemory,
      nowMs,
    });
    this.#versionMemory = plan.memory;
    const named = (id: string): HeldVersion => this.#versions.find((version) => version.id === id)!;
    for (const { id, sequence } of plan.relabel) named(id).sequence = sequence;
    for (const id of plan.end) this.#end(named(id), { reportNext, isStuck: plan.stuck.includes(id) });
    for (const id of plan.resume) named(id).endsFromReport = undefined;
    this.#serving = plan.serving === undefined ? undefined : named(plan.serving);
    if (plan.drop.length > 0) this.#drop(plan.drop);
    if (plan.relabel.length > 0) this.#hold(this.#versions);
    if (plan.open) void this.#open(plan.open);
  }

  #end(version: HeldVersion, { reportNext, isStuck }: { reportNext: number; isStuck: boolean }): void {
    version.endsFromReport = reportNext;
    if (isStuck) this.#options.log.warn(`version ${version.id} is left out: it cannot be whole, and a newer one is published`);
  }

  #isLoaded(version: HeldVersion): boolean {
    const decision = this.#decisions.get(version.id);
    return decision !== undefined && (decision.load.length === 0 || this.#keeper.shortageOf(version) !== undefined);
  }

  #drop(ids: readonly string[]): void {
    for (const id of ids) {
      this.#decisions.delete(id);
      this.#options.log.info(`version ${id} is dropped: its memory is free`);
    }
    this.#hold(this.#versions.filter(({ id }) => !ids.includes(id)));
  }

  #hold(versions: readonly HeldVersion[]): void {
    this.#versions = versions.toSorted((a, b) => b.sequence - a.sequence);
    this.#keeper.hold(this.#versions);
  }

  async #open({ id, sequence }: PublishedId): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    try {
      const manifest = await this.#watch.takeManifest(id);
      if (this.#closing) return;
      const { totals, identity } = manifest;
      this.#options.log.info(`version ${id}: ${totals.entries} entries in ${identity.sliceCount} slices`);
      this.#hold([...this.#versions, new HeldVersion(manifest, sequence)]);
    } catch (error) {
      this.#options.log.error(`version ${id} is not loaded: ${(error as Error).message}`);
    } finally {
      this.#isOpening = false;
      this.#options.onChange();
    }
  }

  /** About the slices of one version; returns whom to poll afresh. */
  #decide(version: HeldVersion, { self, replicas, members, owners, isFrozen, nowMs }: Situation): readonly string[] {
    const memory = this.#decisions.get(version.id)?.memory ?? noMemory;
    const decision = decide({ self, replicas, members, owners, isFrozen, version, memory, nowMs });
    this.#decisions.set(version.id, decision);
    for (const sliceIndex of decision.keep) version.keepAgain(sliceIndex);
    for (const sliceIndex of decision.yield) version.yield(sliceIndex);
    for (const sliceIndex of decision.free) version.free(sliceIndex);
    if (decision.free.length > 0) this.#keeper.collect();
    version.isSettled = decision.placed.every((sliceIndex) => version.stateOf(sliceIndex) === 'kept');
    const hasMemory = decision.load.length === 0 || this.#keeper.planMemory(version, decision.load);
    version.queue(hasMemory ? decision.load : []);
    this.#tellMoves(decision);
    return decision.poll;
  }

  /** Loads what the last decisions say, one slice at a time, and decides afresh after each. */
  async #loadDecided(): Promise<void> {
    if (this.#isLoading) return;
    this.#isLoading = true;
    for (let next = this.#nextLoad(); next && !this.#closing; next = this.#nextLoad()) {
      await this.#keeper.load(next.version, next.sliceIndex);
      this.#options.onChange();
    }
    let hasMore = true;
    while (hasMore && !this.#closing && !this.#nextLoad()) hasMore = await this.#keeper.bringBack();
    this.#isLoading = false;
    if (this.#nextLoad() && !this.#closing) return this.#options.onChange();
    this.#tellReady();
  }

  #nextLoad(): { readonly version: HeldVersion; readonly sliceIndex: SliceIndex } | undefined {
    const others = this.#versions.filter((version) => version !== this.#serving).toReversed();
    for (const version of this.#serving ? [this.#serving, ...others] : others) {
      const queued = (this.#decisions.get(version.id)?.load ?? []).filter((i) => version.stateOf(i) === 'queued');
      const sliceIndex = queued.find((i) => !this.#options.isMissing(version, i)) ?? queued[0];
      if (sliceIndex !== undefined && version.endsFromReport === undefined) return { version, sliceIndex };
    }
    return undefined;
  }

  #tellReady(): void {
    const version = this.#serving;
    if (!version || !this.isReady || this.#readyTold === version.id) return;
    this.#readyTold = version.id;
    this.#options.log.info(
      `ready: ${this.placed.length} slices of version ${version.id}, ${formatSize(version.bytesInMemory)} of them in memory`,
    );
  }

  #tellMoves({ yield: yielding, keep, free }: Decision): void {
    const moves = { 'to give up': yielding, 'kept again': keep, freed: free };
    const told = Object.entries(moves).flatMap(([what, slices]) => (slices.length > 0 ? `${slices.length} ${what}` : []));
    if (told.length > 0) this.#options.log.info(`slices: ${told.join(', ')}`);
  }

  #progressOf(version: HeldVersion): Readonly<Record<string, unknown>> {
    const placed = this.#decisions.get(version.id)?.placed ?? [];
    const kept = placed.filter((sliceIndex) => version.stateOf(sliceIndex) === 'kept').length;
    const plan = this.#keeper.planOf(version)?.reason ?? this.#keeper.shortageOf(version) ?? null;
    return { id: version.id, sequence: version.sequence, slicesKept: kept, slicesPlaced: placed.length, plan };
  }
}
