// Shards and routers, the network between them, and what must be true at every step. Nothing here decides: that is the product's own code,
// given as `Decisions` so that a test can plant a fault.
//
// Checked at each step: nobody gives up the last copy of a slice that is in memory; nobody leaves with it, unless those that stay had the
// time of its grace, or died; a router asks only who says that it holds the slice; `missing` comes only from a slice that is held.

import { decide } from '../../shard/decide.ts';
import { followLeaving } from '../../shard/leave.ts';
import { followOwners } from '../../shard/owners.ts';
import { limits } from '../../shared/limits.ts';
import { MemberTable } from '../../shared/member-table.ts';
import { placeSlices } from '../../shared/placement.ts';
import type { StatusReport } from '../../shared/status-report.ts';
import { SimulatedRouter } from './simulated-router.ts';
import { SimulatedShard } from './simulated-shard.ts';
import { type Chance, fairWeather, VirtualClock, type Weather } from './virtual-world.ts';

export type Decisions = {
  readonly decide: typeof decide;
  readonly followOwners: typeof followOwners;
  readonly followLeaving: typeof followLeaving;
  readonly newTable: (fixedAddresses: readonly string[]) => MemberTable;
};

export const realDecisions: Decisions = {
  decide,
  followOwners,
  followLeaving,
  newTable: (fixedAddresses) => new MemberTable(fixedAddresses),
};

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

/** What an invariant says when it is broken. */
export class Violation extends Error {}

type Poll = { readonly onReport: (report: StatusReport) => void; readonly onSilence: (refused: boolean) => void };

/** How long what somebody reported may be behind what is: a death in this time excuses whoever relied upon the dead one. */
const deathExcuseMs = limits.reportFreshMs + 1_000;

export class SimulatedCluster {
  readonly clock = new VirtualClock();
  readonly chance: Chance;
  readonly decisions: Decisions;
  readonly sliceCount: number;
  readonly replicas: number;
  readonly fixedAddresses: readonly string[];
  /** By address: those whose process runs. */
  readonly shards = new Map<string, SimulatedShard>();
  readonly routers: readonly SimulatedRouter[];
  readonly log: string[] = [];
  weather: Weather = fairWeather;
  /** Pairs of a name that asks and an address, between which nothing comes through. */
  readonly blocked = new Set<string>();
  /** Such pairs over which every answer comes by so much later. */
  readonly slow = new Map<string, number>();
  /** Names that somebody takes for the owners, whatever is true. */
  readonly delusions = new Map<string, readonly string[]>();
  loadCount = 0;
  readonly #isGraceful: boolean;
  readonly #skews = new Map<string, number>();
  readonly #views = new Map<string, { readonly addresses: readonly string[]; readonly untilMs: number }>();
  /** Processes that ended without having been released, and what they held. */
  readonly #deaths: { readonly atMs: number; readonly slices: readonly number[] }[] = [];
  #processCount = 0;
  #fairSinceMs = Number.NEGATIVE_INFINITY;

  constructor(options: ClusterOptions) {
    this.chance = options.chance;
    this.decisions = options.decisions;
    this.sliceCount = options.sliceCount;
    this.replicas = options.replicas;
    this.fixedAddresses = options.fixedAddresses;
    this.#isGraceful = options.isGraceful;
    this.routers = Array.from({ length: options.routerCount }, (_, i) => new SimulatedRouter(this, `router ${i}`));
    if (options.isAsked) this.clock.after(500, () => this.#askEverything());
  }

  get staying(): readonly SimulatedShard[] {
    return [...this.shards.values()].filter(({ leavingSinceMs }) => leavingSinceMs === undefined);
  }

  start(name: string, address: string = this.newAddress(), leaveGraceMs: number = limits.leaveGraceDefaultMs): SimulatedShard {
    const shard = new SimulatedShard(this, { name, address, incarnation: `start ${++this.#processCount}`, leaveGraceMs });
    this.shards.set(address, shard);
    this.note(`${name} starts at ${address}`);
    return shard;
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

  clockSkewOf(name: string): number {
    const skewMs = this.#skews.get(name) ?? this.chance.between(-200, 200);
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
    const all = [...this.shards.keys()];
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
    this.delusions.clear();
    this.#views.clear();
    this.#fairSinceMs = this.clock.nowMs;
    this.note('all is quiet');
  }

  /** Carries one poll there and back. */
  send(from: string, address: string, poll: Poll): void {
    const { chance, clock, weather } = this;
    const isLost = this.blocked.has(`${from} ${address}`) || chance.happens(weather.lost);
    if (isLost) return clock.after(limits.pollDeadlineMs, () => poll.onSilence(false));
    clock.after(chance.between(0.5, 30), () => {
      const shard = this.shards.get(address);
      // A host that is gone says nothing, one that is there refuses.
      if (!shard) return clock.after(chance.happens(0.8) ? 1 : limits.pollDeadlineMs, () => poll.onSilence(chance.happens(0.8)));
      const report = shard.report();
      const slowMs = this.slow.get(`${from} ${address}`) ?? (chance.happens(weather.late) ? chance.between(800, 15_000) : 0);
      if (slowMs > 0) clock.after(limits.pollDeadlineMs, () => poll.onSilence(false));
      clock.after(slowMs + chance.between(0.5, 30), () => poll.onReport(report));
    });
  }

  hasFreed(shard: SimulatedShard, sliceIndex: number): void {
    if (this.#hasCopy(sliceIndex) || this.#deathExcuses(sliceIndex)) return;
    this.fail(`${shard.name} gave up the last copy of slice ${sliceIndex}`);
  }

  hasLoaded(): void {
    this.loadCount++;
  }

  hasLeft(shard: SimulatedShard, { byGrace }: { byGrace: boolean }): void {
    this.note(`${shard.name} has left${byGrace ? ' at the end of its grace' : ''}`);
    const isExcused = byGrace && (!this.#isGraceful || shard.leaveGraceMs < limits.leaveGraceDefaultMs);
    this.#end(shard, { isDeath: byGrace });
    if (isExcused || this.staying.length === 0) return;
    for (let i = 0; i < this.sliceCount; i++) {
      if (!shard.has(i) || this.#hasCopy(i) || this.#deathExcuses(i)) continue;
      // In bad weather it may have seen nobody who stays.
      if (!this.#isGraceful && !byGrace && !this.#couldSeeSomebody(shard)) continue;
      this.fail(`${shard.name} left with the last copy of slice ${i}`);
    }
  }

  fail(reason: string): never {
    this.note(`VIOLATION: ${reason}`);
    throw new Violation(reason);
  }

  /** What is not yet as it should be when nothing happens any more; undefined: all is. */
  unsettled(): string | undefined {
    const shards = [...this.shards.values()];
    const placement = placeSlices({ members: shards, sliceCount: this.sliceCount, replicas: this.replicas });
    for (const shard of shards) {
      for (let i = 0; i < this.sliceCount; i++) {
        const due = placement[i]!.includes(shard.name) ? 'kept' : 'absent';
        if (shard.states[i] !== due) {
          return `slice ${i} of ${shard.name} is ${shard.states[i]}, not ${due}; its owners are ${shard.ownerNames.join(' ')}`;
        }
      }
    }
    for (const router of this.routers) {
      for (let i = 0; i < this.sliceCount; i++) {
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
      for (let i = 0; i < this.sliceCount; i++) if (!this.#isAnswered(router, i)) return `slice ${i} for ${router.name}`;
    }
    return undefined;
  }

  #end(shard: SimulatedShard, { isDeath }: { isDeath: boolean }): void {
    shard.isGone = true;
    this.shards.delete(shard.address);
    const slices = shard.states.flatMap((_, i) => (shard.has(i) ? i : []));
    if (isDeath) this.#deaths.push({ atMs: this.clock.nowMs, slices });
  }

  #hasCopy(sliceIndex: number): boolean {
    for (const shard of this.shards.values()) if (shard.has(sliceIndex)) return true;
    return false;
  }

  #deathExcuses(sliceIndex: number): boolean {
    return this.#deaths.some(({ atMs, slices }) => this.clock.nowMs - atMs <= deathExcuseMs && slices.includes(sliceIndex));
  }

  /** Somebody stays to whom nothing was in the way. */
  #couldSeeSomebody({ name }: SimulatedShard): boolean {
    const { lost, late, dnsWrong } = this.weather;
    if (lost + late + dnsWrong > 0 || this.clock.nowMs - this.#fairSinceMs < 5_000) return false;
    return this.staying.some(({ address }) => !this.blocked.has(`${name} ${address}`) && !this.slow.has(`${name} ${address}`));
  }

  /** Every router asks for a key that is not there, in every slice. */
  #askEverything(): void {
    for (const router of this.routers) for (let i = 0; i < this.sliceCount; i++) this.#ask(router, i);
    this.clock.after(1_000, () => this.#askEverything());
  }

  #ask(router: SimulatedRouter, sliceIndex: number): void {
    const isAnswered = this.#isAnswered(router, sliceIndex);
    if (this.#isGraceful && router.wasWhole && !isAnswered) this.fail(`nobody that ${router.name} knows answers for slice ${sliceIndex}`);
  }

  #isAnswered(router: SimulatedRouter, sliceIndex: number): boolean {
    for (const holder of router.holdersOf(sliceIndex)) {
      if (!router.mayAsk(holder, sliceIndex))
        this.fail(`${router.name} asks ${holder.name} for slice ${sliceIndex}, which it does not report`);
      const shard = this.shards.get(holder.address);
      if (shard?.answerAbsentKey(sliceIndex) !== 'missing') continue;
      if (!shard.has(sliceIndex)) this.fail(`${shard.name} says that a key is missing from slice ${sliceIndex}, which it does not hold`);
      return true;
    }
    return false;
  }
}
