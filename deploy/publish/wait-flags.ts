// The flags of waiting until a publication is served, and the end of every command that publishes a version that lies in DATA.

import type { Options } from '../../shared/command.ts';
import type { Current } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { parseAddress } from '../../shared/member-source.ts';
import { durationBetween } from '../../shared/quantities.ts';
import { untilServed } from './served.ts';

export const waitFlags = {
  router: { type: 'string', describe: 'URLs of the routers that should serve it, separated by commas', requiresArg: true },
  wait: {
    type: 'string',
    default: '10m',
    describe: 'how long to wait until these routers serve it; --no-wait does not wait',
    requiresArg: true,
  },
} as const satisfies Record<string, Options>;

/** Whom to wait for, and how long. */
export type WaitSettings = { readonly routers: readonly string[]; readonly waitMs: number };

/** Throws `usage`, `members_malformed`. yargs makes false of `--no-wait`, and the variable has words for it. */
export function waitSettingsIn({ router, wait }: { router: string | undefined; wait: string | boolean }): WaitSettings {
  const isWaiting = wait !== false && wait !== 'false' && wait !== '0';
  const waitMs = isWaiting ? durationBetween('--wait', String(wait), 0, limits.servedWaitMaxMs) : 0;
  const routers = (router ?? '')
    .split(',')
    .filter((url) => url.trim() !== '')
    .map(parseAddress);
  if (router !== undefined && routers.length === 0)
    throw new PavostoreError('usage', '--router: a URL like http://127.0.0.1:8080 is needed');
  return { routers: isWaiting ? routers : [], waitMs };
}

/** Resolves when all routers serve it; at once, with a word about it, when there is none to ask. Throws `version_not_served`. */
export async function waitUntilServed(
  current: Current,
  { routers, waitMs }: WaitSettings,
  { say, signal }: { readonly say: (message: string) => void; readonly signal: AbortSignal },
): Promise<void> {
  if (routers.length === 0) return say('not waited for: no --router is asked whether it serves the version');
  await untilServed({ routers, current, waitMs, onProgress: say, signal });
}
