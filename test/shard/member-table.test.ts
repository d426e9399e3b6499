import { describe, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { MemberTable } from '../../shared/member-table.ts';
import type { StatusReport } from '../../shared/status-report.ts';

const report = (fields: Partial<StatusReport> = {}): StatusReport => ({
  name: 'm',
  incarnation: 'first',
  startedMs: 1_000,
  counter: 1,
  state: 'ready',
  versions: [],
  ...fields,
});
const keeping = (last: number): StatusReport['versions'] => [
  { id: 'a'.repeat(32), sequence: 1, sliceCount: 16, slices: { kept: [[0, last]], loading: [], yielding: [], corrupt: [] } },
];

describe('of two reports', () => {
  test('the one with the greater counter counts, in whatever order they come', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ counter: 5, versions: keeping(5) }), 1);
    table.answered('m:1', report({ counter: 4, versions: keeping(4) }), 2);
    table.answered('m:1', report({ counter: 5, versions: keeping(3) }), 2);
    expect(table.find('m')!.report!.versions).toEqual(keeping(5));
    table.answered('m:1', report({ counter: 6, versions: keeping(6) }), 3);
    expect(table.find('m')!.report!.versions).toEqual(keeping(6));
  });

  test('of two starts of one name the later start counts, whatever the counters', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ counter: 900, versions: keeping(9) }), 1);
    table.answered('m:1', report({ incarnation: 'second', startedMs: 2_000, counter: 1 }), 2);
    expect(table.find('m')!.report!.versions).toEqual([]);
    table.answered('m:1', report({ counter: 901, versions: keeping(9) }), 3);
    expect(table.find('m')).toMatchObject({ lastAnswerMs: 2, report: { incarnation: 'second' } });
  });

  test('of two starts in the same millisecond all choose the same one', () => {
    const reports = [report({ incarnation: 'x' }), report({ incarnation: 'y' })];
    const chosen = [reports, reports.toReversed()].map((order) => {
      const table = new MemberTable();
      for (const each of order) table.answered('m:1', each, 1);
      return table.find('m')!.report!.incarnation;
    });
    expect(chosen[0]).toBe(chosen[1]);
  });
});

describe('a member', () => {
  test('that starts again at another address is one member, there', () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 1);
    table.answered('m:2', report({ incarnation: 'second', startedMs: 2_000 }), 2);
    expect(table.members.map(({ name, address }) => [name, address])).toEqual([['m', 'm:2']]);
  });

  test('that answers at two addresses is one member, and stays where it was found', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ counter: 1 }), 1);
    const { revision } = table;
    for (let i = 1; i < 5; i++) {
      table.answered('m:2', report({ counter: 2 * i }), i * 1_000);
      table.answered('m:1', report({ counter: 2 * i + 1 }), i * 1_000);
    }
    expect(table.members.map(({ address }) => address)).toEqual(['m:1']);
    expect(table.revision).toBe(revision);
  });

  test('that answers no more at the first of its addresses moves to the second', () => {
    for (const refused of [true, false]) {
      const table = new MemberTable();
      table.answered('m:1', report({ counter: 1 }), 0);
      for (let i = 1; i <= 4; i++) {
        table.silent('m:1', i * 1_000, refused);
        table.answered('m:2', report({ counter: 1 + i }), i * 1_000);
      }
      expect(table.members.map(({ address, alive }) => [address, alive])).toEqual([['m:2', true]]);
    }
  });

  test('is alive until it is refused, or silent for a while', () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 0);
    table.silent('m:1', limits.memberSilentMs, false);
    expect(table.find('m')!.alive).toBe(true);
    table.silent('m:1', limits.memberSilentMs + 1, false);
    expect(table.find('m')!.alive).toBe(false);
    table.answered('m:1', report({ counter: 2 }), 5_000);
    expect(table.find('m')!.alive).toBe(true);
    table.silent('m:1', 5_001, true);
    expect(table.find('m')!.alive).toBe(false);
    table.silent('elsewhere:1', 5_002, true);
  });

  test('is told as changed when it comes, goes, moves or says something else, and only then', () => {
    const table = new MemberTable();
    const changes = (act: () => void): boolean => {
      const { revision } = table;
      act();
      return table.revision !== revision;
    };
    expect(changes(() => table.answered('m:1', report({ counter: 1 }), 1))).toBe(true);
    expect(changes(() => table.answered('m:1', report({ counter: 2 }), 2))).toBe(false);
    expect(changes(() => table.answered('m:1', report({ counter: 3, state: 'leaving' }), 3))).toBe(true);
    expect(changes(() => table.answered('m:1', report({ counter: 4, versions: keeping(1) }), 4))).toBe(true);
    expect(changes(() => table.silent('m:1', 5, false))).toBe(false);
    expect(changes(() => table.silent('m:1', 5, true))).toBe(true);
    expect(changes(() => table.silent('m:1', 6, true))).toBe(false);
    expect(changes(() => table.answered('m:1', report({ counter: 5 }), 7))).toBe(true);
  });
});

describe('a member of a fixed list', () => {
  test('is known by its address until it says its name, and never goes', () => {
    const table = new MemberTable(['m:1', 'n:1']);
    expect(table.members.map(({ name, alive }) => [name, alive])).toEqual([
      ['m:1', false],
      ['n:1', false],
    ]);
    table.answered('m:1', report(), 1);
    expect(table.members.map(({ name }) => name)).toEqual(['m', 'n:1']);
    table.silent('m:1', 2, true);
    table.forgetAbsent(10 * limits.memberAbsentMs);
    expect(table.members.map(({ name }) => name)).toEqual(['m', 'n:1']);
  });

  test('that left stays known too', () => {
    const table = new MemberTable(['m:1']);
    table.answered('m:1', report({ state: 'leaving' }), 1);
    table.silent('m:1', 2, true);
    table.forgetAbsent(3);
    expect(table.members).toHaveLength(1);
  });

  test('is one though two entries of the list lead to it', () => {
    const table = new MemberTable(['m:1', 'localhost:1']);
    table.answered('m:1', report({ counter: 1 }), 1);
    const { revision } = table;
    table.answered('localhost:1', report({ counter: 2 }), 1);
    expect(table.members.map(({ name }) => name)).toEqual(['m']);
    expect(table.revision).toBeGreaterThan(revision);
  });
});

describe('a discovered member', () => {
  test('goes when it was neither listed nor answered for a while', () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 0);
    table.silent('m:1', 1, true);
    table.listed(['m:1'], 10_000);
    table.forgetAbsent(10_000 + limits.memberAbsentMs);
    expect(table.members).toHaveLength(1);
    table.listed(['another:1'], 20_000 + limits.memberAbsentMs);
    table.forgetAbsent(10_001 + limits.memberAbsentMs);
    expect(table.members).toHaveLength(0);
  });

  test('goes at once when it said that it leaves and answers no more', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ state: 'leaving' }), 0);
    table.forgetAbsent(1);
    expect(table.members).toHaveLength(1);
    table.silent('m:1', 2, true);
    table.forgetAbsent(3);
    expect(table.members).toHaveLength(0);
  });

  test('is not forgotten while it answers, though nobody lists it', () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 0);
    table.forgetAbsent(10 * limits.memberAbsentMs);
    expect(table.members).toHaveLength(1);
  });

  test('is not taken in beyond the bound', () => {
    const table = new MemberTable();
    for (let i = 0; i <= limits.membersMax; i++) table.answered(`m:${i}`, report({ name: `m${i}`, incarnation: `i${i}` }), 1);
    expect(table.members).toHaveLength(limits.membersMax);
  });
});
