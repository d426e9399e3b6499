// Whether a shard that was told to stop may go: a pure function of what it holds, what the members report, and the clock.
//
// It goes when each of its slices is kept by a member that stays, and the others had the time to see that: routers the new holders, shards that
// it leaves and did not die. Or when its grace ends. Or when nobody stays; one that is silent may still be there, and is waited for as long as
// it takes to ask it a few times more.

import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { forEachSlice } from '../shared/slice-ranges.ts';
import { type DecidedVersion, reportOf } from './decide.ts';
import { isLeaving, isStaying, type MemberView } from './owners.ts';

export type LeaveInput = {
  readonly self: string;
  readonly members: readonly MemberView[];
  readonly versions: readonly DecidedVersion[];
  readonly leavingSinceMs: number;
  readonly graceMs: number;
  /** From the last look; undefined at first. */
  readonly coveredSinceMs: number | undefined;
  readonly nowMs: number;
};

export type LeaveState = {
  readonly mayLeave: boolean;
  /** Slices that nobody who stays keeps, as far as is known for certain. */
  readonly aloneCount: number;
  /** Since when there have been none of these. */
  readonly coveredSinceMs: number | undefined;
};

export function followLeaving(input: LeaveInput): LeaveState {
  const { self, members, versions, leavingSinceMs, graceMs, nowMs } = input;
  const others = members.filter((member) => member.name !== self && !isLeaving(member));
  const aloneCount = versions.reduce((sum, version) => sum + slicesAlone(others, version, nowMs).length, 0);
  const coveredSinceMs = aloneCount > 0 ? undefined : (input.coveredSinceMs ?? nowMs);
  const areGone = (member: MemberView): boolean => !isStaying(member) && nowMs - member.askedMs > limits.leaveSilentMs;
  const hadNotice = nowMs - leavingSinceMs >= limits.leaveNoticeMs;
  const wereToldOfHolders = coveredSinceMs !== undefined && nowMs - coveredSinceMs >= limits.leaveNoticeMs;
  const mayLeave = others.length === 0 || nowMs - leavingSinceMs >= graceMs || (hadNotice && (wereToldOfHolders || others.every(areGone)));
  return { mayLeave, aloneCount, coveredSinceMs };
}

/** The slices that this shard answers from and none of `others` is known to keep now. */
function slicesAlone(others: readonly MemberView[], version: DecidedVersion, nowMs: number): readonly SliceIndex[] {
  const isKept = new Uint8Array(version.sliceCount);
  for (const member of others) {
    // What one reported long ago it may be about to free.
    if (!isStaying(member) || nowMs - member.askedMs > limits.reportFreshMs) continue;
    forEachSlice(reportOf(member, version)?.slices.kept ?? [], (sliceIndex) => {
      isKept[sliceIndex] = 1;
    });
  }
  const alone: SliceIndex[] = [];
  for (let i = 0; i < version.sliceCount; i++) {
    const state = version.stateOf(i as SliceIndex);
    if ((state === 'kept' || state === 'yielding') && !isKept[i]) alone.push(i as SliceIndex);
  }
  return alone;
}
