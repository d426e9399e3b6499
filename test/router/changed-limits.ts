// Other limits for one test of an engine in its own process. Only those which the product reads each time that it decides: of the others it has made
// something else when its modules loaded. Other processes get theirs from `test/chaos/children-limits.ts`.

import { onTestFinished } from 'vitest';
import { limits } from '../../shared/limits.ts';

type ChangedLimits = Partial<Record<'hedgeDelayUnknownMs' | 'ejectSilenceMs' | 'memberGoneMs' | 'probeDelayMinMs', number>>;

/** Longer than any test. */
export const neverMs = 60_000;

/** For tests that count what is sent: as long as too little is known of a member, none of its batches is late, however long this process stands still. */
export const nobodyIsLate = { hedgeDelayUnknownMs: neverMs, ejectSilenceMs: neverMs, memberGoneMs: neverMs } as const;

/** From now to the end of the test that is running. */
export function changeLimits(changed: ChangedLimits): void {
  const before = Object.fromEntries(Object.keys(changed).map((name) => [name, limits[name as keyof ChangedLimits]]));
  Object.assign(limits, changed);
  onTestFinished(() => void Object.assign(limits, before));
}
