import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chooseVersion, noChoiceMemory } from '../../router/version-choice.ts';
import { limits } from '../../shared/limits.ts';
import type { Member } from '../../shared/member-table.ts';
import type { SliceRanges } from '../../shared/slice-ranges.ts';
import type { PublishedId, ShardState, VersionReport } from '../../shared/status-report.ts';

const id = (letter: string): string => letter.repeat(32);

function version(
  letter: string,
  sequence: number,
  slices: { kept?: SliceRanges; loading?: SliceRanges; sliceCount?: number; settled?: boolean; inUse?: boolean },
): VersionReport {
  const { kept = [], loading = [], sliceCount = 4, ...said } = slices;
  return { id: id(letter), sequence, sliceCount, slices: { kept, loading, yielding: [], corrupt: [] }, ...said };
}

function member(
  name: string,
  versions: readonly VersionReport[],
  { alive = true, state = 'ready' }: { alive?: boolean; state?: ShardState } = {},
): Member {
  const report = { name, incarnation: name, startedMs: 1, counter: 1, state, versions };
  return { name, zone: undefined, address: `${name}:7070`, fixed: true, report, lastAnswerMs: 0, lastListedMs: 0, alive };
}

const all: SliceRanges = [[0, 3]];
const half: SliceRanges = [[0, 1]];
const rest: SliceRanges = [[2, 3]];

type Asked = {
  serving?: PublishedId | undefined;
  firstRoundDone?: boolean;
  /** Since the first round; and since every version that is complete is so. */
  waitedMs?: number;
};

function chosenOf(members: readonly Member[], { serving, firstRoundDone = true, waitedMs = 0 }: Asked = {}) {
  const first = chooseVersion({ serving, members, firstRoundDone, memory: noChoiceMemory, nowMs: 1_000 });
  return chooseVersion({ serving, members, firstRoundDone, memory: first.memory, nowMs: 1_000 + waitedMs }).chosen;
}

const choose = (members: readonly Member[], asked?: Asked): string | undefined => chosenOf(members, asked)?.id[0];

describe('a router that serves nothing yet', () => {
  test('waits until every member was asked once', () => {
    expect(choose([member('a', [version('x', 1, { kept: all })])], { firstRoundDone: false, waitedMs: 99_999 })).toBeUndefined();
  });

  test('takes the newest version that is complete, over all members together', () => {
    const members = [
      member('a', [version('y', 9, { kept: half, loading: rest }), version('x', 5, { kept: half }), version('w', 1, { kept: all })]),
      member('b', [version('x', 5, { kept: rest })]),
    ];
    expect(choose(members)).toBe('x');
  });

  test('waits for a complete one for a while, then takes the best covered', () => {
    const members = [member('a', [version('y', 9, { kept: [[0, 0]] }), version('x', 5, { kept: [[0, 2]] })])];
    expect(choose(members, { waitedMs: limits.versionWaitMs - 1 })).toBeUndefined();
    expect(choose(members, { waitedMs: limits.versionWaitMs })).toBe('x');
  });

  test('says whether there may soon be something to serve', () => {
    const isPending = (members: readonly Member[], firstRoundDone = true): boolean =>
      chooseVersion({ serving: undefined, members, firstRoundDone, memory: noChoiceMemory, nowMs: 0 }).isPending;
    expect(isPending([], false)).toBe(true);
    expect(isPending([member('a', [version('x', 1, { kept: half, loading: rest })])])).toBe(true);
    expect(isPending([member('a', [version('x', 1, { loading: all })])])).toBe(false);
    expect(isPending([member('a', [version('x', 1, { kept: all })])])).toBe(false);
  });

  test('takes what other routers serve before a newer one that is complete too', () => {
    const members = [member('a', [version('y', 9, { kept: all }), version('x', 5, { kept: all, inUse: true })])];
    expect(choose(members)).toBe('x');
  });

  test('takes the newer of two that are covered equally', () => {
    const members = [member('a', [version('x', 5, { kept: half }), version('y', 9, { kept: half })])];
    expect(choose(members, { waitedMs: limits.versionWaitMs })).toBe('y');
  });

  test('has nothing to take when nobody holds anything', () => {
    expect(choose([], { waitedMs: 99_999 })).toBeUndefined();
    expect(choose([member('a', [])], { waitedMs: 99_999 })).toBeUndefined();
    expect(choose([member('a', [version('x', 1, { loading: all })])], { waitedMs: 99_999 })).toBeUndefined();
    expect(choose([member('a', [version('x', 1, { kept: all })], { alive: false })], { waitedMs: 99_999 })).toBeUndefined();
  });
});

describe('a router that serves a version', () => {
  const serving = { id: id('x'), sequence: 5 };

  test('stays with it while a newer one is incomplete, however long', () => {
    const members = [member('a', [version('x', 5, { kept: all }), version('y', 9, { kept: half })])];
    expect(choose(members, { serving, waitedMs: 999_999 })).toBeUndefined();
  });

  test('switches to a newer one when it is complete and nobody loads it', () => {
    expect(choose([member('a', [version('x', 5, { kept: all }), version('y', 9, { kept: all })])], { serving })).toBe('y');
  });

  test('waits for those who still load the newer one, up to a bound', () => {
    const members = [
      member('a', [version('x', 5, { kept: all }), version('y', 9, { kept: all })]),
      member('b', [version('y', 9, { loading: half })]),
    ];
    expect(choose(members, { serving, waitedMs: limits.versionFlipMs - 1 })).toBeUndefined();
    expect(choose(members, { serving, waitedMs: limits.versionFlipMs })).toBe('y');
  });

  test('waits for a member that should keep some of the newer one and has not begun, but not for one that leaves', () => {
    const newer = member('a', [version('x', 5, { kept: all }), version('y', 9, { kept: all, settled: true })]);
    const behind = [version('x', 5, { kept: all, settled: true })];
    expect(choose([newer, member('b', behind)], { serving })).toBeUndefined();
    expect(choose([newer, member('b', behind)], { serving, waitedMs: limits.versionFlipMs })).toBe('y');
    expect(choose([newer, member('b', behind, { state: 'leaving' })], { serving })).toBe('y');
  });

  test('goes to a newer complete one at once when its own has lost slices', () => {
    const members = [member('a', [version('x', 5, { kept: half }), version('y', 9, { kept: all })]), member('b', [])];
    expect(choose(members, { serving })).toBe('y');
  });

  test('serves the same content on under the greater sequence, and is not led back by the version between', () => {
    const members = [member('a', [version('x', 12, { kept: all }), version('y', 9, { kept: all })])];
    expect(chosenOf(members, { serving })).toMatchObject({ id: id('x'), sequence: 12 });
    const later = [member('a', [version('x', 5, { kept: all }), version('y', 9, { kept: all })])];
    expect(choose(later, { serving: { id: id('x'), sequence: 12 } })).toBeUndefined();
  });

  test('never goes to a lower sequence, even when its own has no holder any more', () => {
    expect(choose([member('a', [version('w', 4, { kept: all })])], { serving, waitedMs: 999_999 })).toBeUndefined();
    expect(choose([], { serving, waitedMs: 999_999 })).toBeUndefined();
  });

  test('does not believe that another slice count is the same version', () => {
    const members = [member('a', [version('y', 9, { kept: half })]), member('b', [version('y', 9, { kept: [[0, 7]], sliceCount: 8 })])];
    expect(choose(members, { serving })).toBeUndefined();
  });
});

describe('whatever the members report', () => {
  const anyVersion = fc
    .record({
      letter: fc.constantFrom('w', 'x', 'y'),
      kept: fc.constantFrom(all, half, rest, []),
      loading: fc.constantFrom(half, []),
      sequence: fc.integer({ min: 1, max: 9 }),
    })
    .map(({ letter, sequence, kept, loading }) => version(letter, sequence, { kept, loading }));
  const anyMember = fc.record({ versions: fc.uniqueArray(anyVersion, { selector: ({ id: each }) => each }), alive: fc.boolean() });
  const anyMembers = fc
    .array(anyMember, { maxLength: 4 })
    .map((list) => list.map(({ versions, alive }, i) => member(`m${i}`, versions, { alive })));

  test('the sequence never falls, and the order of the members does not matter', () => {
    fc.assert(
      fc.property(anyMembers, fc.integer({ min: 1, max: 9 }), fc.boolean(), fc.nat(100_000), (members, sequence, isServing, waitedMs) => {
        const asked = { serving: isServing ? { id: id('s'), sequence } : undefined, waitedMs };
        const chosen = chosenOf(members, asked);
        if (chosen && isServing) expect(chosen.sequence).toBeGreaterThan(sequence);
        const reversed = chosenOf(members.toReversed(), asked);
        expect(reversed?.sequence).toBe(chosen?.sequence);
      }),
    );
  });
});
