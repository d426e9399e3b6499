import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MemberView } from '../../shard/owners.ts';
import { noVersionMemory, type PlannedVersion, planVersions, type VersionPlan, type VersionPlanInput } from '../../shard/version-plan.ts';
import { limits } from '../../shared/limits.ts';
import type { SliceRanges } from '../../shared/slice-ranges.ts';
import type { PublishedId, VersionReport } from '../../shared/status-report.ts';

const all: SliceRanges = [[0, 3]];

/** `'b2'`: version b, published under sequence 2. */
function named(name: string): PublishedId {
  return { id: name[0]!.repeat(32), sequence: Number(name.slice(1)) };
}

function held(name: string, more: Partial<PlannedVersion> = {}): PlannedVersion {
  return { ...named(name), endsFromReport: undefined, isLeased: false, isLoaded: true, ...more };
}

function report(name: string, kept: SliceRanges, more: Partial<VersionReport> = {}): VersionReport {
  return { ...named(name), sliceCount: 4, slices: { kept, loading: [], yielding: [], corrupt: [] }, ...more };
}

function member(name: string, versions: readonly VersionReport[], more: Partial<MemberView> = {}): MemberView {
  return { name, zone: undefined, alive: true, leavingSinceMs: undefined, heldOut: false, askedMs: 0, versions, ...more };
}

function plan(more: Partial<VersionPlanInput>): VersionPlan {
  return planVersions({
    self: 'me',
    members: [member('me', [])],
    isFrozen: false,
    held: [],
    wanted: undefined,
    isFallback: false,
    isWithdrawn: () => false,
    isUnreadable: () => false,
    haveSeen: () => true,
    memory: noVersionMemory,
    nowMs: 0,
    ...more,
  });
}

const id = (letter: string): string => letter.repeat(32);

describe('a shard that holds nothing', () => {
  test('opens what is published', () => {
    expect(plan({ wanted: named('b2') }).open).toEqual(named('b2'));
    expect(plan({}).open).toBeUndefined();
    expect(plan({ wanted: named('b2'), isUnreadable: () => true }).open).toBeUndefined();
  });

  test('opens first what routers use, else what members serve, the newest of them', () => {
    const used = member('x', [report('a1', all, { inUse: true }), report('b2', all)], { serving: id('b') });
    expect(plan({ members: [used], wanted: named('c3') }).open).toEqual(named('a1'));
    const serving = member('x', [report('a1', all), report('b2', [])], { serving: id('a') });
    const newer = member('y', [report('b2', all)], { serving: id('b') });
    expect(plan({ members: [serving, newer], wanted: named('c3') }).open).toEqual(named('b2'));
  });

  test('leaves out what members serve and it cannot read, and members that leave', () => {
    const members = [member('x', [report('a1', all)], { serving: id('a') })];
    expect(plan({ members, wanted: named('c3'), isUnreadable: (each) => each === id('a') }).open).toEqual(named('c3'));
    expect(plan({ members: [{ ...members[0]!, leavingSinceMs: 0 }], wanted: named('c3') }).open).toEqual(named('c3'));
  });
});

describe('a shard that serves a version', () => {
  test('opens a newer one when its own is loaded, and none that is older or the same', () => {
    expect(plan({ held: [held('a1')], wanted: named('b2') }).open).toEqual(named('b2'));
    expect(plan({ held: [held('a1', { isLoaded: false })], wanted: named('b2') }).open).toBeUndefined();
    expect(plan({ held: [held('b2')], wanted: named('a1') }).open).toBeUndefined();
    expect(plan({ held: [held('a1')], wanted: named('a1') }).open).toBeUndefined();
  });

  test('takes the same content published again for what it has', () => {
    const { relabel, open } = plan({ held: [held('a1')], wanted: named('a3') });
    expect({ relabel, open }).toEqual({ relabel: [named('a3')], open: undefined });
    expect(plan({ held: [held('a1')], wanted: named('a3'), isFallback: true }).relabel).toEqual([]);
  });

  test('never gives up the only one that it has', () => {
    const members = [member('x', [report('b2', all)], { serving: id('b') })];
    const { end, drop, serving } = plan({ held: [held('a1')], members, wanted: named('b2') });
    expect({ end, drop, serving }).toEqual({ end: [], drop: [], serving: id('a') });
  });
});

describe('a shard with two versions', () => {
  const me = member('me', [report('b2', all), report('a1', all)]);

  test('never opens a third', () => {
    expect(plan({ held: [held('b2'), held('a1')], wanted: named('c3') }).open).toBeUndefined();
  });

  test('keeps the old one while a router uses it, and serves that', () => {
    const { end, serving } = plan({ members: [me], held: [held('b2'), held('a1', { isLeased: true })] });
    expect({ end, serving }).toEqual({ end: [], serving: id('a') });
  });

  test('ends the old one when no router uses it and a newer one is complete', () => {
    const { end, drop, serving } = plan({ members: [me], held: [held('b2', { isLeased: true }), held('a1')] });
    expect({ end, drop, serving }).toEqual({ end: [id('a')], drop: [], serving: id('b') });
  });

  test('keeps the old one while no newer one is complete', () => {
    const half = member('me', [report('b2', [[0, 1]]), report('a1', all)]);
    expect(plan({ members: [half], held: [held('b2'), held('a1')] }).end).toEqual([]);
    const both = [half, member('x', [report('b2', [[2, 3]])])];
    expect(plan({ members: both, held: [held('b2'), held('a1')] }).end).toEqual([id('a')]);
    expect(plan({ members: [half, { ...both[1]!, alive: false }], held: [held('b2'), held('a1')] }).end).toEqual([]);
  });

  test('drops what ends when every router has seen that, and takes it back when one uses it after all', () => {
    const ending = held('a1', { endsFromReport: 7 });
    expect(plan({ members: [me], held: [held('b2'), ending], haveSeen: (counter) => counter < 7 }).drop).toEqual([]);
    expect(plan({ members: [me], held: [held('b2'), ending], haveSeen: (counter) => counter <= 7 }).drop).toEqual([id('a')]);
    const { resume, drop } = plan({ members: [me], held: [held('b2'), { ...ending, isLeased: true }] });
    expect({ resume, drop }).toEqual({ resume: [id('a')], drop: [] });
  });

  test('lets no router keep an old version for longer than a bound', () => {
    const versions = [held('b2'), held('a1', { isLeased: true })];
    const { memory } = plan({ members: [me], held: versions });
    expect(plan({ members: [me], held: versions, memory, nowMs: limits.versionBehindMaxMs - 1 }).end).toEqual([]);
    expect(plan({ members: [me], held: versions, memory, nowMs: limits.versionBehindMaxMs }).end).toEqual([id('a')]);
    const ended = [held('b2'), held('a1', { isLeased: true, endsFromReport: 7 })];
    const atLast = plan({ members: [me], held: ended, memory, nowMs: limits.versionBehindMaxMs, haveSeen: () => false });
    expect(atLast.drop).toEqual([id('a')]);
  });

  test('finishes the next one though a newer one is published', () => {
    const loading = member('me', [report('b2', []), report('a1', all)]);
    const other = member('x', [report('b2', []), report('a1', all)]);
    const { end } = plan({ members: [loading, other], held: [held('b2', { isLoaded: false }), held('a1')], wanted: named('c3') });
    expect(end).toEqual([]);
  });

  test('skips the next one when it is taken back, but not for being only the one before a refused one', () => {
    const loading = member('me', [report('b2', []), report('a1', all)]);
    const skip = { members: [loading], held: [held('b2'), held('a1', { isLeased: true })], isWithdrawn: () => true };
    expect(plan({ ...skip, wanted: named('c3') }).end).toEqual([id('b')]);
    expect(plan({ ...skip, wanted: named('b2'), isFallback: true }).end).toEqual([]);
  });

  test('skips the next one when a member that lacks it has a newer one, which is wanted here too', () => {
    const loading = member('me', [report('b2', []), report('a1', all)]);
    const ahead = member('x', [report('c3', []), report('a1', all)]);
    const versions = [held('b2'), held('a1', { isLeased: true })];
    expect(plan({ members: [loading, ahead], held: versions, wanted: named('c3') }).end).toEqual([id('b')]);
    expect(plan({ members: [loading, ahead], held: versions, wanted: named('b2') }).end).toEqual([]);
    const both = member('x', [report('c3', []), report('b2', all)]);
    expect(plan({ members: [loading, both], held: versions, wanted: named('c3') }).end).toEqual([]);
    expect(plan({ members: [loading, { ...ahead, leavingSinceMs: 0 }], held: versions, wanted: named('c3') }).end).toEqual([]);
  });

  test('gives up an old one that is complete, when the one that routers use can never be: the next one needs its room', () => {
    const views = [member('me', [report('b2', [[0, 2]]), report('a1', all)]), member('x', [report('c3', []), report('a1', all)])];
    const { end, serving } = plan({ members: views, held: [held('b2', { isLeased: true }), held('a1')], wanted: named('c3') });
    expect({ end, serving }).toEqual({ end: [id('a')], serving: id('b') });
  });

  test('lets no router hold everybody back with a version that can never be whole, while another one uses one that is', () => {
    const views = [member('me', [report('b2', [[0, 2]]), report('a1', all)]), member('x', [report('c3', []), report('a1', all)])];
    const versions = [held('b2', { isLeased: true }), held('a1', { isLeased: true })];
    const asked = { members: views, held: versions, wanted: named('c3') };
    const { memory, end } = plan(asked);
    expect(end).toEqual([]);
    expect(plan({ ...asked, memory, nowMs: limits.versionLostMaxMs - 1 }).end).toEqual([]);
    const { end: atLast, serving } = plan({ ...asked, memory, nowMs: limits.versionLostMaxMs });
    expect({ atLast, serving }).toEqual({ atLast: [id('b')], serving: id('a') });
  });

  describe('whose next one cannot be whole', () => {
    const half = [member('me', [report('b2', [[0, 2]]), report('a1', all)]), member('x', [report('b2', [[1, 2]]), report('a1', all)])];
    const versions = [held('b2'), held('a1', { isLeased: true })];
    /** What is ended when all has been as at first for so long. */
    const endedAfter = (ms: number, more: Partial<VersionPlanInput> = {}, later: Partial<VersionPlanInput> = {}): readonly string[] => {
      const asked = { members: half, held: versions, wanted: named('c3'), ...more };
      const { memory } = plan(asked);
      return plan({ ...asked, memory, nowMs: ms, ...later }).end;
    };

    test('leaves it out for a newer one, when nobody has had anything of it to load for long', () => {
      expect(endedAfter(limits.versionStuckMs - 1)).toEqual([]);
      expect(endedAfter(limits.versionStuckMs)).toEqual([id('b')]);
      expect(endedAfter(limits.versionStuckMs, { wanted: named('b2') }, { wanted: named('c3') })).toEqual([id('b')]);
    });

    test('waits for it while no newer one could take its place', () => {
      for (const wanted of [undefined, named('a1'), named('b2')]) expect(endedAfter(limits.versionStuckMs, { wanted })).toEqual([]);
      expect(endedAfter(limits.versionStuckMs, { isUnreadable: (each) => each === id('c') })).toEqual([]);
    });

    test('waits for it while somebody alive has something of it to load, or most of the others cannot be reached', () => {
      const loading = report('b2', [[1, 2]], { slices: { kept: [[1, 2]], loading: [[3, 3]], yielding: [], corrupt: [] } });
      const busy = member('x', [loading, report('a1', all)]);
      expect(endedAfter(limits.versionStuckMs, { members: [half[0]!, busy] })).toEqual([]);
      expect(endedAfter(limits.versionStuckMs, {}, { members: [half[0]!, busy] })).toEqual([]);
      expect(endedAfter(limits.versionStuckMs, { members: [half[0]!, { ...busy, alive: false }] })).toEqual([id('b')]);
      expect(endedAfter(limits.versionStuckMs, { isFrozen: true })).toEqual([]);
    });

    test('never leaves it out when it is complete after all, or a router uses it', () => {
      const whole = [half[0]!, member('x', [report('b2', [[3, 3]]), report('a1', all)])];
      expect(endedAfter(limits.versionStuckMs, {}, { members: whole })).toEqual([]);
      const used = [held('b2', { isLeased: true }), held('a1', { isLeased: true })];
      expect(endedAfter(limits.versionStuckMs, { held: used })).toEqual([]);
    });

    test('lets no router that uses it in part hold everybody back for ever', () => {
      const asked = { members: half, held: [held('b2', { isLeased: true }), held('a1', { isLeased: true })], wanted: named('c3') };
      const stuckMs = limits.versionStuckMs;
      const { memory } = plan({ ...asked, memory: plan(asked).memory, nowMs: stuckMs });
      expect(plan({ ...asked, memory, nowMs: stuckMs + limits.versionLostMaxMs - 1 }).end).toEqual([]);
      expect(plan({ ...asked, memory, nowMs: stuckMs + limits.versionLostMaxMs }).end).toEqual([id('b')]);
    });

    test('does not take it back because others take over what it gave up', () => {
      const { memory } = plan({ members: half, held: versions, wanted: named('c3') });
      const taken = report('b2', [[1, 2]], { slices: { kept: [[1, 2]], loading: [[0, 0]], yielding: [], corrupt: [] } });
      const members = [member('me', [report('b2', []), report('a1', all)]), member('x', [taken, report('a1', all)])];
      const ending = [held('b2', { endsFromReport: 7 }), held('a1', { isLeased: true })];
      const { resume, drop } = plan({ members, held: ending, wanted: named('c3'), memory, nowMs: limits.versionStuckMs });
      expect({ resume, drop }).toEqual({ resume: [], drop: [id('b')] });
    });
  });

  test('lets the version between go when the old one is published again', () => {
    const { relabel, end, serving } = plan({ members: [me], held: [held('b2'), held('a1')], wanted: named('a3') });
    expect({ relabel, end, serving }).toEqual({ relabel: [named('a3')], end: [id('b')], serving: id('a') });
  });
});

test('whatever is held and reported: something is served, nothing served is given up, at most one is opened', () => {
  const letters = fc.constantFrom('a', 'b', 'c', 'd');
  const anyName = fc.tuple(letters, fc.integer({ min: 1, max: 9 })).map(([letter, sequence]) => `${letter}${sequence}`);
  const kept = fc.constantFrom<SliceRanges>(all, [[0, 1]], [[2, 3]], []);
  const anyReport = fc.tuple(anyName, kept, fc.boolean()).map(([name, ranges, inUse]) => report(name, ranges, { inUse }));
  const anyMember = fc
    .tuple(fc.constantFrom('x', 'y', 'z'), fc.uniqueArray(anyReport, { maxLength: 2, selector: (each) => each.id }), fc.boolean())
    .map(([name, versions, alive]) => member(name, versions, { alive, serving: versions[0]?.id }));
  const anyHeld = fc
    .tuple(anyName, fc.option(fc.nat(9), { nil: undefined }), fc.boolean(), fc.boolean())
    .map(([name, endsFromReport, isLeased, isLoaded]) => held(name, { endsFromReport, isLeased, isLoaded }));
  const anyHeldList = fc.uniqueArray(anyHeld, { maxLength: 2, selector: (each) => each.id });
  fc.assert(
    fc.property(
      anyHeldList,
      fc.array(anyMember, { maxLength: 3 }),
      fc.option(anyName, { nil: undefined }),
      fc.boolean(),
      (versions, members, name, seen) => {
        const result = plan({ held: versions, members, wanted: name === undefined ? undefined : named(name), haveSeen: () => seen });
        expect(result.serving === undefined).toBe(versions.length === 0);
        expect([...result.end, ...result.drop]).not.toContain(result.serving);
        expect(versions.length - result.drop.length + (result.open ? 1 : 0)).toBeLessThanOrEqual(2);
        if (result.open) expect(versions.map((each) => each.id)).not.toContain(result.open.id);
      },
    ),
  );
});
