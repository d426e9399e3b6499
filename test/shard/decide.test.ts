import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DecisionInput, decide, type MemberView } from '../../shard/decide.ts';
import type { SliceState } from '../../shard/held-version.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { placeSlices, slicesOfMember } from '../../shared/placement.ts';
import { rangesOf } from '../../shared/slice-ranges.ts';

const id = 'a'.repeat(32);
const sliceCount = 64;

type Slices = { readonly kept?: readonly number[]; readonly loading?: readonly number[]; readonly corrupt?: readonly number[] };

function view(name: string, slices: Slices = {}, options: Partial<MemberView> & { versionId?: string; count?: number } = {}): MemberView {
  const { versionId = id, count = sliceCount, ...fields } = options;
  const ranges = (indices: readonly number[] = []) => rangesOf(count, (i) => indices.includes(i));
  const { kept, loading, corrupt } = slices;
  const report = {
    id: versionId,
    sequence: 1,
    sliceCount: count,
    slices: { kept: ranges(kept), loading: ranges(loading), yielding: [], corrupt: ranges(corrupt) },
  };
  return { name, zone: undefined, alive: true, state: 'ready', versions: [report], ...fields };
}

/** What `a` decides, whose own slices are all absent unless `states` says otherwise. */
function decideOf(members: readonly MemberView[], options: Partial<DecisionInput> & { states?: ReadonlyMap<number, SliceState> } = {}) {
  const { states = new Map(), ...input } = options;
  return decide({
    self: 'a',
    replicas: 1,
    members,
    version: { id, sliceCount, stateOf: (sliceIndex) => states.get(sliceIndex) ?? 'absent' },
    orphanedSinceMs: new Map(),
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

  test('in place of members that leave', () => {
    const { placed } = decideOf([view('a'), view('b'), view('c', {}, { state: 'leaving' })]);
    expect(placed).toEqual(placedOf('a', ['a', 'b']));
  });

  test('nothing that placement gives it when it leaves itself', () => {
    const { placed, load } = decideOf([view('a', {}, { state: 'leaving' }), view('b')]);
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
    expect([first.load, [...first.orphanedSinceMs.keys()]]).toEqual([[], foreign]);
    const before = decideOf(members, { states, nowMs: 1_000 + limits.sliceOrphanedMs - 1, orphanedSinceMs: first.orphanedSinceMs });
    expect(before.load).toEqual([]);
    const after = decideOf(members, { states, nowMs: 1_000 + limits.sliceOrphanedMs, orphanedSinceMs: before.orphanedSinceMs });
    expect(taken.length).toBeGreaterThan(0);
    expect(after.load).toEqual(taken);
    expect(after.placed).toEqual(placedOf('a', names));
  });

  test('is none any more as soon as somebody keeps or loads it, and the time begins anew', () => {
    for (const slices of [{ kept: foreign }, { loading: foreign }]) {
      const back = [...members.slice(0, 2), view('c', slices)];
      const decision = decideOf(back, { states, nowMs: 99_999, orphanedSinceMs: orphanedSince(0) });
      expect([decision.load, decision.orphanedSinceMs.size]).toEqual([[], 0]);
    }
    expect(decideOf(members, { states, nowMs: 99_999, orphanedSinceMs: new Map() }).load).toEqual([]);
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

describe('whatever the members', () => {
  const anyMembers = fc
    .uniqueArray(fc.record({ name: fc.string({ minLength: 1, maxLength: 8 }), alive: fc.boolean(), isLeaving: fc.boolean() }), {
      selector: ({ name }) => name,
      minLength: 1,
      maxLength: 8,
    })
    .map((list) => list.map(({ name, alive, isLeaving }) => view(name, {}, { alive, state: isLeaving ? 'leaving' : 'ready' })));

  test('each slice is placed in exactly as many of those that stay as there are replicas, when all see the same', () => {
    fc.assert(
      fc.property(anyMembers, fc.integer({ min: 1, max: 3 }), (members, replicas) => {
        const staying = members.filter(({ state }) => state !== 'leaving');
        const holders = new Array<number>(sliceCount).fill(0);
        for (const { name } of members) {
          for (const sliceIndex of decideOf(members, { self: name, replicas }).placed) holders[sliceIndex]!++;
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
