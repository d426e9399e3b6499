import { describe, expect, test } from 'vitest';
import { areSettled, followOwners, type MemberView, noOwners, type Owners } from '../../shard/owners.ts';
import { limits } from '../../shared/limits.ts';

const settleMs = limits.membersSettleMs;

function view(name: string, fields: Partial<MemberView> = {}): MemberView {
  return { name, zone: undefined, alive: true, leavingSinceMs: undefined, heldOut: false, askedMs: 0, versions: [], ...fields };
}

/** What `a` makes of `members` at each time, one after the other. */
function follow(steps: readonly (readonly [number, readonly MemberView[]])[], options: { isFrozen?: boolean; from?: Owners } = {}): Owners {
  const { isFrozen = false, from = noOwners } = options;
  return steps.reduce((owners, [nowMs, members]) => followOwners(owners, members, { self: 'a', isFrozen, settleMs, nowMs }), from);
}

const namesOf = ({ inForce }: Owners) => inForce?.map(({ name }) => name);
const ab = [view('a'), view('b')];
const inForce = follow([
  [0, ab],
  [settleMs, ab],
]);

describe('owners are', () => {
  const ownersOf = (...members: readonly MemberView[]) => follow([[0, members]]).seen.map(({ name }) => name);

  test('all members, in the order of their names, absent ones too', () => {
    expect(ownersOf(view('b'), view('a'), view('c', { alive: false }))).toEqual(['a', 'b', 'c']);
  });

  test('not those that flap, but for the shard itself', () => {
    expect(ownersOf(view('a', { heldOut: true }), view('b', { heldOut: true }))).toEqual(['a']);
  });

  test('those that leave only as long as they may come back; never the shard itself', () => {
    const at = (nowMs: number) =>
      followOwners(noOwners, [view('a'), view('b', { leavingSinceMs: 0 })], { self: 'a', isFrozen: false, settleMs, nowMs }).seen;
    expect([at(limits.memberReturnMs - 1).length, at(limits.memberReturnMs).length]).toEqual([2, 1]);
    expect(ownersOf(view('a', { leavingSinceMs: 0 }), view('b'))).toEqual(['b']);
  });
});

describe('owners are in force', () => {
  test('when they have not changed for a while', () => {
    expect(
      namesOf(
        follow([
          [0, ab],
          [settleMs - 1, ab],
        ]),
      ),
    ).toBeUndefined();
    expect(namesOf(inForce)).toEqual(['a', 'b']);
    expect(areSettled(inForce)).toBe(true);
  });

  test('until others have not changed for a while: those that come together count together', () => {
    const abc = [...ab, view('c')];
    const abcd = [...abc, view('d')];
    const joining = follow(
      [
        [10_000, abc],
        [11_500, abcd],
        [13_000, abcd],
      ],
      { from: inForce },
    );
    expect([namesOf(joining), areSettled(joining)]).toEqual([['a', 'b'], false]);
    expect(namesOf(follow([[13_500, abcd]], { from: joining }))).toEqual(['a', 'b', 'c', 'd']);
  });

  test('still when one was gone for a moment', () => {
    const owners = follow(
      [
        [10_000, [view('a')]],
        [10_500, ab],
        [10_600, ab],
      ],
      { from: inForce },
    );
    expect([namesOf(owners), areSettled(owners)]).toEqual([['a', 'b'], true]);
  });

  test('as they were while most are silent', () => {
    const owners = follow(
      [
        [10_000, [view('a')]],
        [90_000, [view('a')]],
      ],
      { from: inForce, isFrozen: true },
    );
    expect(namesOf(owners)).toEqual(['a', 'b']);
    expect(
      namesOf(
        follow(
          [
            [91_000, [view('a')]],
            [94_000, [view('a')]],
          ],
          { from: owners },
        ),
      ),
    ).toEqual(['a']);
  });
});
