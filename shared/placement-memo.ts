// Placements that were computed lately: the same members are placed again at every decision, and their names seldom change.

import { limits } from './limits.ts';
import { type Placement, type PlacementMember, placeSlices } from './placement.ts';

const placements = new Map<string, Placement>();
let slicesRecalled = 0;

/** As `placeSlices`, which see; at once for members that were placed a short while ago, in the same order. */
export function recallPlacement(options: {
  readonly members: readonly PlacementMember[];
  readonly sliceCount: number;
  readonly replicas: number;
}): Placement {
  const { members, sliceCount, replicas } = options;
  // A name may hold any character, but cannot imitate the quotes of JSON.
  const key = JSON.stringify([sliceCount, replicas, members.map(({ name, zone }) => [name, zone])]);
  const known = placements.get(key);
  if (known) return known;
  const placement = placeSlices(options);
  placements.set(key, placement);
  slicesRecalled += sliceCount;
  // The oldest go; a Map is in the order of insertion.
  for (const [oldest, { length }] of placements) {
    if (slicesRecalled <= limits.slicesRecalledMax) break;
    placements.delete(oldest);
    slicesRecalled -= length;
  }
  return placement;
}
