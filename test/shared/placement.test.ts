import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keyHash32 } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { type Placement, type PlacementMember, placeSlices, slicesOfMember } from '../../shared/placement.ts';

const anyMembers = fc.uniqueArray(fc.record({ name: fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }) }), {
  selector: ({ name }) => name,
  minLength: 1,
  maxLength: 12,
});
const anySliceCount = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 4096 }));
const anyReplicas = fc.integer({ min: 1, max: 3 });

describe('whatever the members', () => {
  test('each slice has exactly min(replicas, members) distinct holders, and no member more than the bound', () => {
    fc.assert(
      fc.property(anyMembers, anySliceCount, anyReplicas, (members, sliceCount, replicas) => {
        const placement = placeSlices({ members, sliceCount, replicas });
        const names = new Set(members.map(({ name }) => name));
        const holderCount = Math.min(replicas, members.length);
        expect(placement).toHaveLength(sliceCount);
        expect(placement.every((holders) => holders.length === holderCount && new Set(holders).size === holderCount)).toBe(true);
        expect(placement.flat().every((name) => names.has(name))).toBe(true);
        expect(Math.max(...loadsOf(placement, members))).toBeLessThanOrEqual(boundOf(members.length, sliceCount, replicas));
      }),
    );
  });

  test('the order in which they are named changes nothing, nor does naming one twice', () => {
    const shuffled = anyMembers.chain((members) =>
      fc.tuple(fc.constant(members), fc.shuffledSubarray(members, { minLength: members.length }), fc.subarray(members)),
    );
    fc.assert(
      fc.property(shuffled, fc.integer({ min: 1, max: 300 }), anyReplicas, ([members, reordered, again], sliceCount, replicas) => {
        const placement = placeSlices({ members: [...reordered, ...again], sliceCount, replicas });
        expect(placement).toEqual(placeSlices({ members, sliceCount, replicas }));
      }),
    );
  });

  test('the holders of a slice stand in its order of preference, which the number of replicas does not change', () => {
    fc.assert(
      fc.property(anyMembers, fc.integer({ min: 1, max: 300 }), anyReplicas, (members, sliceCount, replicas) => {
        const preferences = placeSlices({ members, sliceCount, replicas: members.length });
        for (const [slice, holders] of placeSlices({ members, sliceCount, replicas }).entries()) {
          expect(holders).toEqual(preferences[slice]!.filter((name) => holders.includes(name)));
        }
      }),
    );
  });

  test('the slices of a member are those that name it as a holder', () => {
    fc.assert(
      fc.property(anyMembers, fc.integer({ min: 1, max: 300 }), anyReplicas, (members, sliceCount, replicas) => {
        const placement = placeSlices({ members, sliceCount, replicas });
        const pairs = members.flatMap(({ name }) => slicesOfMember(placement, name).map((slice) => `${slice} ${name}`));
        expect(pairs.toSorted()).toEqual(placement.flatMap((holders, slice) => holders.map((name) => `${slice} ${name}`)).toSorted());
      }),
    );
  });

  test('slices without any member have no holders, and a member alone holds all of them', () => {
    expect(placeSlices({ members: [], sliceCount: 4, replicas: 2 })).toEqual([[], [], [], []]);
    expect(placeSlices({ members: [{ name: 'a' }], sliceCount: 2, replicas: 3 })).toEqual([['a'], ['a']]);
    expect(slicesOfMember(placeSlices({ members: [{ name: 'a' }], sliceCount: 2, replicas: 3 }), 'b')).toEqual([]);
  });

  test('names that an object or a locale would treat in their own way are names like any other', () => {
    const members = membersOf(['__proto__', 'constructor', 'Ä', 'a', 'Z', 'ä', '10', '9', 'a\u0308', '\ud800']);
    const placement = placeSlices({ members, sliceCount: 64, replicas: 2 });
    expect(loadsOf(placement, members).every((load) => load > 0)).toBe(true);
    expect(placeSlices({ members: members.toReversed(), sliceCount: 64, replicas: 2 })).toEqual(placement);
  });
});

describe('over 20 seeded sets of members, with 256 slices', () => {
  const sets = Array.from({ length: 20 }, (_, seed) => namesOf(seed));

  test.each([1, 2, 3])('with %i replicas, 3 to 8 members hold at most 1.1 of the mean each', (replicas) => {
    for (const names of sets) {
      for (let memberCount = 3; memberCount <= 8; memberCount++) {
        const members = membersOf(names.slice(0, memberCount));
        const placement = placeSlices({ members, sliceCount: 256, replicas });
        const mean = (256 * replicas) / memberCount;
        expect(Math.max(...loadsOf(placement, members))).toBeLessThanOrEqual(Math.max(Math.ceil(mean), Math.floor(1.1 * mean + 1e-9)));
      }
    }
  });

  test.each([1, 2, 3])('with %i replicas, a ninth member moves at most 14 percent of the copies on average, 18 at worst', (replicas) => {
    const shares = sets.map((names) => movedShare(placed(names.slice(0, 8), replicas), placed(names.slice(0, 9), replicas)));
    expect(shares.reduce((sum, share) => sum + share) / shares.length).toBeLessThanOrEqual(0.14);
    expect(Math.max(...shares)).toBeLessThanOrEqual(0.18);
  });

  test('a member that goes moves its own slices and few others, and one that comes back undoes that', () => {
    for (const names of sets) {
      const before = placed(names, 2);
      const without = placed(names.slice(1), 2);
      expect(movedShare(before, without)).toBeLessThanOrEqual(0.18);
      expect(without.flat()).not.toContain(names[0]);
      expect(placed([...names.slice(1), names[0]!], 2)).toEqual(before);
    }
  });
});

describe('zones', () => {
  const anyZones = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 5 });

  test('wherever they are large enough, every slice has its holders in different ones', () => {
    fc.assert(
      fc.property(anyZones, fc.integer({ min: 1, max: 512 }), anyReplicas, fc.nat(), (zoneSizes, sliceCount, replicas, seed) => {
        const members = zoneSizes.flatMap((size, zone) => membersOf(namesOf(seed + zone).slice(0, size), `zone-${zone}`));
        const bound = boundOf(members.length, sliceCount, replicas);
        const zonesWanted = Math.min(replicas, zoneSizes.length);
        const pairs = zoneSizes.reduce((sum, size) => sum + Math.min(size * bound, sliceCount), 0);
        fc.pre(pairs >= sliceCount * zonesWanted);
        const placement = placeSlices({ members, sliceCount, replicas });
        expect(placement.every((holders) => zoneCountOf(holders, members) === zonesWanted)).toBe(true);
        expect(Math.max(...loadsOf(placement, members))).toBeLessThanOrEqual(bound);
      }),
    );
  });

  test('the bound comes first: a zone too small for a copy of everything takes what its members may', () => {
    const members = [...membersOf(['small'], 'a'), ...membersOf(['b1', 'b2', 'b3', 'b4', 'b5'], 'b')];
    const placement = placeSlices({ members, sliceCount: 256, replicas: 2 });
    expect(slicesOfMember(placement, 'small')).toHaveLength(93);
    expect(placement.filter((holders) => zoneCountOf(holders, members) === 2)).toHaveLength(93);
  });

  test('more replicas than zones fill the zones first', () => {
    const members = [...membersOf(['a1', 'a2', 'a3'], 'a'), ...membersOf(['b1', 'b2', 'b3'], 'b')];
    const placement = placeSlices({ members, sliceCount: 256, replicas: 3 });
    expect(placement.every((holders) => zoneCountOf(holders, members) === 2)).toBe(true);
  });

  test('one zone for all is as good as none, and members without one count as one zone', () => {
    const names = namesOf(1);
    const none = placeSlices({ members: membersOf(names), sliceCount: 256, replicas: 2 });
    expect(placeSlices({ members: membersOf(names, 'a'), sliceCount: 256, replicas: 2 })).toEqual(none);
    const mixed = [...membersOf(names.slice(0, 4)), ...membersOf(names.slice(4, 8), 'a')];
    const placement = placeSlices({ members: mixed, sliceCount: 256, replicas: 2 });
    expect(placement.every((holders) => zoneCountOf(holders, mixed) === 2)).toBe(true);
  });

  test('a name that is given with two zones counts once, whatever the order', () => {
    const members = [...membersOf(['a', 'b', 'c'], 'x'), ...membersOf(['a'], 'y')];
    expect(placeSlices({ members: members.toReversed(), sliceCount: 64, replicas: 2 })).toEqual(
      placeSlices({ members, sliceCount: 64, replicas: 2 }),
    );
  });
});

describe('in every process', () => {
  const members = namesOf(3).map((name, index) => ({ name, zone: `zone-${index % 3}` }));
  const sliceCounts = [1, 64, 256, 4096];

  test('separate processes with the members in another order agree', async () => {
    const script = `
      import { createHash } from 'node:crypto';
      import { placeSlices } from ${JSON.stringify(import.meta.resolve('../../shared/placement.ts'))};
      const placements = ${JSON.stringify(sliceCounts)}.map((sliceCount) => placeSlices({ members: JSON.parse(process.argv[1]), sliceCount, replicas: 2 }));
      process.stdout.write(createHash('sha256').update(JSON.stringify(placements)).digest('hex'));`;
    const orders = [members, members.toReversed(), [...members.slice(4), ...members.slice(0, 4)]];
    const digests = await Promise.all(
      orders.map(async (order) => {
        const args = ['--input-type=module', '--eval', script, JSON.stringify(order)];
        return (await promisify(execFile)(process.execPath, args)).stdout;
      }),
    );
    const expected = digestOf(sliceCounts.map((sliceCount) => placeSlices({ members, sliceCount, replicas: 2 })));
    expect(digests).toEqual([expected, expected, expected]);
  });

  test('a release places as the one before it did: another digest here moves the data of every cluster that is upgraded', () => {
    const cluster = membersOf(Array.from({ length: 5 }, (_, index) => `shard-${index}`));
    expect(placeSlices({ members: cluster, sliceCount: 4, replicas: 2 })).toEqual([
      ['shard-0', 'shard-3'],
      ['shard-3', 'shard-4'],
      ['shard-1', 'shard-4'],
      ['shard-2', 'shard-0'],
    ]);
    expect(digestOf(placeSlices({ members: cluster, sliceCount: 256, replicas: 2 }))).toBe(
      'b454c6005392036c98ba4d5884692b5324b235a1e65d083ccb0cb942ae87219f',
    );
    expect(digestOf(sliceCounts.map((sliceCount) => placeSlices({ members, sliceCount, replicas: 3 })))).toBe(
      '6cd59836af6f9b773c1b6d862fd8556f25f52e2f4fb89809c2ec77827f28267e',
    );
  });

  test('the largest cluster is placed in less time than lies between two polls', () => {
    const largest = Array.from({ length: 256 }, (_, index) => ({ name: `shard-${index}`, zone: `zone-${index % 3}` }));
    const usedBefore = process.cpuUsage();
    const placement = placeSlices({ members: largest, sliceCount: 4096, replicas: 3 });
    const { user, system } = process.cpuUsage(usedBefore);
    expect((user + system) / 1_000).toBeLessThan(limits.pollIntervalMs);
    expect(Math.max(...loadsOf(placement, largest))).toBeLessThanOrEqual(boundOf(256, 4096, 3));
  });
});

/** Nine names of one of the kinds that clusters have, other ones for each seed. */
function namesOf(seed: number): string[] {
  const kinds = [
    (n: number) => `shard-${seed}-${n}`,
    (n: number) => `http://10.${seed % 256}.0.${n + 1}:7070`,
    (n: number) => keyHash32(Buffer.from(`${seed} ${n}`)).toString(16),
    (n: number) => `pavostore-${seed}-shard-${n}.shard.default.svc`,
  ];
  return Array.from({ length: 9 }, (_, n) => kinds[seed % kinds.length]!(n));
}

function membersOf(names: readonly string[], zone?: string): PlacementMember[] {
  return names.map((name) => ({ name, zone }));
}

function placed(names: readonly string[], replicas: number): Placement {
  return placeSlices({ members: membersOf(names), sliceCount: 256, replicas });
}

function loadsOf(placement: Placement, members: readonly PlacementMember[]): number[] {
  return members.map(({ name }) => slicesOfMember(placement, name).length);
}

/** The rule's own words, apart from the code's. */
function boundOf(memberCount: number, sliceCount: number, replicas: number): number {
  const pairs = BigInt(sliceCount * Math.min(replicas, memberCount));
  const members = BigInt(memberCount);
  const meanUp = (pairs + members - 1n) / members;
  const tenthMore = (11n * pairs) / (10n * members);
  return Number(meanUp > tenthMore ? meanUp : tenthMore);
}

/** The share of the copies in `after` that are not in `before`: what has to be loaded anew. */
function movedShare(before: Placement, after: Placement): number {
  const moved = after.map((holders, slice) => holders.filter((name) => !before[slice]!.includes(name)).length);
  return moved.reduce((sum, count) => sum + count) / after.flat().length;
}

function zoneCountOf(holders: readonly string[], members: readonly PlacementMember[]): number {
  return new Set(holders.map((holder) => members.find(({ name }) => name === holder)!.zone)).size;
}

function digestOf(placements: unknown): string {
  return createHash('sha256').update(JSON.stringify(placements)).digest('hex');
}
