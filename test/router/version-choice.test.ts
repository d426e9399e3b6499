import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ChoiceInput, chooseVersion } from '../../router/version-choice.ts';
import { limits } from '../../shared/limits.ts';
import type { Member } from '../../shared/member-table.ts';
import type { SliceRanges } from '../../shared/slice-ranges.ts';
import type { VersionReport } from '../../shared/status-report.ts';

const id = (letter: string): string => letter.repeat(32);

function version(
  letter: string,
  sequence: number,
  slices: { kept?: SliceRanges; loading?: SliceRanges; sliceCount?: number },
): VersionReport {
  const { kept = [], loading = [], sliceCount = 4 } = slices;
  return { id: id(letter), sequence, sliceCount, slices: { kept, loading, yielding: [], corrupt: [] } };
}

function member(name: string, versions: readonly VersionReport[], { alive = true }: { alive?: boolean } = {}): Member {
  const report = { name, incarnation: name, startedMs: 1, counter: 1, state: 'ready' as const, versions };
  return { name, zone: undefined, address: `${name}:7070`, fixed: true, report, lastAnswerMs: 0, lastListedMs: 0, alive };
}

const all: SliceRanges = [[0, 3]];
const half: SliceRanges = [[0, 1]];
const rest: SliceRanges = [[2, 3]];

function choose(members: readonly Member[], input: Partial<ChoiceInput> = {}): string | undefined {
  const { serving, firstRoundDone = true, waitedMs = 0, completeForMs = () => 0 } = input;
  return chooseVersion({ serving, members, firstRoundDone, waitedMs, completeForMs })?.id[0];
}

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
    expect(choose(members, { serving, completeForMs: () => 999_999 })).toBeUndefined();
  });

  test('switches to a newer one when it is complete and nobody loads it', () => {
    expect(choose([member('a', [version('x', 5, { kept: all }), version('y', 9, { kept: all })])], { serving })).toBe('y');
  });

  test('waits for those who still load the newer one, up to a bound', () => {
    const members = [member('a', [version('y', 9, { kept: all })]), member('b', [version('y', 9, { loading: half })])];
    expect(choose(members, { serving, completeForMs: () => limits.versionFlipMs - 1 })).toBeUndefined();
    expect(choose(members, { serving, completeForMs: () => limits.versionFlipMs })).toBe('y');
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
        const input = {
          serving: isServing ? { id: id('s'), sequence } : undefined,
          firstRoundDone: true,
          waitedMs,
          completeForMs: () => waitedMs,
        };
        const chosen = chooseVersion({ ...input, members });
        if (chosen && isServing) expect(chosen.sequence).toBeGreaterThan(sequence);
        const reversed = chooseVersion({ ...input, members: members.toReversed() });
        expect(reversed?.sequence).toBe(chosen?.sequence);
      }),
    );
  });
});
