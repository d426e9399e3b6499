// Which version the router serves: a pure function of the reports and the clock.
//
// It starts, after every member has been asked once, with the newest complete version, or after `versionWaitMs` with the best
// covered one. It switches to a newer one when each slice has a holder and nobody loads it any more, or after `versionFlipMs`
// when each slice has a holder. It never goes to a lower sequence.

import { limits } from '../shared/limits.ts';
import type { Member } from '../shared/member-table.ts';
import { countSlices, forEachSlice } from '../shared/slice-ranges.ts';

export type VersionCandidate = {
  readonly id: string;
  readonly sequence: number;
  readonly sliceCount: number;
  /** How many slices have a holder that is alive. */
  readonly covered: number;
  /** A member that is alive still loads some of it. */
  readonly isLoading: boolean;
};

export type ChoiceInput = {
  readonly serving: { readonly id: string; readonly sequence: number } | undefined;
  readonly members: readonly Member[];
  readonly firstRoundDone: boolean;
  /** Milliseconds since the first round of polls was done. */
  readonly waitedMs: number;
  /** Milliseconds since the newest complete version was first seen complete. */
  readonly completeForMs: (id: string) => number;
};

/** The version to serve from now on; undefined: none yet, or the one that is served. */
export function chooseVersion(input: ChoiceInput): VersionCandidate | undefined {
  const { serving, firstRoundDone, waitedMs } = input;
  const candidates = candidatesOf(input.members);
  const complete = candidates.filter(isComplete);
  const newestComplete = complete[0];
  if (!serving) {
    if (!firstRoundDone) return undefined;
    if (newestComplete) return newestComplete;
    return waitedMs >= limits.versionWaitMs ? bestCovered(candidates) : undefined;
  }
  // The same content published again: its sequence counts from now on.
  if (!newestComplete || newestComplete.sequence <= serving.sequence) return undefined;
  const isSettled = !newestComplete.isLoading || input.completeForMs(newestComplete.id) >= limits.versionFlipMs;
  return isSettled ? newestComplete : undefined;
}

export function isComplete(candidate: VersionCandidate): boolean {
  return candidate.covered === candidate.sliceCount;
}

/** All versions that members alive report, the newest first. */
export function candidatesOf(members: readonly Member[]): readonly VersionCandidate[] {
  const found = new Map<string, { id: string; sequence: number; sliceCount: number; has: Uint8Array; isLoading: boolean }>();
  for (const { alive, report } of members) {
    if (!alive || !report) continue;
    for (const { id, sequence, sliceCount, slices } of report.versions) {
      const candidate = found.get(id) ?? { id, sequence, sliceCount, has: new Uint8Array(sliceCount), isLoading: false };
      // The id is a hash over the slice count too: another count is not this version.
      if (candidate.sliceCount !== sliceCount) continue;
      candidate.sequence = Math.max(candidate.sequence, sequence);
      candidate.isLoading ||= countSlices(slices.loading) > 0;
      forEachSlice(slices.kept, (i) => {
        candidate.has[i] = 1;
      });
      found.set(id, candidate);
    }
  }
  return [...found.values()]
    .map(({ id, sequence, sliceCount, has, isLoading }) => ({
      id,
      sequence,
      sliceCount,
      isLoading,
      covered: has.reduce((sum, one) => sum + one, 0),
    }))
    .sort((a, b) => b.sequence - a.sequence || (a.id < b.id ? -1 : 1));
}

/** Of the candidates, newest first, the one with the greatest share of its slices held; undefined when none holds anything. */
function bestCovered(candidates: readonly VersionCandidate[]): VersionCandidate | undefined {
  let best: VersionCandidate | undefined;
  for (const candidate of candidates) {
    if (candidate.covered / candidate.sliceCount > (best ? best.covered / best.sliceCount : 0)) best = candidate;
  }
  return best;
}
