// Placement: which members should hold which slices. A pure function of member names, zones, slice count and replicas, in
// whole numbers only, so that every process computes the same one without asking anybody. The only door of `consistent-hash`.
//
//     names ──sorted──> ring ──get(slice)──> order of preference ──fill, slice by slice──> holders
//
// The ring alone gives one of eight members 1.3 of the mean, 1.8 at worst; so each member takes only up to a bound 10 % above it, and a
// slice goes to the next in its order that has room. Consistent hashing with bounded loads: Mirrokni, Thorup,
// Zadimoghaddam, arXiv 1608.01350. Why this way of filling: docs/decisions/002-placement.md.
//
// Invariants, whatever the members: exactly min(replicas, members) distinct holders a slice; no member above the bound.

import assert from 'node:assert/strict';
import ConsistentHash from 'consistent-hash';
import { keyHash32, type SliceIndex } from './key-hash.ts';
import { limits } from './limits.ts';

/** `zone` is where it runs (a rack, a data centre); members without one count as being in one zone of their own. */
export type PlacementMember = { readonly name: string; readonly zone?: string | undefined };

/** For each slice the names of its holders, in its order of preference. */
export type Placement = readonly (readonly string[])[];

type ZonedMember = { readonly name: string; readonly zone: string };

/** A member in here is its rank in the order of names. */
type Filling = {
  readonly ring: ConsistentHash<number>;
  /** For each slice the members it prefers, as many as were needed so far. */
  readonly preferences: number[][];
  readonly zones: readonly number[];
  readonly zoneCount: number;
  /** Whether the zones are large enough, within the bound, for every slice to have its holders in different ones. */
  readonly zonesSuffice: boolean;
  /** For each member how many slices more it may take. */
  readonly room: number[];
  readonly holders: number[][];
};

/** How much of a slice's order of preference is asked for at first; the rest when it is needed. Of 256 members the whole takes 20 times as long. */
const preferenceCountMin = 12;

assert(limits.membersMax * limits.placementPointsPerMember < limits.placementRange, 'the ring has a free point for every member');

/**
 * Places `sliceCount` slices on `members`. The order of `members` does not matter, and a name that is given twice counts once.
 * Without members no slice has a holder. About 40 ms for 4,096 slices on 64 members: for a change of members, not for a request.
 */
export function placeSlices(options: {
  readonly members: readonly PlacementMember[];
  readonly sliceCount: number;
  readonly replicas: number;
}): Placement {
  const { sliceCount, replicas } = options;
  const members = inNameOrder(options.members);
  assert(members.length <= limits.membersMax, `at most ${limits.membersMax} members`);
  assert(Number.isInteger(sliceCount) && sliceCount >= 1 && sliceCount <= limits.sliceCountMax, 'a slice count is from 1 to 4,096');
  assert(Number.isInteger(replicas) && replicas >= 1, 'at least one replica');

  const holderCount = Math.min(replicas, members.length);
  const filling = startFilling(members, sliceCount, holderCount);
  for (let slice = 0; slice < sliceCount; slice++) {
    for (let copy = 0; copy < holderCount; copy++) addHolder(filling, slice);
  }
  return filling.holders.map((holders, slice) => {
    const preference = filling.preferences[slice]!;
    return holders.sort((a, b) => preference.indexOf(a) - preference.indexOf(b)).map((member) => members[member]!.name);
  });
}

/** The slices that `placement` gives to the member of this name, ascending. */
export function slicesOfMember(placement: Placement, name: string): SliceIndex[] {
  const slices: SliceIndex[] = [];
  for (const [slice, holders] of placement.entries()) if (holders.includes(name)) slices.push(slice as SliceIndex);
  return slices;
}

/** How many slices one member takes at most: the mean rounded up, or 1.1 of the mean rounded down, whichever is more. */
export function loadBound(options: { readonly sliceCount: number; readonly holderCount: number; readonly memberCount: number }): number {
  const { sliceCount, holderCount, memberCount } = options;
  const pairs = sliceCount * holderCount;
  return Math.max(Math.ceil(pairs / memberCount), Math.floor((11 * pairs) / (10 * memberCount)));
}

/** Sorted by code unit, never by locale; of one name with several zones the least zone counts, so that no order matters. */
function inNameOrder(members: readonly PlacementMember[]): ZonedMember[] {
  const zoneByName = new Map<string, string>();
  for (const { name, zone = '' } of members) {
    const known = zoneByName.get(name);
    if (known === undefined || zone < known) zoneByName.set(name, zone);
  }
  return [...zoneByName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, zone]) => ({ name, zone }));
}

function startFilling(members: readonly ZonedMember[], sliceCount: number, holderCount: number): Filling {
  const zoneNames = [...new Set(members.map(({ zone }) => zone))];
  const bound = members.length === 0 ? 0 : loadBound({ sliceCount, holderCount, memberCount: members.length });
  const zoneSizes = zoneNames.map((name) => members.filter(({ zone }) => zone === name).length);
  const pairsInZones = zoneSizes.reduce((sum, size) => sum + Math.min(size * bound, sliceCount), 0);
  const ring = buildRing(members);
  return {
    ring,
    preferences: Array.from({ length: sliceCount }, (_, slice) => askRing(ring, slice, Math.min(preferenceCountMin, members.length))),
    zones: members.map(({ zone }) => zoneNames.indexOf(zone)),
    zoneCount: zoneNames.length,
    zonesSuffice: pairsInZones >= sliceCount * Math.min(holderCount, zoneNames.length),
    room: members.map(() => bound),
    holders: Array.from({ length: sliceCount }, () => []),
  };
}

function buildRing(members: readonly ZonedMember[]): ConsistentHash<number> {
  // Explicit points: the package would draw them from Math.random(). The range is its default, said here because
  // placement depends on it: a wider one collapses, since the package's hash of a name has 24 bits.
  const ring = new ConsistentHash<number>({ range: limits.placementRange });
  const pointTaken = new Uint8Array(limits.placementRange);
  for (const [member, { name }] of members.entries()) ring.add(member, limits.placementPointsPerMember, takePoints(name, pointTaken));
  return ring;
}

/** The points of one member; where one is taken by a member before it in name order, or by itself, the next that is free. */
function takePoints(name: string, pointTaken: Uint8Array): number[] {
  return Array.from({ length: limits.placementPointsPerMember }, (_, index) => {
    let point = hashOf(`${name}#${index}`) % limits.placementRange;
    while (pointTaken[point]) point = (point + 1) % limits.placementRange;
    pointTaken[point] = 1;
    return point;
  });
}

/** The first `count` members in the slice's order of preference. */
function askRing(ring: ConsistentHash<number>, slice: number, count: number): number[] {
  // A count of 0 would mean "one node, and no list". Hashed before, because the package's own hash puts names
  // that differ in their last digits side by side.
  const name = `slice-${String(slice).padStart(4, '0')}`;
  return count === 0 ? [] : ring.get(hashOf(name).toString(16).padStart(8, '0'), count)!;
}

/** Gives `slice` one more holder: another zone before the same zone, room before a swap, its order of preference in each. */
function addHolder(filling: Filling, slice: number): void {
  const { holders, zones, zoneCount, zonesSuffice } = filling;
  const wantsZone = new Set(holders[slice]!.map((member) => zones[member])).size < zoneCount;
  const done =
    (wantsZone && takeRoom(filling, slice, { newZone: true })) ||
    (wantsZone && zonesSuffice && swapIn(filling, slice, { newZone: true, keepZones: true })) ||
    takeRoom(filling, slice, { newZone: false }) ||
    swapIn(filling, slice, { newZone: false, keepZones: true }) ||
    swapIn(filling, slice, { newZone: false, keepZones: false });
  // The last cannot fail: then all with room hold this slice, and each that is full has an earlier slice that they lack.
  assert(done, `slice ${slice} finds a holder`);
}

function takeRoom(filling: Filling, slice: number, { newZone }: { newZone: boolean }): boolean {
  const { holders, room } = filling;
  const member = findPreferred(filling, slice, (candidate) => room[candidate]! > 0 && mayHold(filling, slice, candidate, newZone));
  if (member === undefined) return false;
  holders[slice]!.push(member);
  room[member]!--;
  return true;
}

/** Takes over a holder of the latest earlier slice that can have a member with room instead. */
function swapIn(filling: Filling, slice: number, { newZone, keepZones }: { newZone: boolean; keepZones: boolean }): boolean {
  const { holders, room } = filling;
  for (let earlier = slice - 1; earlier >= 0; earlier--) {
    for (const [place, given] of holders[earlier]!.entries()) {
      if (!mayHold(filling, slice, given, newZone)) continue;
      const taken = findPreferred(
        filling,
        earlier,
        (candidate) => room[candidate]! > 0 && mayReplace(filling, earlier, { place, candidate, keepZones }),
      );
      if (taken === undefined) continue;
      holders[earlier]![place] = taken;
      room[taken]!--;
      holders[slice]!.push(given);
      return true;
    }
  }
  return false;
}

/** Whether `candidate` may stand in place of a holder: not twice in one slice, and with `keepZones` in no fewer zones than before. */
function mayReplace(filling: Filling, slice: number, change: { place: number; candidate: number; keepZones: boolean }): boolean {
  const { place, candidate, keepZones } = change;
  const { holders, zones } = filling;
  const before = holders[slice]!;
  if (before.includes(candidate)) return false;
  const zonesOfRest = before.toSpliced(place, 1).map((holder) => zones[holder]);
  return !keepZones || !zonesOfRest.includes(zones[candidate]) || zonesOfRest.includes(zones[before[place]!]);
}

function mayHold({ holders, zones }: Filling, slice: number, candidate: number, newZone: boolean): boolean {
  for (const holder of holders[slice]!) if (holder === candidate || (newZone && zones[holder] === zones[candidate])) return false;
  return true;
}

function findPreferred(filling: Filling, slice: number, fits: (member: number) => boolean): number | undefined {
  const { ring, preferences, zones } = filling;
  const found = preferences[slice]!.find(fits);
  if (found !== undefined || preferences[slice]!.length === zones.length) return found;
  preferences[slice] = askRing(ring, slice, zones.length);
  return preferences[slice].find(fits);
}

function hashOf(text: string): number {
  return keyHash32(Buffer.from(text));
}
