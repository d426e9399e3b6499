// Which holder of a slice is asked: the one with the least load, the preferred one among equals. A pure function, run for every key.
//
// A lane that is busy already counts as less loaded than it is, so that keys which any of several holders could answer share a batch: the
// shards' part of a GET falls by a quarter, and the load is spread only as far as there is enough of it. One that is late or ejected is asked only when nobody else is there: never is the last holder left out, until it is gone.

import { limits } from '../shared/limits.ts';

/** What the choice reads of a member's lane. */
export type Holder = {
  /** Keys that wait or are under way. */
  readonly load: number;
  /** Late just now, or ejected: others come first. */
  readonly isAvoided: boolean;
  /** Not asked at all. */
  readonly isGone: boolean;
};

/** More than any load. */
const avoidedLoad = 1e9;

/** The holder to ask; never one of `asked` and `before`, which were asked already. */
export function chooseHolder<Lane extends Holder>(
  holders: readonly Lane[],
  asked: Lane | undefined,
  before: Lane | undefined,
): Lane | undefined {
  let best: Lane | undefined;
  let bestLoad = 0;
  for (const lane of holders) {
    if (lane === asked || lane === before || lane.isGone) continue;
    let load = lane.load > 0 ? lane.load - limits.batchAffinityKeys : 0;
    if (lane.isAvoided) load += avoidedLoad;
    if (best && load >= bestLoad) continue;
    best = lane;
    bestLoad = load;
  }
  return best;
}
