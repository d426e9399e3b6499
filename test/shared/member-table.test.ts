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
    // It was asked before the second one was there.
    table.answered('m:1', report({ counter: 901, versions: keeping(9) }), 3, 1);
    expect(table.find('m')).toMatchObject({ lastAnswerMs: 2, report: { incarnation: 'second' } });
  });

  test('one whose clock was set back counts when it answers where the one before it was, or that one is silent', () => {
    const later = report({ startedMs: 9_000 });
    const earlier = report({ incarnation: 'second', startedMs: 1, versions: keeping(9) });
    const sameAddress = new MemberTable();
    sameAddress.answered('m:1', later, 10);
    sameAddress.answered('m:1', earlier, 12, 11);
    expect(sameAddress.find('m')).toMatchObject({ alive: true, report: { incarnation: 'second' } });

    const otherAddress = new MemberTable();
    otherAddress.answered('m:1', later, 10);
    otherAddress.answered('m:2', earlier, 12, 11);
    expect(otherAddress.find('m')).toMatchObject({ address: 'm:1', report: { incarnation: later.incarnation } });
    const silentMs = 11 + limits.memberSilentMs;
    otherAddress.answered('m:2', earlier, silentMs, silentMs);
    expect(otherAddress.find('m')).toMatchObject({ address: 'm:2', alive: true, report: { incarnation: 'second' } });
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
  test("that is dead is not listed by an address where another one answered since, be it that one's second", () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 1);
    table.silent('m:1', 2, true);
    table.answered('n:1', report({ name: 'n', incarnation: 'other' }), 3);
    table.answered('m:1', report({ name: 'n', incarnation: 'other', counter: 9 }), 4);
    expect(table.find('n')!.address).toBe('n:1');
    const laterMs = 5 + limits.memberAbsentMs;
    table.listed(['m:1', 'n:1'], laterMs);
    table.answered('n:1', report({ name: 'n', incarnation: 'other', counter: 10 }), laterMs);
    table.forgetAbsent(laterMs);
    expect(table.members.map(({ name }) => name)).toEqual(['n']);
  });

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

  test('that starts again under another name leaves nothing of the old one', () => {
    const table = new MemberTable(['m:1', 'n:1']);
    table.answered('m:1', report({ name: 'old' }), 1);
    table.answered('m:1', report({ name: 'new', incarnation: 'second', startedMs: 2_000 }), 2);
    expect(table.members.map(({ name, fixed }) => [name, fixed])).toEqual([
      ['n:1', true],
      ['new', true],
    ]);
    table.answered('m:1', report({ name: 'old' }), 3);
    expect(table.find('old')).toBeUndefined();
  });

  test('that moves to the address of another entry keeps its place there, and whoever comes to its own has one too', () => {
    const table = new MemberTable(['m:1', 'n:1']);
    table.answered('m:1', report(), 1);
    table.answered('n:1', report({ incarnation: 'second', startedMs: 2_000 }), 2);
    expect(table.members.map(({ name, address }) => [name, address])).toEqual([['m', 'n:1']]);
    table.answered('m:1', report({ name: 'n', incarnation: 'third', startedMs: 2_000 }), 3);
    expect(table.members.map(({ name, fixed }) => [name, fixed])).toEqual([
      ['m', true],
      ['n', true],
    ]);
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

  test('that said that it leaves goes when it answers no more and does not come back', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ state: 'leaving' }), 0);
    table.forgetAbsent(limits.memberReturnMs + 1);
    expect(table.members).toHaveLength(1);
    table.silent('m:1', limits.memberReturnMs + 2, true);
    table.listed(['m:1'], limits.memberReturnMs + 2);
    table.forgetAbsent(limits.memberReturnMs + 3);
    expect(table.members).toHaveLength(0);
  });

  test('that comes back under its name has not left', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ state: 'leaving' }), 5);
    table.answered('m:1', report({ state: 'leaving', counter: 2 }), 8);
    expect(table.find('m')!.leavingSinceMs).toBe(5);
    table.silent('m:1', 9, true);
    table.forgetAbsent(limits.memberReturnMs + 5);
    table.answered('m:2', report({ incarnation: 'second', startedMs: 2_000 }), limits.memberReturnMs + 5);
    expect(table.find('m')).toMatchObject({ leavingSinceMs: undefined, heldOutUntilMs: 0, address: 'm:2' });
    table.forgetAbsent(10 * limits.memberAbsentMs);
    expect(table.members).toHaveLength(1);
  });

  test('is silent when another one answers at its address', () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 0);
    table.answered('m:1', report({ name: 'n', incarnation: 'other', startedMs: 2_000 }), 1);
    expect(table.members.map(({ name, alive }) => [name, alive])).toEqual([
      ['m', false],
      ['n', true],
    ]);
    table.listed(['m:1'], 2);
    table.forgetAbsent(1 + limits.memberAbsentMs);
    expect(table.members.map(({ name }) => name)).toEqual(['n']);
  });

  test('is not put in doubt by a late answer of the one that was at its address before', () => {
    const table = new MemberTable();
    table.answered('m:1', report({ name: 'n', startedMs: 2_000 }), 1);
    table.answered('m:1', report(), 2);
    expect(table.members.map(({ name, alive }) => [name, alive])).toEqual([['n', true]]);
    table.answered('m:1', report(), 3 + limits.memberSilentMs);
    expect(table.members.map(({ name, alive }) => [name, alive])).toEqual([
      ['m', true],
      ['n', false],
    ]);
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

describe('an answer that nobody gave', () => {
  test('says nothing of a member that answered a later question', () => {
    const table = new MemberTable();
    table.answered('m:1', report(), 10, 8);
    table.silent('m:1', 11, true, 7);
    expect(table.find('m')).toMatchObject({ alive: true, reportAskedMs: 8 });
    table.silent('m:1', 12, true, 9);
    expect(table.find('m')!.alive).toBe(false);
  });
});

describe('when more than half are silent at once', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const silence = (count: number): MemberTable => {
    const table = new MemberTable();
    for (const name of names) table.answered(`${name}:1`, report({ name, incarnation: name }), 0);
    for (const name of names.slice(0, count)) table.silent(`${name}:1`, 1_000, true);
    table.forgetAbsent(1_000);
    return table;
  };

  test('nobody goes for a long while', () => {
    const table = silence(3);
    expect(table.isFrozen(1_000)).toBe(true);
    table.forgetAbsent(2 * limits.memberAbsentMs);
    expect(table.members).toHaveLength(5);
    table.forgetAbsent(1_000 + limits.placementFrozenMs);
    expect(table.members).toHaveLength(2);
    expect(table.isFrozen(1_000 + limits.placementFrozenMs)).toBe(false);
  });

  test('all is as usual as soon as enough are back', () => {
    const table = silence(3);
    table.answered('a:1', report({ name: 'a', incarnation: 'a', counter: 2 }), 2_000);
    table.forgetAbsent(2_000);
    expect(table.isFrozen(2_000)).toBe(false);
  });

  test('and of half of them not', () => {
    const table = silence(2);
    expect(table.isFrozen(1_000)).toBe(false);
    table.forgetAbsent(1_001 + limits.memberAbsentMs);
    expect(table.members).toHaveLength(3);
  });
});

describe('a member that flaps', () => {
  const heldOutMs = (table: MemberTable, nowMs: number): number => Math.max(0, table.find('m')!.heldOutUntilMs - nowMs);
  const restart = (table: MemberTable, i: number, nowMs: number): void => {
    table.silent('m:1', nowMs - 5, true);
    table.answered('m:1', report({ incarnation: `start ${i}`, startedMs: 1_000 + i }), nowMs);
  };

  test('is held out for a time that doubles, up to a bound, and a first restart costs nothing', () => {
    const table = new MemberTable();
    const costs: number[] = [];
    for (let i = 0; i < 9; i++) {
      restart(table, i, 10_000 * i);
      costs.push(heldOutMs(table, 10_000 * i));
    }
    expect(costs).toEqual([0, 0, 30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
  });

  test('begins anew after a time of peace', () => {
    const table = new MemberTable();
    for (let i = 0; i < 4; i++) restart(table, i, 1_000 * i);
    const peaceMs = 3_000 + heldOutMs(table, 3_000) + limits.flapForgiveMs;
    restart(table, 4, peaceMs + 1);
    expect(heldOutMs(table, peaceMs + 1)).toBe(0);
  });

  test('by long silences, or so that it is forgotten in between, counts as well; by short ones, or by leaving, not', () => {
    for (const [silentMs, isFlap] of [
      [limits.sliceOrphanedMs, true],
      [limits.sliceOrphanedMs - 1, false],
      [limits.memberAbsentMs + 1, true],
    ] as const) {
      const table = new MemberTable();
      let nowMs = 0;
      for (let i = 0; i < 4; i++) {
        table.answered('m:1', report({ counter: i + 1 }), nowMs);
        table.silent('m:1', nowMs + 1, true);
        nowMs += silentMs;
        table.forgetAbsent(nowMs);
      }
      table.answered('m:1', report({ counter: 9 }), nowMs);
      expect(heldOutMs(table, nowMs) > 0, `${silentMs} ms`).toBe(isFlap);
    }
    const table = new MemberTable();
    for (let i = 0; i < 4; i++) {
      restart(table, i, 1_000 * i);
      table.answered('m:1', report({ incarnation: `start ${i}`, startedMs: 1_000 + i, counter: 2, state: 'leaving' }), 1_000 * i + 500);
    }
    expect(heldOutMs(table, 3_500)).toBe(0);
  });
});
