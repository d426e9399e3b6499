// What a shard should load, as a pure function of what it holds, what the members report, and the clock.
//
// It loads a slice if the placement over all members gives it (those that leave do not count, absent ones do until they are
// forgotten), or if for `sliceOrphanedMs` nobody kept or loaded the slice and the placement over those alive gives it.
// Least-held first. It never drops a slice.

import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { placeSlices } from '../shared/placement.ts';
import { forEachSlice } from '../shared/slice-ranges.ts';
import type { ShardState, VersionReport } from '../shared/status-report.ts';
import type { SliceState } from './held-version.ts';

/** A member as the decision sees it; this shard itself is one of them. */
export type MemberView = {
  readonly name: string;
  readonly zone: string | undefined;
  readonly alive: boolean;
  readonly state: ShardState;
  readonly versions: readonly VersionReport[];
};

export type DecisionInput = {
  readonly self: string;
  readonly replicas: number;
  readonly members: readonly MemberView[];
  readonly version: { readonly id: string; readonly sliceCount: number; readonly stateOf: (sliceIndex: SliceIndex) => SliceState };
  /** Since when each slice has had no holder, from the last decision; empty at first. */
  readonly orphanedSinceMs: ReadonlyMap<SliceIndex, number>;
  readonly nowMs: number;
};

export type Decision = {
  /** The slices to load, in this order. */
  readonly load: readonly SliceIndex[];
  /** The slices that placement gives this shard: it is ready when each is kept or corrupt. */
  readonly placed: readonly SliceIndex[];
  readonly orphanedSinceMs: ReadonlyMap<SliceIndex, number>;
};

export function decide(input: DecisionInput): Decision {
  const { self, replicas, version, nowMs } = input;
  const { sliceCount } = version;
  const staying = input.members.filter(({ state }) => state !== 'leaving');
  const placedAt = placeSlices({ members: staying, sliceCount, replicas });
  const placedAlive = placeSlices({ members: staying.filter(({ alive }) => alive), sliceCount, replicas });
  const holders = holdersOf(input);

  const orphanedSinceMs = new Map<SliceIndex, number>();
  const load: SliceIndex[] = [];
  const placed: SliceIndex[] = [];
  for (let i = 0; i < sliceCount; i++) {
    const sliceIndex = i as SliceIndex;
    const isPlaced = placedAt[i]!.includes(self);
    if (isPlaced) placed.push(sliceIndex);
    if (holders[i] === 0) orphanedSinceMs.set(sliceIndex, input.orphanedSinceMs.get(sliceIndex) ?? nowMs);
    const isOrphan = nowMs - (orphanedSinceMs.get(sliceIndex) ?? nowMs) >= limits.sliceOrphanedMs;
    const isWanted = isPlaced || (isOrphan && placedAlive[i]!.includes(self));
    const state = version.stateOf(sliceIndex);
    if (isWanted && (state === 'absent' || state === 'queued')) load.push(sliceIndex);
  }
  load.sort((a, b) => holders[a]! - holders[b]! || a - b);
  return { load, placed, orphanedSinceMs };
}

/** How many members alive keep or load each slice of the version. */
function holdersOf(input: DecisionInput): Uint16Array {
  const holders = new Uint16Array(input.version.sliceCount);
  for (const member of input.members) {
    if (!member.alive) continue;
    const report = member.versions.find(({ id }) => id === input.version.id);
    if (!report || report.sliceCount !== input.version.sliceCount) continue;
    const count = (sliceIndex: number): void => {
      holders[sliceIndex]!++;
    };
    forEachSlice(report.slices.kept, count);
    forEachSlice(report.slices.loading, count);
  }
  return holders;
}
