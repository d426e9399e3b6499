// A shard's life: it waits for a published version, learns its members, loads what placement gives it, serves, gives up what others hold in
// its place, and leaves. The decisions are in owners.ts and decide.ts; here are the edges: the watch on `current`, the poller, the loader, the server.
//
//     current ──> HeldVersion <──load, yield, free── decide(held, reports, clock) <── MemberPoller <── /status of the others
//                     └──> server: POST /batch, GET /get, GET /status, health

import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Current } from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import { type HttpServer, listen } from '../shared/http-server.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { MemberPoller } from '../shared/member-poller.ts';
import { joinAddress, type MemberSource } from '../shared/member-source.ts';
import type { KnownMember } from '../shared/member-table.ts';
import { formatDuration, formatSize } from '../shared/quantities.ts';
import type { ShardState, StatusReport } from '../shared/status-report.ts';
import { type AnswerCounts, noAnswers } from './batch-answer.ts';
import { type Decision, decide, noMemory } from './decide.ts';
import { HeldVersion } from './held-version.ts';
import { followLeaving } from './leave.ts';
import { availableMemory } from './memory-plan.ts';
import { followOwners, type MemberView, noOwners, type Owners, viewOf } from './owners.ts';
import { buildShardServer } from './server.ts';
import { type CareSettings, SliceCare, usualCare } from './slice-care.ts';
import { SliceKeeper } from './slice-keeper.ts';
import type { SliceServer } from './slice-server.ts';

export type ShardOptions = {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  /** Undefined: this shard is alone. */
  readonly members: MemberSource | undefined;
  readonly name: string;
  readonly zone: string | undefined;
  readonly replicas: number;
  /** Bytes that slices, directories and cache may take; undefined: decided from the memory that there is. */
  readonly memory: number | undefined;
  /** Where the shard writes what it wants to know at its next start; undefined: nowhere. */
  readonly stateDir: string | undefined;
  /** How long a shard that closes waits, at the most, for others to hold what only it holds. */
  readonly leaveGraceMs: number;
  /** How slices are checked, healed, fetched and given to others; undefined: as usual. */
  readonly care?: CareSettings | undefined;
  readonly logLevel: string;
};

export class Shard {
  readonly name: string;
  readonly counts: AnswerCounts = noAnswers();
  readonly #options: ShardOptions;
  readonly #server: HttpServer;
  readonly #poller: MemberPoller | undefined;
  readonly #keeper: SliceKeeper;
  readonly #care: SliceCare;
  readonly #incarnation = randomBytes(8).toString('hex');
  readonly #startedMs = Date.now();
  #counter = 0;
  #current: Current | undefined;
  #versions: HeldVersion[] = [];
  #decision: Decision | undefined;
  #owners: Owners = noOwners;
  #loading = false;
  #polledAfreshMs = 0;
  /** Since when it says that it leaves; undefined: it stays. */
  #leavingSinceMs: number | undefined;
  #closing = false;
  #watchTimer: NodeJS.Timeout | undefined;
  #currentTrouble = '';
  #readyTold = false;

  constructor(options: ShardOptions) {
    this.#options = options;
    this.name = options.name;
    this.#server = buildShardServer(this, { logLevel: options.logLevel });
    const { dataDir, memory, stateDir } = options;
    const { log } = this.#server;
    this.#care = new SliceCare({
      ...(options.care ?? usualCare),
      dataDir,
      log,
      versions: () => this.#versions,
      members: () => this.#others(),
      areMembersKnown: () => !this.#poller || this.#poller.firstRoundDone,
      onChange: () => this.#careHasChanged(),
    });
    this.#keeper = new SliceKeeper({
      dataDir,
      memory,
      stateDir,
      log,
      onLoadFailed: (version, sliceIndex, reason) => this.#care.loadFailed(version, sliceIndex, reason),
      onReadFailed: (version, slice, reason) => this.#care.readFailed(version, slice, reason),
    });
    if (options.members) {
      this.#poller = new MemberPoller({
        source: options.members,
        onChange: () => this.#follow(),
        onTrouble: (error) => this.#server.log.warn(`members: ${error.message}`),
      });
    }
  }

  /** Listens, then loads in the background; resolves to the port as soon as it answers. */
  async start(): Promise<number> {
    const port = await listen(this.#server, this.#options.host, this.#options.port);
    this.#poller?.start();
    this.#care.start();
    void this.#watch();
    return port;
  }

  get log(): HttpServer['log'] {
    return this.#server.log;
  }

  get slices(): SliceServer {
    return this.#care.server;
  }

  get versions(): readonly HeldVersion[] {
    return this.#versions;
  }

  /** Each slice that placement gives it is kept or corrupt. */
  get isReady(): boolean {
    const version = this.#versions[0];
    if (!version || !this.#decision || this.#leavingSinceMs !== undefined) return false;
    return this.#decision.placed.every((sliceIndex) => {
      const state = version.stateOf(sliceIndex);
      return state === 'kept' || state === 'corrupt';
    });
  }

  status(): StatusReport & Readonly<Record<string, unknown>> {
    const version = this.#versions[0];
    const slicesPlaced = this.#decision?.placed ?? [];
    return {
      name: this.name,
      ...(this.#options.zone === undefined ? {} : { zone: this.#options.zone }),
      incarnation: this.#incarnation,
      startedMs: this.#startedMs,
      counter: ++this.#counter,
      state: this.#state,
      versions: this.#versions.map((held) => held.report()),
      current: this.#current ? { id: this.#current.id, sequence: this.#current.sequence } : null,
      placed: { slices: slicesPlaced.length, bytes: version ? bytesOf(version, slicesPlaced) : 0 },
      memory: {
        plan: this.#keeper.plan?.reason ?? null,
        slices: version?.bytesInMemory ?? 0,
        rss: process.memoryUsage.rss(),
        available: availableMemory(),
      },
      cache: version?.disk?.status() ?? null,
      keys: { ...this.counts },
      ...this.#care.status(),
    };
  }

  /** Says that it leaves, waits until the others have what they need of it, ends what is under way, and closes everything. */
  async close(): Promise<void> {
    if (this.#leavingSinceMs !== undefined) return;
    this.#leavingSinceMs = performance.now();
    this.#follow();
    await Promise.all([this.#untilReleased(), this.#keeper.saveHotKeys(this.#versions[0])]);
    this.#closing = true;
    clearTimeout(this.#watchTimer);
    await this.#poller?.close();
    await this.#keeper.close();
    await this.#care.close();
    await this.#server.close();
    for (const version of this.#versions) version.close();
  }

  get #state(): ShardState {
    return this.#leavingSinceMs !== undefined ? 'leaving' : this.isReady ? 'ready' : 'loading';
  }

  /** Looks at `current` every `currentWatchIntervalMs`, and decides afresh, since time passes for orphans too. */
  async #watch(): Promise<void> {
    try {
      await this.#followCurrent();
      this.#currentTrouble = '';
    } catch (error) {
      // An unreadable `current` changes nothing: what is served goes on being served.
      const { message } = error as Error;
      if (message !== this.#currentTrouble) this.log.error(`published version: ${message}`);
      this.#currentTrouble = message;
    }
    if (this.#closing) return;
    this.#follow();
    const [version] = this.#versions;
    if (version && version.id === this.#current?.id) void this.#care.glance(version.manifest, this.#current);
    this.#watchTimer = setTimeout(() => void this.#watch(), limits.currentWatchIntervalMs);
  }

  async #followCurrent(): Promise<void> {
    const current = await this.#care.findCurrent();
    if (!current || current.sequence === this.#current?.sequence) return;
    if (this.#versions.length > 0) {
      this.#current = current;
      if (current.id !== this.#versions[0]!.id)
        this.log.warn(`version ${current.id} is published; this shard serves ${this.#versions[0]!.id} until it is restarted`);
      return;
    }
    const manifest = await this.#care.readManifest(current.id);
    this.#current = current;
    this.#versions = [new HeldVersion(manifest, current.sequence)];
    this.log.info(`version ${manifest.id}: ${manifest.totals.entries} entries in ${manifest.identity.sliceCount} slices`);
  }

  /** Decides afresh, carries out at once what is only a matter of saying so, and sees to it that the rest is loaded. */
  #follow(): void {
    const version = this.#versions[0];
    if (!version || this.#closing || !this.#knowsMembers()) return;
    const nowMs = performance.now();
    const members = this.#memberViews(nowMs);
    const { name: self } = this;
    const isFrozen = this.#poller?.table.isFrozen(nowMs) ?? false;
    this.#owners = followOwners(this.#owners, members, { self, isFrozen, settleMs: this.#settleMs(), nowMs });
    if (!this.#owners.inForce) return;
    const { replicas } = this.#options;
    const memory = this.#decision?.memory ?? noMemory;
    this.#decision = decide({ self, replicas, members, owners: this.#owners, isFrozen, version, memory, nowMs });
    for (const sliceIndex of this.#decision.keep) version.keepAgain(sliceIndex);
    for (const sliceIndex of this.#decision.yield) version.yield(sliceIndex);
    for (const sliceIndex of this.#decision.free) version.free(sliceIndex);
    if (this.#decision.free.length > 0) this.#keeper.collect();
    this.#tellMoves(this.#decision);
    void this.#pollAfresh(this.#decision.poll, nowMs);
    void this.#loadDecided(version);
  }

  /** Loads what the last decision says, one slice at a time, and decides afresh after each. */
  async #loadDecided(version: HeldVersion): Promise<void> {
    const { load } = this.#decision!;
    if (load.length > 0 && !this.#keeper.planMemory(version, load)) return;
    version.queue(load);
    if (this.#loading) return;
    this.#loading = true;
    for (let next = this.#care.nextOf(version, load); next !== undefined && !this.#closing; ) {
      await this.#keeper.load(version, next);
      this.#follow();
      next = this.#care.nextOf(version, this.#decision!.load);
    }
    this.#loading = false;
    this.#keeper.allLoaded();
    if (this.isReady && !this.#readyTold) {
      this.#readyTold = true;
      this.log.info(`ready: ${this.#decision!.placed.length} slices, ${formatSize(version.bytesInMemory)} of them in memory`);
    }
  }

  /** What keeps a slice from being freed may be no more than that a report is some seconds old. */
  async #pollAfresh(names: readonly string[], nowMs: number): Promise<void> {
    if (names.length === 0 || nowMs - this.#polledAfreshMs < limits.pollStartIntervalMs) return;
    this.#polledAfreshMs = nowMs;
    await this.#poller!.pollAfresh(names);
    this.#follow();
  }

  #tellMoves({ yield: yielding, keep, free }: Decision): void {
    const moves = { 'to give up': yielding, 'kept again': keep, freed: free };
    const told = Object.entries(moves).flatMap(([what, slices]) => (slices.length > 0 ? `${slices.length} ${what}` : []));
    if (told.length > 0) this.log.info(`slices: ${told.join(', ')}`);
  }

  /** Without a list nobody else is there; in a fixed list that names this shard the addresses are the names. */
  get #isListed(): boolean {
    const { members } = this.#options;
    return !members || (members.kind === 'fixed' && members.addresses.includes(this.name));
  }

  #knowsMembers(): boolean {
    return this.#isListed || this.#poller!.firstRoundDone;
  }

  /**
   * How long the members must not change before a decision is about them: for shards that come together, so that a cluster that starts
   * does not load everything in the shard that came first.
   */
  #settleMs(): number {
    return this.#isListed && !this.#owners.inForce ? 0 : limits.membersSettleMs;
  }

  /** The others as they report; itself always, as it is. */
  #memberViews(nowMs: number): MemberView[] {
    const own: MemberView = {
      name: this.name,
      zone: this.#options.zone,
      alive: true,
      leavingSinceMs: this.#leavingSinceMs,
      heldOut: false,
      askedMs: nowMs,
      versions: this.#versions.map((held) => held.report()),
    };
    return [own, ...this.#others().map((member) => viewOf(member, nowMs))];
  }

  #others(): readonly KnownMember[] {
    return (this.#poller?.table.members ?? []).filter(({ name }) => name !== this.name);
  }

  /** A slice is corrupt, or can be loaded again: its memory goes, and what is to be loaded is decided afresh. */
  #careHasChanged(): void {
    if (this.#closing) return;
    this.#keeper.collect();
    this.#follow();
  }

  /** Resolves when it may leave. */
  async #untilReleased(): Promise<void> {
    const { leaveGraceMs: graceMs } = this.#options;
    const leavingSinceMs = this.#leavingSinceMs!;
    let coveredSinceMs: number | undefined;
    for (let wasTold = false; ; await pause(limits.leaveCheckIntervalMs)) {
      const nowMs = performance.now();
      const members = this.#memberViews(nowMs);
      const versions = this.#versions;
      const leaving = followLeaving({ self: this.name, members, versions, leavingSinceMs, graceMs, coveredSinceMs, nowMs });
      if (leaving.mayLeave) return;
      coveredSinceMs = leaving.coveredSinceMs;
      if (leaving.aloneCount === 0 || wasTold) continue;
      wasTold = true;
      this.log.info(`leaving: ${leaving.aloneCount} slices are kept by nobody else; waits up to ${formatDuration(graceMs)} for that`);
    }
  }
}

/** The name of a shard that was given none: its address where a fixed list has it, else the host's name. */
export function defaultName(options: {
  members: MemberSource | undefined;
  advertise: string | undefined;
  host: string;
  port: number;
  hostName: string;
}): string {
  const { members, advertise, host, port, hostName } = options;
  const address = advertise ?? joinAddress(host, port);
  if (members?.kind !== 'fixed') return hostName;
  if (members.addresses.includes(address)) return address;
  throw new PavostoreError('usage', `none of --members is this shard (${address}): say which by --advertise URL, or give it a --name`);
}

function bytesOf(version: HeldVersion, sliceIndices: readonly SliceIndex[]): number {
  const { slices } = version.manifest.identity;
  return sliceIndices.reduce((sum, sliceIndex) => sum + slices[sliceIndex]!.bytes, 0);
}
