// What a shard does about the slices of one version, as a pure function of what it holds, what the members report, and the clock.
//
//              load                            placement gives it to others, and all of these keep it
//     absent ────────> queued, loading ────> kept ──────────────────────────────────────────> yielding
//       ^                                     ^                                                 │   │
//       │                                     └────────────── anything else ────────────────────┘   │ after `sliceYieldMs`, and as
//       └───────────────────────────────────── free ────────────────────────────────────────────────┘ long without a request
//
// It loads a slice if the placement over all owners gives it; or if the placement over those that are there gives it, and the slice is kept by
// nobody but members that leave, or for `sliceOrphanedMs` was neither kept nor loaded anywhere. Least-held first. For the latter nobody is held
// out: who is there is what all agree upon soonest, and somebody must take the slice.
//
// Only `kept` makes a holder. Whoever frees a slice has reported it as `yielding` for `sliceYieldMs`, and has reports of its owners, asked for in the
// last `reportFreshMs`, that say `kept`. So an owner that counts for somebody's freeing did not free it, and will not for
// `sliceYieldMs - reportFreshMs`: then it would have to find keepers by itself. Two shards with different views can never both drop the last two
// copies, whatever they believe of the members. Why this way: docs/decisions/009-yield-before-drop.md.

import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import type { PlacementMember } from '../shared/placement.ts';
import { recallPlacement } from '../shared/placement-memo.ts';
import { forEachSlice } from '../shared/slice-ranges.ts';
import type { VersionReport } from '../shared/status-report.ts';
import type { SliceState } from './held-version.ts';
import { areSettled, isLeaving, isStaying, type MemberView, type Owners } from './owners.ts';

/** What the decision reads of the version that it is about. */
export type DecidedVersion = {
  readonly id: string;
  readonly sliceCount: number;
  readonly stateOf: (sliceIndex: SliceIndex) => SliceState;
  /** When a slice that is yielding was last asked for; undefined: not since it yields. */
  readonly lastAskedMs: (sliceIndex: SliceIndex) => number | undefined;
};

/** What one decision remembers for the next. */
export type DecisionMemory = {
  /** Since when each slice has neither been kept nor loaded by anybody. */
  readonly orphanedSinceMs: ReadonlyMap<SliceIndex, number>;
  /** Since when this shard reports each slice as yielding. */
  readonly yieldingSinceMs: ReadonlyMap<SliceIndex, number>;
};

export const noMemory: DecisionMemory = { orphanedSinceMs: new Map(), yieldingSinceMs: new Map() };

export type DecisionInput = {
  readonly self: string;
  readonly replicas: number;
  readonly members: readonly MemberView[];
  readonly owners: Owners;
  /** Nothing is to move beyond what placement gives: most of the others cannot be reached. */
  readonly isFrozen: boolean;
  readonly version: DecidedVersion;
  readonly memory: DecisionMemory;
  readonly nowMs: number;
};

export type Decision = {
  /** The slices that placement gives this shard: it is ready when each is kept or corrupt. */
  readonly placed: readonly SliceIndex[];
  /** The slices to load, in this order. */
  readonly load: readonly SliceIndex[];
  /** From kept to yielding. */
  readonly yield: readonly SliceIndex[];
  /** From yielding back to kept. */
  readonly keep: readonly SliceIndex[];
  /** Yielding slices, or corrupt ones, to forget: at once, since the decision is true only now. */
  readonly free: readonly SliceIndex[];
  /** Members to be asked afresh: a slice could be freed if they still keep it. */
  readonly poll: readonly string[];
  readonly memory: DecisionMemory;
};

export function decide(input: DecisionInput): Decision {
  const { self, replicas, members, owners, version, nowMs } = input;
  const { sliceCount } = version;
  const placement = recallPlacement({ members: owners.inForce ?? [], sliceCount, replicas });
  const placementThere = recallPlacement({ members: inNameOrder(members.filter(isStaying)), sliceCount, replicas });
  const census = countHolders(input);
  const isSelfLeaving = members.some((member) => member.name === self && isLeaving(member));
  const maySettle = !input.isFrozen && areSettled(owners) && !isSelfLeaving;

  const placed: SliceIndex[] = [];
  const load: SliceIndex[] = [];
  const yields: SliceIndex[] = [];
  const keep: SliceIndex[] = [];
  const free: SliceIndex[] = [];
  const poll = new Set<string>();
  const orphanedSinceMs = new Map<SliceIndex, number>();
  const yieldingSinceMs = new Map<SliceIndex, number>();
  for (let i = 0; i < version.sliceCount; i++) {
    const sliceIndex = i as SliceIndex;
    const state = version.stateOf(sliceIndex);
    const isPlaced = !isSelfLeaving && placement[i]!.includes(self);
    if (isPlaced) placed.push(sliceIndex);
    if (census.present[i] === 0) orphanedSinceMs.set(sliceIndex, input.memory.orphanedSinceMs.get(sliceIndex) ?? nowMs);
    const isOrphan = !input.isFrozen && nowMs - (orphanedSinceMs.get(sliceIndex) ?? nowMs) >= limits.sliceOrphanedMs;
    const isLeft = census.keptByStaying[i] === 0 && census.keptByLeaving[i]! > 0;
    const isWanted = !isSelfLeaving && (isPlaced || ((isOrphan || isLeft) && placementThere[i]!.includes(self)));

    if (state === 'absent' || state === 'queued') {
      if (isWanted) load.push(sliceIndex);
    } else if (state === 'corrupt') {
      if (!isWanted && maySettle) free.push(sliceIndex);
    } else if (state === 'kept' || state === 'yielding') {
      const keepers = isWanted || !maySettle ? undefined : keepersOf(input, placement[i]!, sliceIndex);
      if (!keepers) {
        if (state === 'yielding') keep.push(sliceIndex);
        continue;
      }
      const sinceMs = input.memory.yieldingSinceMs.get(sliceIndex) ?? nowMs;
      yieldingSinceMs.set(sliceIndex, sinceMs);
      if (state === 'kept') yields.push(sliceIndex);
      else if (nowMs - Math.max(sinceMs, version.lastAskedMs(sliceIndex) ?? sinceMs) >= limits.sliceYieldMs) {
        const stale = keepers.filter(({ askedMs }) => nowMs - askedMs > limits.reportFreshMs);
        if (stale.length === 0) free.push(sliceIndex);
        for (const { name } of stale) poll.add(name);
      }
    }
  }
  load.sort((a, b) => census.present[a]! - census.present[b]! || a - b);
  return { placed, load, yield: yields, keep, free, poll: [...poll], memory: { orphanedSinceMs, yieldingSinceMs } };
}

/** In the order of their names, as everybody else has them: then the placement is remembered for all alike. */
function inNameOrder(members: readonly MemberView[]): readonly PlacementMember[] {
  return members.map(({ name, zone }) => ({ name, zone })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The owners of the slice, when all of them stay and say that they keep it; undefined when one does not. */
function keepersOf(input: DecisionInput, names: readonly string[], sliceIndex: SliceIndex): readonly MemberView[] | undefined {
  const keepers: MemberView[] = [];
  for (const name of names) {
    const member = input.members.find((each) => each.name === name);
    if (!member || !isStaying(member) || member.heldOut || !keeps(member, input.version, sliceIndex)) return undefined;
    keepers.push(member);
  }
  return keepers.length > 0 ? keepers : undefined;
}

function keeps(member: MemberView, version: DecidedVersion, sliceIndex: SliceIndex): boolean {
  const kept = reportOf(member, version)?.slices.kept ?? [];
  return kept.some(([first, last]) => first <= sliceIndex && sliceIndex <= last);
}

/** How many members alive have each slice: `present` keep it or, others than this shard, load it. */
function countHolders({ self, members, version }: DecisionInput) {
  const census = {
    present: new Uint16Array(version.sliceCount),
    keptByStaying: new Uint16Array(version.sliceCount),
    keptByLeaving: new Uint16Array(version.sliceCount),
  };
  for (const member of members) {
    if (!member.alive) continue;
    const { kept = [], loading = [] } = reportOf(member, version)?.slices ?? {};
    forEachSlice(kept, (sliceIndex) => {
      census.present[sliceIndex]!++;
      if (isStaying(member)) census.keptByStaying[sliceIndex]!++;
      else census.keptByLeaving[sliceIndex]!++;
    });
    // An orphan that this shard has queued is still one: else it would leave the queue as soon as it is in it.
    if (member.name === self) continue;
    forEachSlice(loading, (sliceIndex) => {
      census.present[sliceIndex]!++;
    });
  }
  return census;
}

/** What the member reports of the version, when its slice count is the same. */
export function reportOf(member: MemberView, version: DecidedVersion): VersionReport | undefined {
  return member.versions.find(({ id, sliceCount }) => id === version.id && sliceCount === version.sliceCount);
}
