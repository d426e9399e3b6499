// A shard's life: it learns its members, holds what is published and placement gives it, serves, gives up what others hold in its place, and
// leaves. What it holds is in holdings.ts; here are the edges: the poller, the clock, the server.
//
//     current ──> Holdings: two HeldVersions <──open, drop, load, yield, free── decisions(held, reports, clock) <── MemberPoller <── /status of the others
//                     └──> server: POST /batch, GET /get, GET /status, health

import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { PavostoreError } from '../shared/errors.ts';
import { type HttpServer, listen } from '../shared/http-server.ts';
import { limits } from '../shared/limits.ts';
import { LoopDelay } from '../shared/loop-delay.ts';
import { MemberPoller } from '../shared/member-poller.ts';
import { joinAddress, type MemberSource } from '../shared/member-source.ts';
import type { KnownMember } from '../shared/member-table.ts';
import { formatDuration } from '../shared/quantities.ts';
import type { ShardState, StatusReport } from '../shared/status-report.ts';
import type { VersionUse } from '../shared/version-use.ts';
import { type AnswerCounts, noAnswers } from './batch-answer.ts';
import type { HeldVersion } from './held-version.ts';
import { Holdings } from './holdings.ts';
import { followLeaving } from './leave.ts';
import { followOwners, type MemberView, noOwners, type Owners, viewOf } from './owners.ts';
import { buildShardServer } from './server.ts';
import { type CareSettings, SliceCare, usualCare } from './slice-care.ts';
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
  readonly #holdings: Holdings;
  readonly #care: SliceCare;
  readonly #incarnation = randomBytes(8).toString('hex');
  readonly #loopDelay = new LoopDelay();
  readonly #startedMs = Date.now();
  #counter = 0;
  #owners: Owners = noOwners;
  #polledAfreshMs = 0;
  /** Since when it says that it leaves; undefined: it stays. */
  #leavingSinceMs: number | undefined;
  #closing = false;
  #watchTimer: NodeJS.Timeout | undefined;

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
      versions: () => this.#holdings.versions,
      members: () => this.#others(),
      areMembersKnown: () => !this.#poller || this.#poller.firstRoundDone,
      onChange: () => {
        this.#holdings.collect();
        this.#follow();
      },
    });
    this.#holdings = new Holdings({
      dataDir,
      memory,
      stateDir,
      incarnation: this.#incarnation,
      log,
      door: this.#care.versionDoor,
      isMissing: (version, sliceIndex) => this.#care.isMissing(version, sliceIndex),
      onLoadFailed: (version, sliceIndex, reason) => this.#care.loadFailed(version, sliceIndex, reason),
      onReadFailed: (slice, reason) => this.#care.readFailed(slice, reason),
      onChange: () => this.#follow(),
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
    this.#loopDelay.start();
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
    return this.#holdings.versions;
  }

  get serving(): HeldVersion | undefined {
    return this.#holdings.serving;
  }

  polled(use: VersionUse): void {
    this.#holdings.polled(use);
  }

  asked(version: HeldVersion): void {
    this.#holdings.asked(version);
  }

  /** Each slice of the served version that placement gives it is kept or corrupt. */
  get isReady(): boolean {
    return this.#leavingSinceMs === undefined && this.#holdings.isReady;
  }

  status(): StatusReport & Readonly<Record<string, unknown>> {
    const { current, serving, refused } = this.#holdings;
    return {
      name: this.name,
      ...(this.#options.zone === undefined ? {} : { zone: this.#options.zone }),
      incarnation: this.#incarnation,
      startedMs: this.#startedMs,
      counter: ++this.#counter,
      state: this.#state,
      versions: this.#holdings.reports(performance.now()),
      current: current ?? null,
      serving: serving?.id ?? null,
      refused,
      ...this.#holdings.status(),
      keys: { ...this.counts },
      eventLoop: this.#loopDelay.report(),
      ...this.#care.status(),
    };
  }

  /** Says that it leaves, waits until the others have what they need of it, ends what is under way, and closes everything. */
  async close(): Promise<void> {
    if (this.#leavingSinceMs !== undefined) return;
    this.#leavingSinceMs = performance.now();
    this.#follow();
    await Promise.all([this.#untilReleased(), this.#holdings.saveHotKeys()]);
    this.#closing = true;
    clearTimeout(this.#watchTimer);
    this.#loopDelay.close();
    await this.#poller?.close();
    await this.#holdings.stopLoading();
    await this.#care.close();
    await this.#server.close();
    this.#holdings.close();
  }

  get #state(): ShardState {
    return this.#leavingSinceMs !== undefined ? 'leaving' : this.isReady ? 'ready' : 'loading';
  }

  /** Looks at `current` every `currentWatchIntervalMs`, and decides afresh, since time passes for orphans too. */
  async #watch(): Promise<void> {
    await this.#holdings.look();
    if (this.#closing) return;
    this.#follow();
    const { published } = this.#holdings;
    if (published) void this.#care.glance(published.version.manifest, published.current);
    this.#watchTimer = setTimeout(() => void this.#watch(), limits.currentWatchIntervalMs);
  }

  /** Decides afresh about all that is held. */
  #follow(): void {
    if (this.#closing || !this.#knowsMembers()) return;
    const nowMs = performance.now();
    const members = this.#memberViews(nowMs);
    const { name: self } = this;
    const isFrozen = this.#poller?.table.isFrozen(nowMs) ?? false;
    this.#owners = followOwners(this.#owners, members, { self, isFrozen, settleMs: this.#settleMs(), nowMs });
    if (!this.#owners.inForce) return;
    const { replicas } = this.#options;
    const haveMembersSpoken = this.#poller?.firstRoundDone ?? true;
    const situation = { self, replicas, members, owners: this.#owners, isFrozen, haveMembersSpoken, reportNext: this.#counter + 1, nowMs };
    const names = this.#holdings.follow(situation);
    void this.#pollAfresh(names, nowMs);
  }

  /** What keeps a slice from being freed may be no more than that a report is some seconds old. */
  async #pollAfresh(names: readonly string[], nowMs: number): Promise<void> {
    if (names.length === 0 || nowMs - this.#polledAfreshMs < limits.pollStartIntervalMs) return;
    this.#polledAfreshMs = nowMs;
    await this.#poller!.pollAfresh(names);
    this.#follow();
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
      versions: this.#holdings.reports(nowMs),
      serving: this.#holdings.serving?.id,
    };
    return [own, ...this.#others().map((member) => viewOf(member, nowMs))];
  }

  #others(): readonly KnownMember[] {
    return (this.#poller?.table.members ?? []).filter(({ name }) => name !== this.name);
  }

  /** Resolves when it may leave. */
  async #untilReleased(): Promise<void> {
    const { leaveGraceMs: graceMs } = this.#options;
    const leavingSinceMs = this.#leavingSinceMs!;
    let coveredSinceMs: number | undefined;
    for (let wasTold = false; ; await pause(limits.leaveCheckIntervalMs)) {
      const nowMs = performance.now();
      const members = this.#memberViews(nowMs);
      const versions = this.#holdings.versions.filter(({ endsFromReport }) => endsFromReport === undefined);
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
