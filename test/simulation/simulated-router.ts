// A router in virtual time: the real choice of the version and the real table from slice to holders, over a real member table. Requests take their
// time: the version may change while they are under way, and each is bound to the one that was served when it came.

import type { KeyLookup } from '../../router/key-lookup.ts';
import { RoutedVersion } from '../../router/routed-version.ts';
import { type ChoiceMemory, noChoiceMemory } from '../../router/version-choice.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Member } from '../../shared/member-table.ts';
import { includesSlice } from '../../shared/slice-ranges.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import { asMemberLane, SimulatedLookups } from './simulated-lookups.ts';
import { SimulatedPoller } from './simulated-poller.ts';
import type { Chance } from './virtual-world.ts';

/** Of these keys the answers are kept; of those up to the second, asked again while they are on their way, one is sent. */
const keptShareMax = 1 / 16;
const joinedShareMax = 1 / 4;

/** What is asked of a lane here. */
type NamedLane = { readonly name: string; readonly address: string };

type Request = {
  readonly share: number;
  readonly wasWhole: boolean;
  readonly isRebound: boolean;
  /** The key on its way, when it may be joined; undefined: it may not. */
  readonly flight: Flight | undefined;
};

/** What the product's table of keys on their way needs of one, and the versions of those that wait for it. */
type Flight = {
  readonly key: string;
  readonly share: number;
  readonly keyHash32: number;
  readonly version: RoutedVersion;
  nextFlight: KeyLookup | undefined;
  readonly followerIds: string[];
};

export class SimulatedRouter {
  readonly name: string;
  readonly incarnation: string;
  readonly #cluster: SimulatedCluster;
  readonly #poller: SimulatedPoller;
  readonly #table;
  readonly #lookups: SimulatedLookups;
  readonly #answers;
  readonly #flights;
  readonly #lostAddresses = new Set<string>();
  #version: RoutedVersion | undefined;
  #retiring: readonly RoutedVersion[] = [];
  #revision = -1;
  #choiceMemory: ChoiceMemory = noChoiceMemory;
  /** The greatest sequence of which an answer was given. */
  #answeredSequence = 0;
  /** Every slice of what it serves had a holder once. */
  wasWhole = false;
  /** When it went to the version that it serves. */
  servesSinceMs = 0;
  isGone = false;
  /** It stands still until then. */
  #stoppedUntilMs = 0;

  constructor(cluster: SimulatedCluster, name: string, incarnation: string) {
    this.#cluster = cluster;
    this.name = name;
    this.incarnation = incarnation;
    this.#table = cluster.decisions.newTable(cluster.fixedAddresses);
    this.#answers = cluster.decisions.newAnswers();
    this.#flights = cluster.decisions.newFlights();
    this.#lookups = new SimulatedLookups({
      cluster,
      name,
      stoppedUntilMs: () => this.#stoppedUntilMs,
      isGone: () => this.isGone,
      checkRoute: (lane, version, sliceIndex) => this.#checkRoute(lane, version, sliceIndex),
    });
    this.#poller = new SimulatedPoller({
      cluster,
      table: this.#table,
      self: name,
      isGone: () => this.isGone,
      isStopped: () => this.isStopped,
      versionUse: () => ({ router: this.incarnation, versionIds: cluster.decisions.versionsInUse(this.#versionsInUse()) }),
      onChange: () => this.#follow(),
    });
  }

  get version(): RoutedVersion | undefined {
    return this.#version;
  }

  /** The members that it leaves alone, though it could ask them. */
  get ejected(): readonly string[] {
    return this.#version ? this.#lookups.ejectedOf(this.#version) : [];
  }

  get isStopped(): boolean {
    return this.#cluster.clock.nowMs < this.#stoppedUntilMs;
  }

  /** It stood still within the last time that its leases may have run out in, and what came of it may take. */
  get stoodStillLately(): boolean {
    return this.#cluster.clock.nowMs < this.#stoppedUntilMs + 10_000;
  }

  /** SIGSTOP, and SIGCONT later. */
  stop(forMs: number): void {
    this.#stoppedUntilMs = Math.max(this.#stoppedUntilMs, this.#cluster.clock.nowMs + forMs);
  }

  /** SIGCONT, now. */
  goOn(): void {
    this.#stoppedUntilMs = Math.min(this.#stoppedUntilMs, this.#cluster.clock.nowMs);
  }

  /** The members that it would ask for a key of the slice. */
  holdersOf(sliceIndex: number): readonly NamedLane[] {
    return this.#version ? lanesOf(this.#version, sliceIndex) : [];
  }

  /** A request for a key of the slice comes: it is answered in its time. */
  ask(share: number): void {
    const version = this.#version;
    const { clock, chance } = this.#cluster;
    if (!version || this.isGone) return;
    // What comes while it stands still waits in a socket; of that a little is enough.
    if (this.isStopped) return chance.happens(0.02) ? clock.after(this.#stoppedUntilMs - clock.nowMs, () => this.ask(share)) : undefined;
    if (version.sequence < this.#answeredSequence) {
      this.#cluster.fail(`${this.name} binds version ${short(version)} after an answer of sequence ${this.#answeredSequence}`);
    }
    if (share < keptShareMax && this.#findAnswer(version, share)) return;
    if (share < joinedShareMax && this.#join(version, share)) return;
    version.pending++;
    const flight = share < joinedShareMax ? this.#takeOff(version, share) : undefined;
    const request = { share, wasWhole: this.wasWhole, isRebound: false, flight };
    clock.after(requestMs(chance), () => {
      // Its deadline passes meanwhile.
      if (this.isStopped) this.#end(version, request);
      else this.#try(version, request);
    });
  }

  /** The cache has it: of this version, or it would be wrong. */
  #findAnswer(version: RoutedVersion, share: number): boolean {
    const answer = this.#answers.find(version.id, `${share}`);
    if (answer !== undefined && answer !== version.id) this.#isOfAnother(version, answer ?? 'nothing');
    return answer !== undefined;
  }

  #join(version: RoutedVersion, share: number): boolean {
    const leader = this.#flights.find(asLookup(flightOf(version, share))) as unknown as Flight | undefined;
    leader?.followerIds.push(version.id);
    return leader !== undefined;
  }

  #takeOff(version: RoutedVersion, share: number): Flight {
    const flight = flightOf(version, share);
    this.#flights.add(asLookup(flight));
    return flight;
  }

  #isOfAnother(version: { readonly id: string }, answeredId: string): never {
    this.#cluster.fail(`${this.name} answers for version ${version.id.slice(-3)} from version ${answeredId.slice(-3)}`);
  }

  /** Nobody answers for a slice of what it serves; undefined: somebody does for each. */
  unanswered(): number | undefined {
    const version = this.#version;
    if (!version) return 0;
    for (let i = 0; i < version.sliceCount; i++) if (!this.#isAnswered(version, i)) return i;
    return undefined;
  }

  /** `version` is pending. */
  #try(version: RoutedVersion, request: Request): void {
    if (this.isGone) return;
    const sliceIndex = Math.floor(request.share * version.sliceCount);
    this.#lookups.ask(version, sliceIndex, (answeredId) => {
      this.#end(version, request, answeredId);
      if (this.isGone || this.isStopped) return;
      if (answeredId === undefined) this.#hasFailed(version, sliceIndex, request);
      else this.#answeredSequence = Math.max(this.#answeredSequence, version.sequence);
    });
  }

  #end(version: RoutedVersion, { flight }: Request, answeredId?: string): void {
    version.pending--;
    if (flight) this.#flights.remove(asLookup(flight));
    if (answeredId === undefined) return;
    for (const id of [version.id, ...(flight?.followerIds ?? [])]) if (id !== answeredId) this.#isOfAnother({ id }, answeredId);
    if (flight && flight.share < keptShareMax)
      this.#answers.meet(version.id, flight.key, flight.keyHash32, Buffer.from(answeredId), 0, answeredId.length);
  }

  #hasFailed(version: RoutedVersion, sliceIndex: number, request: Request): void {
    if (!request.isRebound) this.#cluster.needsRebinding(this, version);
    if (request.isRebound || !this.#cluster.decisions.rebinds)
      return this.#cluster.requestFailed(this, { version, sliceIndex, wasWhole: request.wasWhole });
    // It may be that it stood still while the others went on.
    this.#poller.pollAfresh(this.#table.members.map(({ name }) => name));
    this.#cluster.clock.after(limits.pollDeadlineMs, () => {
      if (this.isStopped) return;
      this.#version!.pending++;
      this.#try(this.#version!, { ...request, isRebound: true, flight: undefined });
    });
  }

  /** Somebody whom it would ask can look into the slice. */
  #isAnswered(version: RoutedVersion, sliceIndex: number): boolean {
    return lanesOf(version, sliceIndex).some((holder) => {
      this.#checkRoute(holder, version, sliceIndex);
      return this.#cluster.shardAt(holder.address)?.has(version.id, sliceIndex);
    });
  }

  #checkRoute(holder: NamedLane, version: RoutedVersion, sliceIndex: number): void {
    if (!this.#mayAsk(holder.address, version.id, sliceIndex))
      this.#cluster.fail(`${this.name} asks ${holder.name} for slice ${sliceIndex} of ${short(version)}, which it does not report`);
  }

  /** Somebody whom it knows to be at the address says that it has the slice. */
  #mayAsk(address: string, id: string, sliceIndex: number): boolean {
    return this.#table.members.some((member) => {
      const slices = member.alive && member.address === address && member.report?.versions.find((version) => version.id === id)?.slices;
      return slices && (includesSlice(slices.kept, sliceIndex) || includesSlice(slices.yielding, sliceIndex));
    });
  }

  #versionsInUse(): readonly RoutedVersion[] {
    this.#retiring = this.#retiring.filter(({ pending }) => pending > 0);
    return this.#version ? [this.#version, ...this.#retiring] : [];
  }

  #follow(): void {
    const { clock, decisions } = this.#cluster;
    const { members, revision } = this.#table;
    const { chosen, memory } = decisions.chooseVersion({
      serving: this.#version,
      members,
      firstRoundDone: this.#poller.firstRoundDone,
      memory: this.#choiceMemory,
      nowMs: clock.nowMs,
    });
    this.#choiceMemory = memory;
    if (chosen && chosen.id === this.#version?.id) this.#version.sequence = chosen.sequence;
    else if (chosen) this.#serve(new RoutedVersion(chosen));
    // The reports change seldom, and with them all that follows from them.
    if (!chosen && this.#revision === revision) return;
    this.#revision = revision;
    for (const version of this.#versionsInUse()) {
      version.follow(members, ({ name, address }: Member) => asMemberLane(this.#lookups.laneTo(name, address)));
    }
    this.#lookups.routesChanged();
    this.#noteReturned(members);
    this.wasWhole ||= this.#version !== undefined && Object.keys(this.#version.absentSlices()).length === 0;
  }

  #noteReturned(members: readonly Member[]): void {
    const addresses = new Set(members.map(({ address }) => address));
    this.#lookups.keepLanes(addresses);
    for (const { address, alive } of members) {
      if (!alive) this.#lostAddresses.add(address);
      else if (this.#lostAddresses.delete(address)) this.#lookups.cameBack(address);
    }
  }

  #serve(version: RoutedVersion): void {
    this.#cluster.note(`${this.name} serves version ${short(version)}`);
    if (this.#version) this.#cluster.hasSwitched(this, version);
    else this.#cluster.hasStarted(this, version, { firstRoundDone: this.#poller.firstRoundDone });
    if (this.#version) this.#retiring = [...this.#retiring, this.#version];
    this.#version = version;
    this.servesSinceMs = this.#cluster.clock.nowMs;
    this.#answers.serve(version.id);
  }
}

function flightOf(version: RoutedVersion, share: number): Flight {
  return { key: `${share}`, share, keyHash32: Math.round(share * 1_000), version, nextFlight: undefined, followerIds: [] };
}

function asLookup(flight: Flight): KeyLookup {
  return flight as unknown as KeyLookup;
}

/** Mostly a moment; some as long as a router may be told to wait. */
function requestMs(chance: Chance): number {
  if (chance.happens(0.9)) return chance.between(0.5, 5);
  return chance.between(1, chance.happens(0.9) ? limits.deadlineDefaultMs : 8_000);
}

function lanesOf(version: RoutedVersion, sliceIndex: number): readonly NamedLane[] {
  return version.holdersOf(sliceIndex as SliceIndex) as unknown as readonly NamedLane[];
}

export function short({ id, sequence }: { readonly id: string; readonly sequence: number }): string {
  return `${id.slice(-3)} (${sequence})`;
}
