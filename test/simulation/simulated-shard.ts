// A shard in virtual time: the real decisions of owners.ts and decide.ts over a real member table; what shard.ts does with them is done here on
// an array of states.

import { type Decision, noMemory } from '../../shard/decide.ts';
import type { SliceState } from '../../shard/held-version.ts';
import { type MemberView, noOwners, type Owners, viewOf } from '../../shard/owners.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { rangesOf } from '../../shared/slice-ranges.ts';
import type { StatusReport, VersionReport } from '../../shared/status-report.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import { SimulatedPoller } from './simulated-poller.ts';

export const versionId = 'a'.repeat(32);

export class SimulatedShard {
  readonly name: string;
  readonly address: string;
  readonly incarnation: string;
  readonly startedMs: number;
  readonly leaveGraceMs: number;
  readonly states: SliceState[];
  readonly #lastAskedMs: (number | undefined)[];
  readonly #cluster: SimulatedCluster;
  readonly #poller: SimulatedPoller;
  readonly #table;
  #versions: readonly VersionReport[] | undefined;
  #counter = 0;
  #owners: Owners = noOwners;
  #decision: Decision | undefined;
  #loading = false;
  leavingSinceMs: number | undefined;
  #coveredSinceMs: number | undefined;
  isGone = false;

  constructor(cluster: SimulatedCluster, options: { name: string; address: string; incarnation: string; leaveGraceMs: number }) {
    this.#cluster = cluster;
    this.name = options.name;
    this.address = options.address;
    this.incarnation = options.incarnation;
    this.leaveGraceMs = options.leaveGraceMs;
    // Its host's clock is its own; the table's times are not of it.
    this.startedMs = Math.round(1_000_000 + cluster.clock.nowMs + cluster.clockSkewOf(options.name));
    this.states = new Array<SliceState>(cluster.sliceCount).fill('absent');
    this.#lastAskedMs = new Array(cluster.sliceCount).fill(undefined);
    this.#table = cluster.decisions.newTable(cluster.fixedAddresses);
    this.#poller = new SimulatedPoller({
      cluster,
      table: this.#table,
      self: this.name,
      isGone: () => this.isGone,
      onChange: () => this.#follow(),
    });
  }

  get placed(): readonly SliceIndex[] {
    return this.#decision?.placed ?? [];
  }

  get ownerNames(): readonly string[] {
    return (this.#owners.inForce ?? []).map(({ name }) => name);
  }

  report(): StatusReport {
    const { name, incarnation, startedMs } = this;
    const isReady = this.placed.every((i) => this.states[i] === 'kept') && this.#decision !== undefined;
    const state = this.leavingSinceMs !== undefined ? 'leaving' : isReady ? 'ready' : 'loading';
    return { name, incarnation, startedMs, counter: ++this.#counter, state, versions: this.#reportVersions() };
  }

  /** It can answer from the slice. */
  has(sliceIndex: number): boolean {
    const state = this.states[sliceIndex];
    return state === 'kept' || state === 'yielding';
  }

  /** A key of the slice that is not in the data is asked for. */
  answerAbsentKey(sliceIndex: number): 'missing' | 'not held' {
    if (!this.has(sliceIndex)) return 'not held';
    if (this.states[sliceIndex] === 'yielding') this.#lastAskedMs[sliceIndex] = this.#cluster.clock.nowMs;
    return 'missing';
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
      versions: [this.#decidedVersion()],
      leavingSinceMs,
      graceMs: this.leaveGraceMs,
      coveredSinceMs: this.#coveredSinceMs,
      nowMs,
    });
    this.#coveredSinceMs = leaving.coveredSinceMs;
    if (leaving.mayLeave) this.#cluster.hasLeft(this, { byGrace: nowMs - leavingSinceMs >= this.leaveGraceMs });
    else clock.after(250, () => this.#leaveWhenReleased());
  }

  #follow(): void {
    const { clock, decisions, replicas } = this.#cluster;
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
    this.#decision = decisions.decide({
      self: this.name,
      replicas,
      members,
      owners: this.#owners,
      isFrozen,
      version: this.#decidedVersion(),
      memory: this.#decision?.memory ?? noMemory,
      nowMs,
    });
    for (const i of this.#decision.keep) this.#become(i, 'kept');
    for (const i of this.#decision.yield) {
      this.#lastAskedMs[i] = undefined;
      this.#become(i, 'yielding');
    }
    for (const i of this.#decision.free) {
      this.#become(i, 'absent');
      this.#cluster.hasFreed(this, i);
    }
    this.#poller.pollAfresh(this.#decision.poll);
    this.#queue(this.#decision.load);
    this.#loadNext();
  }

  #queue(load: readonly SliceIndex[]): void {
    for (const [i, state] of this.states.entries()) {
      if (state === 'queued' && !load.includes(i as SliceIndex)) this.#become(i, 'absent');
    }
    for (const i of load) if (this.states[i] !== 'queued') this.#become(i, 'queued');
  }

  #loadNext(): void {
    const next = this.#decision?.load[0];
    if (this.#loading || next === undefined || this.states[next] !== 'queued') return;
    this.#loading = true;
    this.#become(next, 'loading');
    const { clock, chance } = this.#cluster;
    clock.after(chance.happens(0.05) ? chance.between(500, 4_000) : chance.between(20, 150), () => {
      if (this.isGone) return;
      this.#loading = false;
      this.#become(next, 'kept');
      this.#cluster.hasLoaded();
      this.#follow();
    });
  }

  #become(i: number, state: SliceState): void {
    this.states[i] = state;
    this.#versions = undefined;
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
    };
    const others = this.#table.members.filter(({ name }) => name !== this.name);
    return [own, ...others.map((member) => viewOf(member, nowMs))];
  }

  #decidedVersion() {
    return {
      id: versionId,
      sliceCount: this.#cluster.sliceCount,
      stateOf: (i: SliceIndex) => this.states[i]!,
      lastAskedMs: (i: SliceIndex) => this.#lastAskedMs[i],
    };
  }

  /** The same object as long as nothing has changed: comparing reports is most of what a simulation does. */
  #reportVersions(): readonly VersionReport[] {
    const { sliceCount } = this.#cluster;
    const having = (...states: readonly SliceState[]) => rangesOf(sliceCount, (i) => states.includes(this.states[i]!));
    this.#versions ??= [
      {
        id: versionId,
        sequence: 1,
        sliceCount,
        slices: { kept: having('kept'), loading: having('queued', 'loading'), yielding: having('yielding'), corrupt: having('corrupt') },
      },
    ];
    return this.#versions;
  }
}
