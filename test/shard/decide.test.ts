import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DecisionInput, decide, noMemory } from '../../shard/decide.ts';
import type { SliceState } from '../../shard/held-version.ts';
import type { MemberView } from '../../shard/owners.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { placeSlices, slicesOfMember } from '../../shared/placement.ts';
import { rangesOf } from '../../shared/slice-ranges.ts';

const id = 'a'.repeat(32);
const sliceCount = 64;

type Slices = {
  readonly kept?: readonly number[];
  readonly loading?: readonly number[];
  readonly yielding?: readonly number[];
  readonly corrupt?: readonly number[];
};

function view(name: string, slices: Slices = {}, options: Partial<MemberView> & { versionId?: string; count?: number } = {}): MemberView {
  const { versionId = id, count = sliceCount, ...fields } = options;
  const ranges = (indices: readonly number[] = []) => rangesOf(count, (i) => indices.includes(i));
  const { kept, loading, yielding, corrupt } = slices;
  const sets = { kept: ranges(kept), loading: ranges(loading), yielding: ranges(yielding), corrupt: ranges(corrupt) };
  const report = { id: versionId, sequence: 1, sliceCount: count, slices: sets };
  return { name, zone: undefined, alive: true, leavingSinceMs: undefined, heldOut: false, askedMs: 0, versions: [report], ...fields };
}

type Options = Partial<DecisionInput> & {
  states?: ReadonlyMap<number, SliceState>;
  lastAskedMs?: number;
  yieldingSinceMs?: number;
  orphanedSinceMs?: ReadonlyMap<SliceIndex, number>;
  /** In force; all of `members` unless given. */
  ownerNames?: readonly string[];
};

/** What `a` decides, whose own slices are all absent unless `states` says otherwise. */
function decideOf(members: readonly MemberView[], options: Options = {}) {
  const { states = new Map(), lastAskedMs, yieldingSinceMs, orphanedSinceMs = new Map(), ownerNames, ...input } = options;
  const inForce = (ownerNames ?? members.map(({ name }) => name)).map((name) => ({ name, zone: undefined }));
  const yielding = [...states].filter(([, state]) => state === 'yielding').map(([i]) => [i as SliceIndex, yieldingSinceMs ?? 0] as const);
  return decide({
    self: 'a',
    replicas: 1,
    members,
    owners: { inForce, seen: inForce, seenSinceMs: 0 },
    isFrozen: false,
    version: { id, sliceCount, stateOf: (sliceIndex) => states.get(sliceIndex) ?? 'absent', lastAskedMs: () => lastAskedMs },
    memory: { ...noMemory, orphanedSinceMs, yieldingSinceMs: new Map(yielding) },
    nowMs: 0,
    ...input,
  });
}

const placedOf = (name: string, names: readonly string[], replicas = 1): readonly number[] =>
  slicesOfMember(placeSlices({ members: names.map((each) => ({ name: each })), sliceCount, replicas }), name);

const orphanedSince = (ms: number): ReadonlyMap<SliceIndex, number> =>
  new Map(Array.from({ length: sliceCount }, (_, i) => [i as SliceIndex, ms]));

describe('a shard loads', () => {
  test('everything when it is alone', () => {
    const { load, placed } = decideOf([view('a')]);
    expect(load).toEqual(Array.from({ length: sliceCount }, (_, i) => i));
    expect(placed).toEqual(load);
  });

  test('what placement over all members gives it, absent ones included', () => {
    const { load, placed } = decideOf([view('a'), view('b'), view('c', {}, { alive: false })]);
    expect(placed).toEqual(placedOf('a', ['a', 'b', 'c']));
    expect(load).toEqual(placed);
  });

  test('what placement gives it, though others hold it', () => {
    const everything = Array.from({ length: sliceCount }, (_, i) => i);
    expect(decideOf([view('a'), view('b', { kept: everything })]).load).toEqual(placedOf('a', ['a', 'b']));
  });

  test('what only members that leave keep, in their place', () => {
    const names = ['a', 'b', 'c'];
    const lost = placedOf('c', names);
    const members = [view('a'), view('b'), view('c', { kept: lost }, { leavingSinceMs: 0 })];
    const own = placedOf('a', names);
    const { load, placed } = decideOf(members, { states: new Map(own.map((i) => [i, 'kept'])) });
    expect(placed).toEqual(own);
    expect(load).toEqual(placedOf('a', ['a', 'b']).filter((i) => lost.includes(i)));
    expect(load.length).toBeGreaterThan(0);
    // What one that stays keeps as well has time: the other may come back.
    const covered = [...members.slice(0, 1), view('b', { kept: lost }), members[2]!];
    expect(decideOf(covered, { states: new Map(own.map((i) => [i, 'kept'])) }).load).toEqual([]);
  });

  test('nothing that placement gives it when it leaves itself', () => {
    const { placed, load } = decideOf([view('a', {}, { leavingSinceMs: 0 }), view('b')]);
    expect([placed, load]).toEqual([[], []]);
  });

  test('no slice twice: neither one that is here, nor on its way, nor corrupt', () => {
    const states = new Map<number, SliceState>([
      [0, 'kept'],
      [1, 'loading'],
      [2, 'corrupt'],
    ]);
    const { load, placed } = decideOf([view('a')], { states });
    expect(placed.slice(0, 4)).toEqual([0, 1, 2, 3]);
    expect(load[0]).toBe(3);
  });

  test('what is held least first', () => {
    const members = [view('a'), view('b', { kept: [0, 1, 2] }), view('c', { kept: [0], loading: [1] }), view('d', { kept: [0] })];
    const { load } = decideOf(members, { replicas: 4 });
    expect(load.slice(-3)).toEqual([2, 1, 0]);
    expect(load.slice(0, 3)).toEqual([3, 4, 5]);
  });
});

describe('a slice without a holder', () => {
  const names = ['a', 'b', 'c'];
  const foreign = placedOf('c', names);
  const members = [
    view('a', { kept: placedOf('a', names) }),
    view('b', { kept: placedOf('b', names) }),
    view('c', {}, { alive: false, versions: [] }),
  ];
  const states = new Map(placedOf('a', names).map((sliceIndex) => [sliceIndex, 'kept' as const]));
  const taken = placedOf('a', ['a', 'b']).filter((sliceIndex) => foreign.includes(sliceIndex as SliceIndex));

  test('is left to its owner for a while, then taken by the next in order that is alive', () => {
    const first = decideOf(members, { states, nowMs: 1_000 });
    expect([first.load, [...first.memory.orphanedSinceMs.keys()]]).toEqual([[], foreign]);
    const before = decideOf(members, { states, nowMs: 1_000 + limits.sliceOrphanedMs - 1, orphanedSinceMs: first.memory.orphanedSinceMs });
    expect(before.load).toEqual([]);
    const after = decideOf(members, { states, nowMs: 1_000 + limits.sliceOrphanedMs, orphanedSinceMs: before.memory.orphanedSinceMs });
    expect(taken.length).toBeGreaterThan(0);
    expect(after.load).toEqual(taken);
    expect(after.placed).toEqual(placedOf('a', names));
  });

  test('is none any more as soon as somebody keeps or loads it, and the time begins anew', () => {
    for (const slices of [{ kept: foreign }, { loading: foreign }]) {
      const back = [...members.slice(0, 2), view('c', slices)];
      const decision = decideOf(back, { states, nowMs: 99_999, orphanedSinceMs: orphanedSince(0) });
      expect([decision.load, decision.memory.orphanedSinceMs.size]).toEqual([[], 0]);
    }
    expect(decideOf(members, { states, nowMs: 99_999, orphanedSinceMs: new Map() }).load).toEqual([]);
  });

  test('stays one while this shard has it in its queue', () => {
    const queued = taken.filter((_, i) => i > 0);
    const loading = [view('a', { kept: placedOf('a', names), loading: taken }), ...members.slice(1)];
    const all = new Map<number, SliceState>([...states, [taken[0]!, 'loading'], ...queued.map((i) => [i, 'queued'] as const)]);
    expect(queued.length).toBeGreaterThan(0);
    expect(decideOf(loading, { states: all, nowMs: 99_999, orphanedSinceMs: orphanedSince(0) }).load).toEqual(queued);
  });

  test('is one though a dead member, or a corrupt copy, or another version has it', () => {
    for (const holder of [
      view('c', { kept: foreign }, { alive: false }),
      view('c', { corrupt: foreign }, { alive: false }),
      view('c', { kept: foreign }, { alive: false, versionId: 'b'.repeat(32) }),
    ]) {
      expect(decideOf([...members.slice(0, 2), holder], { states, nowMs: 99_999, orphanedSinceMs: orphanedSince(0) }).load).toEqual(taken);
    }
  });

  test('is taken by as many as there are replicas, and by no one else', () => {
    const alive = names.slice(0, 2);
    const others = [view('a'), view('b'), view('c', {}, { alive: false })];
    for (const self of alive) {
      const { load } = decideOf(others, { self, replicas: 2, nowMs: limits.sliceOrphanedMs, orphanedSinceMs: orphanedSince(0) });
      expect(load).toHaveLength(sliceCount);
    }
  });
});

describe('a slice that placement gives to others', () => {
  const names = ['a', 'b', 'c'];
  const foreign = placedOf('b', names);
  const slice = foreign[0]!;
  const having = (state: SliceState): ReadonlyMap<number, SliceState> =>
    new Map([...placedOf('a', names).map((i) => [i, 'kept'] as const), [slice, state]]);
  const members = (b: MemberView = view('b', { kept: foreign })): MemberView[] => [view('a'), b, view('c')];
  const idle = { load: [], yield: [], keep: [], free: [], poll: [] };
  const lateMs = limits.sliceYieldMs;
  const fresh = (slices: Slices, fields: Parameters<typeof view>[2] = {}): MemberView => view('b', slices, { askedMs: lateMs, ...fields });

  test('is reported as yielding once all of its owners keep it', () => {
    const decision = decideOf(members(), { states: having('kept'), nowMs: 5 });
    expect(decision).toMatchObject({ ...idle, yield: [slice] });
    expect([...decision.memory.yieldingSinceMs]).toEqual([[slice, 5]]);
    expect(decideOf(members(view('b')), { states: having('kept') })).toMatchObject(idle);
  });

  test('is freed when it has yielded for long enough, and reports that are fresh say that its owners keep it', () => {
    const states = having('yielding');
    expect(decideOf(members(fresh({ kept: foreign })), { states, nowMs: lateMs - 1 })).toMatchObject(idle);
    const decision = decideOf(members(fresh({ kept: foreign })), { states, nowMs: lateMs });
    expect(decision).toMatchObject({ ...idle, free: [slice] });
  });

  test('waits for a time without a request as well', () => {
    const options = { states: having('yielding'), lastAskedMs: 1 };
    expect(decideOf(members(fresh({ kept: foreign })), { ...options, nowMs: lateMs }).free).toEqual([]);
    expect(decideOf(members(fresh({ kept: foreign })), { ...options, nowMs: lateMs + 1 }).free).toEqual([slice]);
  });

  test('has its owners asked afresh when what they said is too old', () => {
    const old = view('b', { kept: foreign }, { askedMs: lateMs - limits.reportFreshMs - 1 });
    expect(decideOf(members(old), { states: having('yielding'), nowMs: lateMs })).toMatchObject({ ...idle, poll: ['b'] });
  });

  test.each<[string, MemberView | undefined, Options]>([
    ['yields it too', fresh({ yielding: foreign }), {}],
    ['loads it', fresh({ loading: foreign }), {}],
    ['has a corrupt copy', fresh({ corrupt: foreign }), {}],
    ['keeps it in another version', fresh({ kept: foreign }, { versionId: 'b'.repeat(32) }), {}],
    ['is silent', fresh({ kept: foreign }, { alive: false }), {}],
    ['leaves', fresh({ kept: foreign }, { leavingSinceMs: 1 }), {}],
    ['is held out', fresh({ kept: foreign }, { heldOut: true }), {}],
    ['is one of two that should', fresh({ kept: foreign }), { replicas: 2 }],
    ['keeps it, but most are silent', fresh({ kept: foreign }), { isFrozen: true }],
    ['keeps it, but the members have just changed', fresh({ kept: foreign }), { owners: undefined as never }],
  ])('goes back to kept when an owner %s', (_why, owner, options) => {
    const all = [view('a'), owner!, view('c')];
    const inForce = names.map((name) => ({ name, zone: undefined }));
    const change = 'owners' in options ? { owners: { inForce, seen: inForce.slice(1), seenSinceMs: lateMs } } : {};
    const states = having('yielding');
    const decision = decideOf(all, { states, nowMs: lateMs, ...options, ...change });
    // With two replicas it may be its own again; either way it is kept.
    expect([decision.keep, decision.free, decision.poll]).toEqual([[slice], [], []]);
    expect(decision.memory.yieldingSinceMs.size).toBe(0);
  });

  test('goes back to kept when placement gives it to this shard again, and when that leaves', () => {
    const states = new Map([[slice, 'yielding' as const]]);
    expect(decideOf([view('a')], { states }).keep).toEqual([slice]);
    const leaving = [view('a', {}, { leavingSinceMs: 1 }), fresh({ kept: foreign }), view('c')];
    expect(decideOf(leaving, { states: having('yielding'), nowMs: lateMs, ownerNames: ['b', 'c'] }).keep).toContain(slice);
  });

  test('is forgotten at once when it is corrupt', () => {
    expect(decideOf(members(view('b')), { states: having('corrupt') }).free).toEqual([slice]);
  });
});

describe('whatever the members', () => {
  const anyMembers = fc
    .uniqueArray(fc.record({ name: fc.string({ minLength: 1, maxLength: 8 }), alive: fc.boolean(), isLeaving: fc.boolean() }), {
      selector: ({ name }) => name,
      minLength: 1,
      maxLength: 8,
    })
    .map((list) => list.map(({ name, alive, isLeaving }) => view(name, {}, { alive, leavingSinceMs: isLeaving ? 0 : undefined })));

  test('each slice is placed in exactly as many of those that stay as there are replicas, when all see the same', () => {
    fc.assert(
      fc.property(anyMembers, fc.integer({ min: 1, max: 3 }), (members, replicas) => {
        const staying = members.filter(({ leavingSinceMs }) => leavingSinceMs === undefined);
        const ownerNames = staying.map(({ name }) => name);
        const holders = new Array<number>(sliceCount).fill(0);
        for (const { name } of members) {
          for (const sliceIndex of decideOf(members, { self: name, replicas, ownerNames }).placed) holders[sliceIndex]!++;
        }
        expect(new Set(holders)).toEqual(new Set([Math.min(replicas, staying.length)]));
      }),
    );
  });

  test('the order in which they are known does not matter', () => {
    fc.assert(
      fc.property(anyMembers, (members) => {
        const self = members[0]!.name;
        expect(decideOf(members.toReversed(), { self })).toEqual(decideOf(members, { self }));
      }),
    );
  });
});
