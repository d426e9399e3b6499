// Which version the router serves: a pure function of the reports and the clock.
//
// It starts, after every member has been asked once, with the newest complete version that other routers serve, else the newest complete one, or
// after `versionWaitMs` with the best covered one. It switches to a newer one when every slice of that has a holder, and everybody who should
// keep some of it does: at once when its own version has lost slices, and after `versionFlipMs` in any case. It never goes to a lower
// sequence; the same content published again is served on, under the greater one.

import { limits } from '../shared/limits.ts';
import type { Member } from '../shared/member-table.ts';
import { countSlices, forEachSlice } from '../shared/slice-ranges.ts';
import type { PublishedId, VersionReport } from '../shared/status-report.ts';

export type VersionCandidate = PublishedId & {
  readonly sliceCount: number;
  /** How many slices have a holder that is alive. */
  readonly covered: number;
  /** Every member that stays keeps all that placement gives it. */
  readonly isSettled: boolean;
  /** Some router serves it. */
  readonly isInUse: boolean;
};

/** What one choice remembers for the next. */
export type ChoiceMemory = {
  /** When every member had been asked once. */
  readonly firstRoundMs: number | undefined;
  /** Since when each version has been complete. */
  readonly completeSinceMs: ReadonlyMap<string, number>;
};

export const noChoiceMemory: ChoiceMemory = { firstRoundMs: undefined, completeSinceMs: new Map() };

export type ChoiceInput = {
  readonly serving: PublishedId | undefined;
  readonly members: readonly Member[];
  /** Every member has been asked once. */
  readonly firstRoundDone: boolean;
  readonly memory: ChoiceMemory;
  readonly nowMs: number;
};

export type Choice = {
  /** The version to serve from now on, which may be the one that is served, under a greater sequence; undefined: no other than now. */
  readonly chosen: VersionCandidate | undefined;
  /** Nothing is served yet, but soon something may be: not every member has been asked, or a version is held in part. */
  readonly isPending: boolean;
  readonly memory: ChoiceMemory;
};

export function chooseVersion(input: ChoiceInput): Choice {
  const { members, firstRoundDone, nowMs } = input;
  const candidates = candidatesOf(members);
  const complete = candidates.filter(isComplete);
  const completeSinceMs = new Map(complete.map(({ id }) => [id, input.memory.completeSinceMs.get(id) ?? nowMs]));
  const firstRoundMs = firstRoundDone ? (input.memory.firstRoundMs ?? nowMs) : undefined;
  const memory = { firstRoundMs, completeSinceMs };
  const chosen = input.serving ? newerVersion(input.serving, candidates, memory, nowMs) : firstVersion(candidates, memory, nowMs);
  const isPending = !input.serving && !chosen && (!firstRoundDone || candidates.some(({ covered }) => covered > 0));
  return { chosen, isPending, memory };
}

export function isComplete(candidate: VersionCandidate): boolean {
  return candidate.covered === candidate.sliceCount;
}

function firstVersion(candidates: readonly VersionCandidate[], { firstRoundMs }: ChoiceMemory, nowMs: number) {
  if (firstRoundMs === undefined) return undefined;
  const complete = candidates.filter(isComplete);
  const first = complete.find(({ isInUse }) => isInUse) ?? complete[0];
  return first ?? (nowMs - firstRoundMs >= limits.versionWaitMs ? bestCovered(candidates) : undefined);
}

function newerVersion(serving: PublishedId, candidates: readonly VersionCandidate[], { completeSinceMs }: ChoiceMemory, nowMs: number) {
  const same = candidates.find(({ id }) => id === serving.id);
  const sequence = Math.max(serving.sequence, same?.sequence ?? 0);
  const [newest] = candidates.filter((candidate) => isComplete(candidate) && candidate.sequence > sequence);
  const completeForMs = newest ? nowMs - completeSinceMs.get(newest.id)! : 0;
  const isTime = newest && (newest.isSettled || !same || !isComplete(same) || completeForMs >= limits.versionFlipMs);
  if (isTime) return newest;
  return same && same.sequence > serving.sequence ? same : undefined;
}

/** All versions that members alive report, the newest first. */
export function candidatesOf(members: readonly Member[]): readonly VersionCandidate[] {
  const found = new Map<string, PublishedId & { sliceCount: number; has: Uint8Array; isInUse: boolean }>();
  const there = members.filter(({ alive, report }) => alive && report);
  for (const { id, sequence, sliceCount, slices, inUse = false } of there.flatMap(({ report }) => report!.versions)) {
    const candidate = found.get(id) ?? { id, sequence, sliceCount, has: new Uint8Array(sliceCount), isInUse: false };
    // The id is a hash over the slice count too: another count is not this version.
    if (candidate.sliceCount !== sliceCount) continue;
    forEachSlice(slices.kept, (i) => {
      candidate.has[i] = 1;
    });
    found.set(id, { ...candidate, sequence: Math.max(candidate.sequence, sequence), isInUse: candidate.isInUse || inUse });
  }
  return [...found.values()]
    .map(({ has, ...candidate }) => ({
      ...candidate,
      covered: has.reduce((sum, one) => sum + one, 0),
      isSettled: there.every((member) => member.report!.state === 'leaving' || hasSettled(member, candidate.id)),
    }))
    .sort((a, b) => b.sequence - a.sequence || (a.id < b.id ? -1 : 1));
}

function hasSettled({ report }: Member, id: string): boolean {
  const version = report!.versions.find((each) => each.id === id);
  return version !== undefined && (version.settled ?? isAllLoaded(version));
}

/** For members that do not say whether they have what placement gives them. */
function isAllLoaded({ slices }: VersionReport): boolean {
  return countSlices(slices.loading) === 0;
}

/** Of the candidates, newest first, the one with the greatest share of its slices held; undefined when none holds anything. */
function bestCovered(candidates: readonly VersionCandidate[]): VersionCandidate | undefined {
  let best: VersionCandidate | undefined;
  for (const candidate of candidates) {
    if (candidate.covered / candidate.sliceCount > (best ? best.covered / best.sliceCount : 0)) best = candidate;
  }
  return best;
}
