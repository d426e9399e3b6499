import { describe, expect, test } from 'vitest';
import type { SliceState } from '../../shard/held-version.ts';
import { followLeaving, type LeaveInput } from '../../shard/leave.ts';
import type { MemberView } from '../../shard/owners.ts';
import { limits } from '../../shared/limits.ts';
import { rangesOf } from '../../shared/slice-ranges.ts';

const id = 'a'.repeat(32);
const sliceCount = 4;
const noticeMs = limits.leaveNoticeMs;
/** It answers from 0 and 1. */
const states: readonly SliceState[] = ['kept', 'yielding', 'loading', 'absent'];

function view(name: string, kept: readonly number[], fields: Partial<MemberView> & { yielding?: readonly number[] } = {}): MemberView {
  const { yielding = [], ...rest } = fields;
  const ranges = (indices: readonly number[]) => rangesOf(sliceCount, (i) => indices.includes(i));
  const slices = { kept: ranges(kept), loading: [], yielding: ranges(yielding), corrupt: [] };
  const versions = [{ id, sequence: 1, sliceCount, slices }];
  return { name, zone: undefined, alive: true, leavingSinceMs: undefined, heldOut: false, askedMs: 0, versions, ...rest };
}

function follow(others: readonly MemberView[], input: Partial<LeaveInput> = {}) {
  return followLeaving({
    self: 'a',
    members: [view('a', [0], { leavingSinceMs: 0 }), ...others],
    versions: [{ id, sliceCount, stateOf: (i) => states[i]!, lastAskedMs: () => undefined }],
    leavingSinceMs: 0,
    graceMs: 30_000,
    coveredSinceMs: undefined,
    nowMs: 0,
    ...input,
  });
}

describe('a shard that leaves', () => {
  test.each<[string, readonly MemberView[], number]>([
    ['nobody else has', [view('b', [])], 2],
    ['others keep', [view('b', [0, 2]), view('c', [1])], 0],
    ['another one yields as well', [view('b', [0]), view('c', [], { yielding: [1] })], 1],
    ['another one that leaves keeps', [view('b', [0]), view('c', [1], { leavingSinceMs: 0 })], 1],
    ['a silent one keeps', [view('b', [0]), view('c', [1], { alive: false })], 1],
    ['one that flaps keeps', [view('b', [0]), view('c', [1], { heldOut: true })], 0],
    ['others kept some time ago', [view('b', [0, 1], { askedMs: -limits.reportFreshMs - 1 })], 2],
  ])('counts the slices that %s', (_what, others, aloneCount) => {
    expect(follow(others).aloneCount).toBe(aloneCount);
  });

  test('goes when others keep its slices, and had the time to be seen to do so', () => {
    const covered = [view('b', [0, 1], { askedMs: 5_000 })];
    expect(follow(covered, { nowMs: 5_000 })).toEqual({ mayLeave: false, aloneCount: 0, coveredSinceMs: 5_000 });
    expect(follow(covered, { nowMs: 5_000, coveredSinceMs: 5_001 - noticeMs }).mayLeave).toBe(false);
    expect(follow(covered, { nowMs: 5_000, coveredSinceMs: 5_000 - noticeMs }).mayLeave).toBe(true);
    expect(follow([view('b', [0], { askedMs: 5_000 })], { nowMs: 5_000, coveredSinceMs: 0 })).toEqual({
      mayLeave: false,
      aloneCount: 1,
      coveredSinceMs: undefined,
    });
  });

  test('goes when its grace ends', () => {
    expect(follow([view('b', [])], { nowMs: 29_999 }).mayLeave).toBe(false);
    expect(follow([view('b', [])], { nowMs: 30_000 }).mayLeave).toBe(true);
    expect(follow([view('b', [])], { graceMs: 0 }).mayLeave).toBe(true);
  });

  test('goes at once when it is alone, or all others leave', () => {
    expect(follow([]).mayLeave).toBe(true);
    expect(follow([view('b', [], { leavingSinceMs: 0 }), view('c', [], { leavingSinceMs: 0, alive: false })]).mayLeave).toBe(true);
  });

  test('asks those who are silent once more before it takes them for gone', () => {
    const silent = [view('b', [], { alive: false })];
    expect(follow(silent, { nowMs: limits.leaveSilentMs }).mayLeave).toBe(false);
    expect(follow(silent, { nowMs: limits.leaveSilentMs + 1 }).mayLeave).toBe(true);
    const neverHeardOf = [view('b', [], { alive: false, askedMs: Number.NEGATIVE_INFINITY })];
    expect(follow(neverHeardOf, { nowMs: noticeMs }).mayLeave).toBe(true);
  });
});
