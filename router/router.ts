// A router's life: it learns the members, chooses the version to serve, follows their reports, and answers. It holds no state
// that another router would need: any number of them agree without talking.
//
//     /status of each shard ──> MemberPoller ──> chooseVersion ──> RoutedVersion (slice ─> holders)
//     client ──> server ──> KeyLookup ──> LookupEngine ──> MemberLane ──POST /batch──> shard

import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { availableMemory } from '../shared/available-memory.ts';
import { type HttpServer, listen } from '../shared/http-server.ts';
import { limits } from '../shared/limits.ts';
import { LoopDelay } from '../shared/loop-delay.ts';
import { MemberPoller } from '../shared/member-poller.ts';
import type { MemberSource } from '../shared/member-source.ts';
import type { Member } from '../shared/member-table.ts';
import { OwedMemory } from '../shared/owed-memory.ts';
import { countSlices } from '../shared/slice-ranges.ts';
import { Admission, owedSizeMaxFor } from './admission.ts';
import { LookupEngine } from './lookup-engine.ts';
import { RoutedVersion, reportOf } from './routed-version.ts';
import { buildRouterServer } from './server.ts';
import { type ChoiceMemory, chooseVersion, noChoiceMemory, type VersionCandidate } from './version-choice.ts';
import { versionNews } from './version-news.ts';
import type { WorkerLink, WorkerReport } from './worker-link.ts';

export type RouterOptions = {
  readonly host: string;
  readonly port: number;
  readonly members: MemberSource;
  readonly deadlineMs: number;
  /** Of the cache of hot answers, in bytes; 0 turns it off. */
  readonly cacheSize: number;
  /** How long it serves on when it closes, not ready; by default, and at 0, its connections end at once. */
  readonly drainMs?: number;
  /** How many share the memory of this machine or container with it, itself included; by default it is alone. */
  readonly workers?: number;
  /** When it is one of several behind one port. */
  readonly workerLink?: WorkerLink | undefined;
  readonly logLevel: string;
};

export class Router {
  readonly engine: LookupEngine;
  readonly admission: Admission;
  readonly #options: RouterOptions;
  readonly #server: HttpServer;
  readonly #poller: MemberPoller;
  readonly #loopDelay = new LoopDelay();
  readonly #startedMs = performance.now();
  /** Of this start: what shards know its leases by. */
  readonly #incarnation = randomBytes(8).toString('hex');
  #version: RoutedVersion | undefined;
  /** Versions before it, as long as requests that were bound to them are under way. */
  #retiring: readonly RoutedVersion[] = [];
  #choiceMemory: ChoiceMemory = noChoiceMemory;
  /** Resolves when it serves a version, or knows that there is none yet. */
  readonly #learned = Promise.withResolvers<void>();
  /** Called once when another version is served. */
  readonly #untilSwitched = new Set<() => void>();
  #askedAnewMs = Number.NEGATIVE_INFINITY;
  /** Where the polls have no answer from. */
  readonly #lostAddresses = new Set<string>();
  /** It says that it is not ready, and serves on for a while. */
  #leaving = false;
  #tickTimer: NodeJS.Timeout | undefined;
  #degradedTold = '';
  #stateTold = '';
  #closing = false;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.#poller = new MemberPoller({
      source: options.members,
      onChange: () => this.#follow(),
      onTrouble: (error) => this.log.warn(`members: ${error.message}`),
      versionUse: () => ({ router: this.#incarnation, versionIds: this.#versionsInUse().map(({ id }) => id) }),
    });
    this.engine = new LookupEngine({
      deadlineMs: options.deadlineMs,
      cacheSize: options.cacheSize,
      onRefused: (address) => this.#poller.pollNow(address),
      onNotHeld: () => this.#askAnew(),
    });
    const owed = new OwedMemory(owedSizeMaxFor(availableMemory(), options.workers ?? 1));
    this.admission = new Admission(this.engine, { owed });
    const goodbyeMs = options.drainMs ? limits.goodbyeMs : 0;
    this.#server = buildRouterServer(this, { logLevel: options.logLevel, goodbyeMs });
  }

  /**
   * Learns the members, then listens: when it has a version to serve or knows that there is none yet, in any case after `listenWaitMs`. A router that
   * comes back behind a load balancer would else answer 503 to what another one could have answered. Resolves to the port as soon as it answers.
   */
  async start(): Promise<number> {
    this.#poller.start();
    this.#loopDelay.start();
    this.#tickTimer = setInterval(() => this.#follow(), limits.pollIntervalMs);
    this.#options.workerLink?.start(() => this.#workerReport());
    const waitTimer = setTimeout(() => {
      // A version that is held in part is served after `versionWaitMs`: before this, but the tick that would see it may come later.
      this.#follow();
      this.#learned.resolve();
    }, limits.listenWaitMs);
    await this.#learned.promise;
    clearTimeout(waitTimer);
    return await listen(this.#server, this.#options.host, this.#options.port);
  }

  get log(): HttpServer['log'] {
    return this.#server.log;
  }

  get version(): RoutedVersion | undefined {
    return this.#version;
  }

  /** It serves some version, even partly. */
  get isReady(): boolean {
    return this.#version !== undefined && !this.#leaving;
  }

  status(): Readonly<Record<string, unknown>> {
    const version = this.#version;
    const absent = version?.absentSlices() ?? {};
    return {
      state: this.#state,
      ...this.#workers(),
      degraded: this.#isDegraded,
      version: version ? { id: version.id, sequence: version.sequence, sliceCount: version.sliceCount } : null,
      ...versionNews(version, this.#poller.table.members),
      slicesAbsent: absent,
      members: this.#poller.table.members.map((member) => this.#describe(member)),
      keys: this.#keyCounts(),
      cache: { bytes: this.engine.hotAnswers.size, entries: this.engine.hotAnswers.entryCount, ...this.engine.hotAnswers.counts },
      memory: memoryOfProcess(),
      answersDue: this.admission.owed.report(),
      eventLoop: this.#loopDelay.report(),
      uptimeSeconds: this.#uptimeSeconds(),
    };
  }

  /** Says that it is not ready and serves on for `drainMs`; then ends what is under way, and closes everything. */
  async close(): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    if (this.#options.drainMs) await pause(this.#options.drainMs);
    this.#closing = true;
    clearInterval(this.#tickTimer);
    this.#loopDelay.close();
    this.#options.workerLink?.close();
    await this.#server.close();
    await this.#poller.close();
    await this.engine.close();
  }

  get #state(): string {
    return this.#leaving ? 'leaving' : this.#version ? 'ready' : 'waiting';
  }

  /** Some keys, or all of them, cannot be answered. */
  get #isDegraded(): boolean {
    return !this.#version || Object.keys(this.#version.absentSlices()).length > 0;
  }

  #uptimeSeconds(): number {
    return Math.round((performance.now() - this.#startedMs) / 1000);
  }

  #keyCounts(): Readonly<Record<string, number>> {
    const { pending, sentTwice, retryAllowance, counts } = this.engine;
    return { pending, sentTwice, retryAllowance, ...counts };
  }

  /** Which of the workers behind this port answers, and what all of them say of themselves. */
  #workers(): { worker?: number; workers?: readonly WorkerReport[] } {
    const { workerLink } = this.#options;
    return workerLink ? { worker: workerLink.worker, workers: workerLink.reports(this.#workerReport()) } : {};
  }

  #workerReport(): WorkerReport {
    return {
      worker: this.#options.workerLink!.worker,
      pid: process.pid,
      state: this.#state,
      degraded: this.#isDegraded,
      version: this.#version ? { id: this.#version.id, sequence: this.#version.sequence } : null,
      uptimeSeconds: this.#uptimeSeconds(),
      keys: this.#keyCounts(),
      memory: memoryOfProcess(),
      answersDue: this.admission.owed.report(),
      eventLoop: this.#loopDelay.report(),
    };
  }

  /** Brings version and routes up to what the members report now. */
  #follow(): void {
    if (this.#closing) return;
    const { members } = this.#poller.table;
    const { firstRoundDone } = this.#poller;
    const { chosen, isPending, memory } = chooseVersion({
      serving: this.#version,
      members,
      firstRoundDone,
      memory: this.#choiceMemory,
      nowMs: performance.now(),
    });
    this.#choiceMemory = memory;
    if (chosen && chosen.id === this.#version?.id) this.#version.sequence = chosen.sequence;
    else if (chosen) this.#serve(chosen, members);
    for (const version of this.#versionsInUse()) version.follow(members, ({ address }) => this.engine.laneTo(address));
    const addresses = new Set(members.map(({ address }) => address));
    this.engine.keepLanes(addresses);
    this.#noteReturned(members, addresses);
    if (!isPending) this.#learned.resolve();
    this.#tellDegraded();
    this.#tellParent();
  }

  #tellParent(): void {
    const { workerLink } = this.#options;
    const told = `${this.#state} ${this.#isDegraded} ${this.#version?.sequence}`;
    if (!workerLink || told === this.#stateTold) return;
    this.#stateTold = told;
    workerLink.tell();
  }

  /** A member that the polls had lost and hear again is worth a try at once. */
  #noteReturned(members: readonly Member[], addresses: ReadonlySet<string>): void {
    for (const address of this.#lostAddresses) if (!addresses.has(address)) this.#lostAddresses.delete(address);
    for (const { address, alive } of members) {
      if (!alive) this.#lostAddresses.add(address);
      else if (this.#lostAddresses.delete(address)) this.engine.laneTo(address).cameBack();
    }
  }

  /** Requests that are admitted from now on bind this version; those under way keep theirs. */
  #serve(chosen: VersionCandidate, members: readonly Member[]): void {
    if (this.#version) this.#retiring = [...this.#retiring, this.#version];
    const version = new RoutedVersion(chosen);
    version.follow(members, ({ address }) => this.engine.laneTo(address));
    this.#version = version;
    this.engine.serve(version);
    for (const resolve of this.#untilSwitched) resolve();
    this.log.info(`serves version ${chosen.id}, ${chosen.covered} of ${chosen.sliceCount} slices held`);
  }

  /** What this router must be able to ask for: the version that it serves, and those that requests under way are bound to. */
  #versionsInUse(): readonly RoutedVersion[] {
    this.#retiring = this.#retiring.filter(({ pending }) => pending > 0);
    return this.#version ? [this.#version, ...this.#retiring] : [];
  }

  /** The members hold nothing of what is served: asks them all, until it is clear what they hold; not more often than polls may be. */
  async #askAnew(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#askedAnewMs < limits.pollStartIntervalMs) return;
    this.#askedAnewMs = nowMs;
    const { promise: switched, resolve } = Promise.withResolvers<void>();
    this.#untilSwitched.add(resolve);
    await Promise.race([this.#poller.pollAllAfresh(), switched]);
    this.#untilSwitched.delete(resolve);
  }

  #tellDegraded(): void {
    if (!this.#version) return;
    const told = Object.entries(this.#version.absentSlices())
      .map(([code, ranges]) => `${countSlices(ranges)} ${code}`)
      .join(', ');
    if (told === this.#degradedTold) return;
    this.#degradedTold = told;
    const isStarting = this.#poller.table.members.some(({ report }) => !report || report.state === 'loading');
    if (told) this.log[isStarting ? 'info' : 'warn'](`degraded: slices without a holder: ${told}`);
    else this.log.info('every slice has a holder');
  }

  #describe(member: Member): Readonly<Record<string, unknown>> {
    const version = this.#version;
    const report = version && reportOf(member, version.id, version.sliceCount);
    const lane = this.engine.lanes.find(({ address }) => address === member.address);
    return {
      name: member.name,
      address: member.address,
      alive: member.alive,
      state: member.report?.state ?? 'unknown',
      slicesKept: report ? countSlices(report.slices.kept) : 0,
      keysWaiting: lane?.waiting ?? 0,
      batchesInFlight: lane?.batchesInFlight ?? 0,
      ejectedFor: lane?.health.ejectedFor ?? null,
      isGone: lane?.isGone ?? false,
      latencyMs: lane?.health.latencyMs ?? null,
      ...lane?.counts,
      ...lane?.health.counts,
    };
  }
}

/** In bytes. What grows in `heapUsed` until the next collection is no leak; what grows elsewhere does not wait for one. */
function memoryOfProcess(): NonNullable<WorkerReport['memory']> {
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  return { rss, heapUsed, external, arrayBuffers };
}
