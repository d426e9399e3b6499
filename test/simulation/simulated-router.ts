// A router in virtual time: the real choice of the version and the real table from slice to holders, over a real member table.

import type { MemberLane } from '../../router/member-lane.ts';
import { RoutedVersion } from '../../router/routed-version.ts';
import { type ChoiceMemory, chooseVersion, noChoiceMemory } from '../../router/version-choice.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import type { Member } from '../../shared/member-table.ts';
import { includesSlice } from '../../shared/slice-ranges.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import { SimulatedPoller } from './simulated-poller.ts';

/** The name of a member in place of the lane to it. */
type NamedLane = { readonly name: string; readonly address: string };

export class SimulatedRouter {
  readonly name: string;
  readonly #cluster: SimulatedCluster;
  readonly #poller: SimulatedPoller;
  readonly #table;
  #version: RoutedVersion | undefined;
  #revision = -1;
  #choiceMemory: ChoiceMemory = noChoiceMemory;
  /** Every slice had a holder once. */
  wasWhole = false;

  constructor(cluster: SimulatedCluster, name: string) {
    this.#cluster = cluster;
    this.name = name;
    this.#table = cluster.decisions.newTable(cluster.fixedAddresses);
    this.#poller = new SimulatedPoller({ cluster, table: this.#table, self: name, isGone: () => false, onChange: () => this.#follow() });
  }

  /** The members that it would ask for a key of the slice. */
  holdersOf(sliceIndex: number): readonly NamedLane[] {
    return (this.#version?.holdersOf(sliceIndex as SliceIndex) ?? []) as unknown as readonly NamedLane[];
  }

  /** What its table says of the member: the slices it may be asked for. */
  mayAsk({ name, address }: NamedLane, sliceIndex: number): boolean {
    const member = this.#table.find(name);
    const slices = member?.report?.versions[0]?.slices;
    if (!member?.alive || !slices || member.address !== address) return false;
    return includesSlice(slices.kept, sliceIndex) || includesSlice(slices.yielding, sliceIndex);
  }

  #follow(): void {
    const { nowMs } = this.#cluster.clock;
    // The reports change seldom, and with them all that follows from them.
    if (this.#version && this.#revision === this.#table.revision) return;
    this.#revision = this.#table.revision;
    const { members } = this.#table;
    const { firstRoundDone } = this.#poller;
    const { chosen, memory } = chooseVersion({ serving: this.#version, members, firstRoundDone, memory: this.#choiceMemory, nowMs });
    this.#choiceMemory = memory;
    if (chosen) this.#version = new RoutedVersion(chosen);
    this.#version?.follow(members, ({ name, address }: Member) => ({ name, address }) satisfies NamedLane as unknown as MemberLane);
    this.wasWhole ||= this.#version !== undefined && Object.keys(this.#version.absentSlices()).length === 0;
  }
}
