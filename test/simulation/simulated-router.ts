// A router in virtual time: the real choice of the version and the real table from slice to holders, over a real member table. Requests take their
// time: the version may change while they are under way, and each is bound to the one that was served when it came.

import type { MemberLane } from '../../router/member-lane.ts';
import { RoutedVersion } from '../../router/routed-version.ts';
import { type ChoiceMemory, noChoiceMemory } from '../../router/version-choice.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Member } from '../../shared/member-table.ts';
import { includesSlice } from '../../shared/slice-ranges.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import { SimulatedPoller } from './simulated-poller.ts';
import type { Chance } from './virtual-world.ts';

/** The name of a member in place of the lane to it. */
type NamedLane = { readonly name: string; readonly address: string };

export class SimulatedRouter {
  readonly name: string;
  readonly incarnation: string;
  readonly #cluster: SimulatedCluster;
  readonly #poller: SimulatedPoller;
  readonly #table;
  #version: RoutedVersion | undefined;
  #retiring: readonly RoutedVersion[] = [];
  #revision = -1;
  #choiceMemory: ChoiceMemory = noChoiceMemory;
  /** The greatest sequence of which an answer was given. */
  #answeredSequence = 0;
  /** Every slice of what it serves had a holder once. */
  wasWhole = false;
  isGone = false;
  /** It stands still until then. */
  #stoppedUntilMs = 0;

  constructor(cluster: SimulatedCluster, name: string, incarnation: string) {
    this.#cluster = cluster;
    this.name = name;
    this.incarnation = incarnation;
    this.#table = cluster.decisions.newTable(cluster.fixedAddresses);
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
    version.pending++;
    const wasWhole = this.wasWhole;
    clock.after(requestMs(chance), () => {
      version.pending--;
      // Its deadline passes meanwhile.
      if (!this.isStopped) this.#try(version, share, { wasWhole, isRebound: false });
    });
  }

  /** Nobody answers for a slice of what it serves; undefined: somebody does for each. */
  unanswered(): number | undefined {
    const version = this.#version;
    if (!version) return 0;
    for (let i = 0; i < version.sliceCount; i++) if (!this.#isAnswered(version, i)) return i;
    return undefined;
  }

  #try(version: RoutedVersion, share: number, request: { readonly wasWhole: boolean; readonly isRebound: boolean }): void {
    if (this.isGone) return;
    const sliceIndex = Math.floor(share * version.sliceCount);
    if (this.#isAnswered(version, sliceIndex)) {
      this.#answeredSequence = Math.max(this.#answeredSequence, version.sequence);
      return;
    }
    if (!request.isRebound) this.#cluster.needsRebinding(this, version);
    if (request.isRebound || !this.#cluster.decisions.rebinds)
      return this.#cluster.requestFailed(this, { version, sliceIndex, wasWhole: request.wasWhole });
    // It may be that it stood still while the others went on.
    this.#poller.pollAfresh(this.#table.members.map(({ name }) => name));
    this.#cluster.clock.after(limits.pollDeadlineMs, () => {
      if (!this.isStopped) this.#try(this.#version!, share, { ...request, isRebound: true });
    });
  }

  #isAnswered(version: RoutedVersion, sliceIndex: number): boolean {
    for (const holder of lanesOf(version, sliceIndex)) {
      if (!this.#mayAsk(holder, version.id, sliceIndex))
        this.#cluster.fail(`${this.name} asks ${holder.name} for slice ${sliceIndex} of ${short(version)}, which it does not report`);
      const shard = this.#cluster.shards.get(holder.address);
      const answer = shard?.answerAbsentKey(version.id, sliceIndex) ?? 'not held';
      if (answer === 'not held') continue;
      if (answer !== version.id) this.#cluster.fail(`${holder.name} answers for ${version.id} from version ${answer}`);
      if (!shard!.has(version.id, sliceIndex))
        this.#cluster.fail(`${holder.name} answers from slice ${sliceIndex}, which it does not hold`);
      return true;
    }
    return false;
  }

  /** What its table says of the member: the slices it may be asked for. */
  #mayAsk({ name, address }: NamedLane, id: string, sliceIndex: number): boolean {
    const member = this.#table.find(name);
    const slices = member?.report?.versions.find((version) => version.id === id)?.slices;
    if (!member?.alive || !slices || member.address !== address) return false;
    return includesSlice(slices.kept, sliceIndex) || includesSlice(slices.yielding, sliceIndex);
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
      version.follow(members, ({ name, address }: Member) => ({ name, address }) satisfies NamedLane as unknown as MemberLane);
    }
    this.wasWhole ||= this.#version !== undefined && Object.keys(this.#version.absentSlices()).length === 0;
  }

  #serve(version: RoutedVersion): void {
    this.#cluster.note(`${this.name} serves version ${short(version)}`);
    if (this.#version) this.#cluster.hasSwitched(this, version);
    if (this.#version) this.#retiring = [...this.#retiring, this.#version];
    this.#version = version;
  }
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
