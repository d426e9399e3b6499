// The flags of the guards, for every command that publishes a version made of new data.

import type { Options } from '../../shared/command.ts';
import { type GuardSettings, parseMaxShrink } from './guards.ts';

export const guardFlags = {
  'max-shrink': {
    type: 'string',
    default: '50%',
    describe: 'refuse a version that has so much less entries than the published one',
    requiresArg: true,
  },
  force: { type: 'boolean', default: false, describe: 'publish it even if it is damaged, empty or much smaller' },
} as const satisfies Record<string, Options>;

/** Throws `usage`. */
export function guardsIn({ maxShrink, force }: { maxShrink: string; force: boolean }): GuardSettings {
  return { maxShrink: parseMaxShrink(maxShrink), force };
}
