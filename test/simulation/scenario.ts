// One run from one seed: a cluster, a time of trouble of a kind that the seed chooses, and then quiet, in which all must settle.

import { limits } from '../../shared/limits.ts';

import { recallPlacement } from '../../shared/placement-memo.ts';
import type { PublicationAct } from '../../shared/publications.ts';
import { ailments, type Decisions, realDecisions, SimulatedCluster, Violation } from './simulated-cluster.ts';
import type { SimulatedShard } from './simulated-shard.ts';
import { chanceFrom } from './virtual-world.ts';

export type RunResult = {
  /** Undefined: all was well. */
  readonly violation: string | undefined;
  /** What was done to the cluster, with its times; the end is the violation. */
  readonly log: readonly string[];
  /** Virtual. */
  readonly durationMs: number;
  readonly loadCount: number;
};

/**
 * `graceful`: shards come, leave and are restarted one after the other, nothing gets lost. `stormy`: they die as well, polls are lost or late, name
 * servers err, parts cannot reach each other. `listed`: the same with a fixed list, in which shards start again where they were.
 * `divided`: nobody dies, but each believes in owners of its own, which change all the time, and sees some of the others as they were long ago.
 * `ailing`: members answer polls as ever, but keys late, wrongly, or not at all, and many keys are asked for.
 */
const kinds = ['graceful', 'stormy', 'stormy', 'listed', 'divided', 'divided', 'ailing'] as const;
export type Kind = (typeof kinds)[number];

/** How long it is at the most until the next trouble. */
const pauseMaxMs: Readonly<Record<Kind, number>> = {
  graceful: 40_000,
  stormy: 15_000,
  listed: 15_000,
  divided: 40_000,
  ailing: 10_000,
};

/** As long as one that is well may be left alone: a router may be asked nothing for a while, and then probes when it is time. */
const returnMaxMs = 60_000 + limits.probeDelayMaxMs * (1 + limits.probeJitter) + 10_000;

/** As long as all may take to settle: a flapping member's longest time, and one that is forgotten. */
const settleMaxMs = limits.flapHoldMaxMs + limits.placementFrozenMs + 2 * limits.memberAbsentMs;

/** `kind`: undefined: the seed chooses. */
export function runScenario(seed: number, decisions: Decisions = realDecisions, kind?: Kind): RunResult {
  const scenario = new Scenario(seed, decisions, kind);
  const { cluster } = scenario;
  const result = (violation: string | undefined): RunResult => ({
    violation,
    log: cluster.log,
    durationMs: cluster.clock.nowMs,
    loadCount: cluster.loadCount,
  });
  try {
    scenario.run();
    return result(undefined);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    return result(error.message);
  }
}

class Scenario {
  readonly cluster: SimulatedCluster;
  readonly #kind: Kind;
  /** Versions are published, and routers come and go: else there are only more troubles of the members. */
  readonly #hasNews: boolean;
  readonly #chance;
  #nameCount = 0;
  #isQuiet = false;

  constructor(seed: number, decisions: Decisions, kind: Kind | undefined) {
    const chance = chanceFrom(seed);
    this.#chance = chance;
    const chosen = chance.oneOf<Kind>(kinds);
    this.#kind = kind ?? chosen;
    this.#hasNews = this.#kind !== 'divided' && this.#kind !== 'ailing' && chance.happens(0.6);
    const shardCount = chance.wholeBetween(3, 6);
    // With one replica all that keeps a slice is that somebody is careful.
    const replicas = this.#kind === 'divided' ? chance.oneOf([1, 1, 1, 2]) : chance.wholeBetween(1, 3);
    const fixedAddresses = this.#kind === 'listed' ? Array.from({ length: shardCount }, (_, i) => `f${i}:1`) : [];
    this.cluster = new SimulatedCluster({
      chance,
      decisions,
      sliceCount: chance.oneOf([8, 16]),
      replicas,
      routerCount: chance.wholeBetween(1, 3),
      fixedAddresses,
      isGraceful: this.#kind === 'graceful',
      isAsked: this.#kind !== 'divided',
    });
    this.cluster.note(`seed ${seed}: ${this.#kind}, ${shardCount} shards, ${replicas} replicas`);
    for (let i = 0; i < shardCount; i++) {
      const address = fixedAddresses[i];
      this.cluster.clock.after(chance.between(0, 3_000), () => this.#start(this.#newName(address), address));
    }
  }

  run(): void {
    const { cluster } = this;
    const { clock } = cluster;
    // A cluster that has never been whole has nothing to lose.
    clock.run(12_000);
    const troubleEndMs = clock.nowMs + this.#chance.between(40_000, 120_000);
    while (clock.nowMs < troubleEndMs) {
      this.#trouble();
      clock.run(clock.nowMs + this.#chance.between(500, pauseMaxMs[this.#kind]));
    }
    this.#calm();
    // What was under way, like a process that was to start again, comes to its end.
    clock.run(clock.nowMs + 30_000);
    const quietSinceMs = clock.nowMs;
    for (;;) {
      clock.run(clock.nowMs + 5_000);
      const unsettled = cluster.unsettled();
      if (unsettled === undefined) break;
      const alone = cluster.routers.find(({ ejected }) => ejected.length > 0);
      if (alone && clock.nowMs - quietSinceMs > returnMaxMs) cluster.fail(`${alone.name} still leaves ${alone.ejected} alone`);
      if (clock.nowMs - quietSinceMs > settleMaxMs) cluster.fail(`not settled after ${settleMaxMs / 1_000} s: ${unsettled}`);
    }
    // What is settled stays so.
    clock.run(clock.nowMs + 3_000);
    const unsettled = cluster.unsettled();
    if (unsettled !== undefined) cluster.fail(`settled, and then not: ${unsettled}`);
    if (this.#kind === 'listed' && this.#chance.happens(0.7)) this.#bereave();
    else if (this.#kind === 'stormy' && this.#chance.happens(0.4)) this.#flap();
    else if (this.#chance.happens(0.4)) this.#restartInQuiet();
  }

  /** A process starts again under its name: nobody else moves anything, as long as others have what it had. */
  #restartInQuiet(): void {
    const { cluster } = this;
    if (cluster.shards.size < 3 || cluster.replicas < 2) return;
    const shard = this.#chance.oneOf([...cluster.shards.values()]);
    // Without its grace nobody sees it leave.
    if (shard.leaveGraceMs < limits.leaveGraceDefaultMs) return;
    cluster.loadsOnly = shard.name;
    // Where somebody died before, one death more may be one too many.
    if (this.#kind === 'graceful' && this.#chance.happens(0.5)) cluster.kill(shard);
    else shard.leave();
    cluster.clock.run(cluster.clock.nowMs + this.#chance.between(4_000, 9_000));
    if (!shard.isGone) cluster.fail(`${shard.name} waits, though others have all that it has`);
    this.#start(shard.name, this.#kind === 'listed' ? shard.address : undefined);
    cluster.clock.run(cluster.clock.nowMs + 20_000);
    const unsettled = cluster.unsettled();
    if (unsettled !== undefined) cluster.fail(`one started again, and then: ${unsettled}`);
  }

  /** Whoever dies and comes back again and again is not relied upon. */
  #flap(): void {
    const { cluster } = this;
    if (cluster.shards.size < 3) return;
    const { name } = this.#chance.oneOf([...cluster.shards.values()]);
    for (let i = 0; i < 2; i++) {
      cluster.kill([...cluster.shards.values()].find((shard) => shard.name === name)!);
      cluster.clock.run(cluster.clock.nowMs + this.#chance.between(1_000, 4_000));
      this.#start(name);
      cluster.clock.run(cluster.clock.nowMs + 8_000);
    }
    const reliant = [...cluster.shards.values()].find((shard) => shard.name !== name && shard.ownerNames.includes(name));
    if (reliant) cluster.fail(`${reliant.name} relies upon ${name}, which came and went twice`);
  }

  /** One of a fixed list dies for good: it stays a member, but others take what only it had. */
  #bereave(): void {
    const { cluster } = this;
    if (cluster.shards.size < 3) return;
    const shard = this.#chance.oneOf([...cluster.shards.values()]);
    cluster.kill(shard);
    // It may come back.
    cluster.loadsOnly = shard.name;
    cluster.clock.run(cluster.clock.nowMs + limits.sliceOrphanedMs);
    cluster.loadsOnly = undefined;
    cluster.clock.run(cluster.clock.nowMs + 15_000);
    const missing = cluster.unanswered();
    if (missing !== undefined) cluster.fail(`one died, and nobody took over: ${missing}`);
  }

  #trouble(): void {
    const common = [() => this.#rollingRestart(), () => this.#leave(1)];
    const growth = [() => this.#scaleOut(this.#chance.wholeBetween(1, 2)), () => this.#scaleOut(1), () => this.#leave(2)];
    const storm = [
      () => this.#crash(),
      () => this.#changeWeather(),
      () => this.#changeWeather(),
      () => this.#block(),
      () => this.#block(),
      () => this.#cutOff(),
    ];
    const news = [
      () => this.#publishNew(),
      () => this.#publishNew(),
      () => this.#publishQuickly(),
      () => this.#publishBesideStart(),
      () => this.#goBack(),
      () => this.#publishAgain(),
      () => this.#publishUnreadable(),
      () => this.#publishBad(),
    ];
    const routers = [() => this.#stopRouter(), () => this.#restartRouter(), () => this.#idleRouter()];
    const division = [() => this.#delude(), () => this.#deludePair(), () => this.#deludePair(), () => this.#slowDown()];
    const illness = [() => this.#ail(1), () => this.#ail(1), () => this.#ail(3), () => this.#askMuch(), () => this.#errAll()];
    const choices = {
      graceful: [...common, ...growth],
      stormy: [...common, ...growth, ...growth, ...storm],
      listed: [...common, ...storm],
      divided: [...division, ...division, () => this.#leave(1), () => this.#scaleOut(1)],
      ailing: [...illness, ...illness, () => this.#rollingRestart(), () => this.#crash()],
    };
    const changes = this.#hasNews ? [...news, ...(this.#kind === 'graceful' ? news : []), ...routers] : [];
    this.#chance.oneOf([...choices[this.#kind], ...changes])();
  }

  /** Cut as the one before, or in another way. */
  #publishNew(): void {
    const { data } = this.cluster;
    this.#publish('publish', data.add(this.#chance.oneOf([8, 16])).id);
  }

  /** A router starts while the new version is on its way. */
  #publishBesideStart(): void {
    this.#publishNew();
    this.cluster.clock.after(this.#chance.between(0, 2_500), () => {
      if (!this.#isQuiet) this.#restartRouter();
    });
  }

  /** One after the other, before anybody can have loaded the first; sometimes the first one again. */
  #publishQuickly(): void {
    const { cluster } = this;
    const before = cluster.data.current!.id;
    this.#publishNew();
    for (let i = this.#chance.wholeBetween(1, 3); i > 0; i--) {
      cluster.clock.after(this.#chance.between(50, 6_000), () => {
        if (this.#isQuiet) return;
        if (this.#chance.happens(0.3)) this.#publish(this.#chance.oneOf(['publish', 'rollback']), before);
        else this.#publishNew();
      });
    }
  }

  /** To one that may have been dropped long ago. */
  #goBack(): void {
    const { data } = this.cluster;
    const earlier = data.versions.filter(({ id }) => id !== data.current!.id && data.isGood(id));
    if (earlier.length > 0) this.#publish('rollback', this.#chance.oneOf(earlier).id);
    else this.#publishAgain();
  }

  #publishAgain(): void {
    const { data } = this.cluster;
    const { id } = data.current!;
    if (data.isGood(id)) this.#publish('publish', id);
  }

  /** Nobody can read it, until somebody mends it or publishes another one. */
  #publishUnreadable(): void {
    const { cluster } = this;
    const { data } = cluster;
    if (data.unreadable.has(data.current!.id)) return;
    const { id } = data.add(8);
    data.unreadable.add(id);
    cluster.note(`version ${id.slice(-3)} is unreadable`);
    this.#publish('publish', id);
    if (this.#chance.happens(0.5)) cluster.clock.after(this.#chance.between(1_000, 30_000), () => this.#mend(id));
  }

  /** It can be read, but not all of it loaded; until somebody mends it, which mostly nobody does. */
  #publishBad(): void {
    const { cluster } = this;
    const { data } = cluster;
    if (!data.isGood(data.current!.id)) return;
    const { id, sliceCount } = data.add(8);
    if (this.#chance.happens(0.3)) data.tooLarge.add(id);
    else data.damaged.set(id, new Set([this.#chance.wholeBetween(0, sliceCount - 1)]));
    cluster.note(`version ${id.slice(-3)} ${data.tooLarge.has(id) ? 'is too large' : 'has a damaged slice'}`);
    this.#publish('publish', id);
    if (this.#chance.happens(0.3)) cluster.clock.after(this.#chance.between(1_000, 90_000), () => this.#mend(id));
  }

  #mend(id: string): void {
    this.cluster.data.mend(id);
    this.cluster.note(`version ${id.slice(-3)} is mended`);
  }

  #publish(act: PublicationAct, id: string): void {
    const { data, clock } = this.cluster;
    data.publish(act, id, clock.nowMs);
    this.cluster.note(`${act} ${id.slice(-3)} (${data.current!.sequence})`);
  }

  #stopRouter(): void {
    const { cluster } = this;
    const router = this.#chance.oneOf(cluster.routers);
    const forMs = this.#chance.happens(0.5) ? this.#chance.between(500, 5_000) : this.#chance.between(20_000, 90_000);
    cluster.note(`${router.name} stands still for ${Math.round(forMs)} ms`);
    router.stop(forMs);
  }

  #restartRouter(): void {
    this.cluster.restartRouter(this.#chance.oneOf(this.cluster.routers));
  }

  #idleRouter(): void {
    const { cluster } = this;
    const router = this.#chance.oneOf(cluster.routers);
    cluster.note(`${router.name} is asked nothing for a while`);
    cluster.idleRouters.add(router);
    cluster.clock.after(this.#chance.between(5_000, 60_000), () => cluster.idleRouters.delete(router));
  }

  #scaleOut(count: number): void {
    for (let i = 0; i < count && this.cluster.shards.size < 9; i++) this.#start(this.#newName());
  }

  /** SIGTERM, for good; in a fixed list until all is quiet. */
  #leave(count: number): void {
    for (let i = 0; i < count && this.cluster.known.length > 2; i++) {
      const shard = this.#chance.oneOf(this.cluster.known);
      this.cluster.note(`${shard.name} is told to leave`);
      shard.leave();
    }
  }

  /** SIGTERM, and a new process of the name when the old one is gone. */
  #rollingRestart(): void {
    const { cluster } = this;
    if (cluster.known.length < 2) return;
    const shard = this.#chance.oneOf(cluster.known);
    cluster.note(`${shard.name} is restarted`);
    shard.leave();
    const startAgain = (): void => {
      if (!shard.isGone) return cluster.clock.after(500, startAgain);
      cluster.clock.after(this.#chance.between(1_000, 8_000), () => this.#startAgain(shard));
    };
    cluster.clock.after(500, startAgain);
  }

  /** Mostly it starts again; one that was found by name sometimes never does. */
  #crash(): void {
    const { cluster } = this;
    if (cluster.staying.length < 2) return;
    const shard = this.#chance.oneOf(cluster.staying);
    cluster.kill(shard);
    if (this.#chance.happens(0.3)) return;
    cluster.clock.after(this.#chance.between(1_000, 25_000), () => this.#startAgain(shard));
  }

  #startAgain({ name, address }: SimulatedShard): void {
    const { cluster } = this;
    if (this.#kind === 'listed') {
      if (!cluster.shards.has(address)) this.#start(this.#chance.happens(0.2) ? this.#newName() : name, address);
      return;
    }
    const isTaken = [...cluster.shards.values()].some((shard) => shard.name === name);
    if (!isTaken && cluster.shards.size < 9) this.#start(name);
  }

  #changeWeather(): void {
    const chance = this.#chance;
    const sometimes = (max: number): number => (chance.happens(0.5) ? chance.between(0, max) : 0);
    this.cluster.weather = { lost: sometimes(0.5), late: sometimes(0.9), dnsWrong: sometimes(0.9) };
    const { lost, late, dnsWrong } = this.cluster.weather;
    this.cluster.note(`weather: ${lost.toFixed(2)} lost, ${late.toFixed(2)} late, ${dnsWrong.toFixed(2)} of name look-ups wrong`);
  }

  /** One address cannot be reached by some, or nobody; for a while. */
  #block(): void {
    const { cluster } = this;
    const askers = [...cluster.shards.values(), ...cluster.routers].map(({ name }) => name);
    const address = this.#chance.oneOf([...cluster.shards.keys()]);
    const links = askers.filter(() => this.#chance.happens(0.6)).map((name) => `${name} ${address}`);
    for (const link of links) cluster.blocked.add(link);
    cluster.note(`blocked: ${links.join(', ')}`);
    cluster.clock.after(this.#chance.between(1_000, 80_000), () => {
      for (const link of links) cluster.blocked.delete(link);
    });
  }

  /** Some members are ill for a while, as the keys show it that are sent to them. */
  #ail(countMax: number): void {
    const { cluster } = this;
    const ailment = this.#chance.oneOf(ailments);
    for (let i = this.#chance.wholeBetween(1, countMax); i > 0; i--) {
      const { address, name } = this.#chance.oneOf([...cluster.shards.values()]);
      cluster.ailing.set(address, ailment);
      cluster.note(`${name} is ill: ${ailment}`);
      cluster.clock.after(this.#chance.between(500, 30_000), () => cluster.ailing.delete(address));
    }
  }

  /** Retries help little, and many would be sent. */
  #errAll(): void {
    const { cluster } = this;
    for (const address of cluster.shards.keys()) {
      cluster.ailing.set(address, 'errs');
      cluster.clock.after(8_000, () => cluster.ailing.delete(address));
    }
    cluster.note('all err');
    this.#askMuch();
  }

  /** For long enough to forget the others, or to take what was theirs. */
  #cutOff(): void {
    const { cluster } = this;
    if (this.#kind !== 'stormy') return this.#block();
    if (cluster.known.length > 0) cluster.cutOff(this.#chance.oneOf(cluster.known), this.#chance.between(15_000, 90_000));
  }

  /** So many keys for a while that what may be sent twice of them is soon used up. */
  #askMuch(): void {
    const { cluster } = this;
    const untilMs = cluster.clock.nowMs + this.#chance.between(2_000, 8_000);
    cluster.note('many keys are asked for');
    const ask = (): void => {
      if (cluster.clock.nowMs > untilMs || this.#isQuiet) return;
      for (const router of cluster.routers) router.ask(this.#chance.share());
      cluster.clock.after(10, ask);
    };
    ask();
  }

  /** Somebody's owners are others from now on: as if it had been told of members that nobody else knows, or not of some. */
  #delude(): void {
    const { cluster } = this;
    const names = [...cluster.shards.values()].map(({ name }) => name);
    const deluded = this.#chance.oneOf(names);
    const owners = names.filter((name) => name === deluded || this.#chance.happens(0.7)).sort();
    cluster.delusions.set(deluded, owners);
    cluster.note(`${deluded} takes ${owners.join(', ')} for the owners`);
  }

  /** The worst that can be believed: of two that hold a slice each takes the other for its only owner, from the same moment on. */
  #deludePair(): void {
    const { cluster } = this;
    const shards = [...cluster.shards.values()];
    // Nothing is published in a divided cluster but its first version.
    const { id, sliceCount } = cluster.data.versions[0]!;
    const keeps = (shard: SimulatedShard, i: number): boolean => shard.find(id)?.states[i] === 'kept';
    const slices = Array.from({ length: sliceCount }, (_, i) => i);
    const held = slices.filter((i) => shards.filter((shard) => keeps(shard, i)).length >= 2);
    if (held.length === 0) return this.#delude();
    const sliceIndex = this.#chance.oneOf(held);
    const holders = shards.filter((shard) => keeps(shard, sliceIndex));
    const [one, other] = [this.#chance.oneOf(holders), this.#chance.oneOf(holders)];
    if (one === other) return;
    for (const [deluded, owner] of [
      [one, other],
      [other, one],
    ] as const) {
      cluster.delusions.set(deluded.name, this.#ownersThatGive(sliceIndex, owner.name, deluded.name));
    }
    cluster.note(`${one.name} and ${other.name} each take the other for the owner of slice ${sliceIndex}`);
    if (this.#chance.happens(0.5)) return;
    this.#slow(one.name, other.address, { leastMs: 9_000, forMs: 70_000 });
    this.#slow(other.name, one.address, { leastMs: 9_000, forMs: 70_000 });
  }

  /** Some of the members, `notTo` among them, over which the slice belongs to `to` but not to `notTo`; if chance finds any. */
  #ownersThatGive(sliceIndex: number, to: string, notTo: string): readonly string[] {
    const { replicas } = this.cluster;
    const { sliceCount } = this.cluster.data.versions[0]!;
    const names = [...this.cluster.shards.values()].map(({ name }) => name).sort();
    let owners = names;
    for (let tries = 0; tries < 20; tries++) {
      const holders = recallPlacement({ members: owners.map((name) => ({ name })), sliceCount, replicas })[sliceIndex]!;
      if (holders.includes(to) && !holders.includes(notTo)) break;
      owners = names.filter((name) => name === to || name === notTo || this.#chance.happens(0.6));
    }
    return owners;
  }

  /** Somebody sees somebody else as it was some time ago. */
  #slowDown(): void {
    const shards = [...this.cluster.shards.values()];
    const forMs = this.#chance.between(5_000, 60_000);
    this.#slow(this.#chance.oneOf(shards).name, this.#chance.oneOf(shards).address, { leastMs: 1_000, forMs });
  }

  #slow(name: string, address: string, { leastMs, forMs }: { leastMs: number; forMs: number }): void {
    const { cluster } = this;
    const slowMs = this.#chance.between(leastMs, 15_000);
    cluster.slow.set(`${name} ${address}`, slowMs);
    cluster.note(`slow by ${Math.round(slowMs)} ms: ${name} asks ${address}`);
    cluster.clock.after(forMs, () => cluster.slow.delete(`${name} ${address}`));
  }

  #calm(): void {
    const { cluster } = this;
    this.#isQuiet = true;
    if (cluster.data.due === undefined) this.#publishNew();
    cluster.clearUp();
    for (const address of cluster.fixedAddresses) this.#startWhenGone(address);
  }

  /** One that leaves just now goes first. */
  #startWhenGone(address: string): void {
    const { cluster } = this;
    const shard = cluster.shards.get(address);
    if (!shard) this.#start(this.#newName(address), address);
    else if (shard.leavingSinceMs !== undefined) cluster.clock.after(500, () => this.#startWhenGone(address));
  }

  #start(name: string, address?: string): void {
    const graceMs = this.#kind === 'stormy' && this.#chance.happens(0.1) ? 0 : limits.leaveGraceDefaultMs;
    this.cluster.start(name, address ?? this.cluster.newAddress(), graceMs);
  }

  /** In a fixed list mostly the address. */
  #newName(address?: string): string {
    const number = this.#nameCount++;
    return address !== undefined && this.#chance.happens(0.7) ? address : `s${number}`;
  }
}
