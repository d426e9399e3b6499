// What a router says of itself with each poll of a shard: which start of a router it is, and which versions it uses, the one that it serves and
// those of requests under way. The shard keeps these as long as they are named (shard/leases.ts). One header field:
//
//     Pavostore-In-Use: 3f09a1c2d4e5b677 0123456789abcdef0123456789abcdef,fedcba9876543210fedcba9876543210

import { limits } from './limits.ts';
import { isVersionId } from './manifest.ts';

export type VersionUse = {
  /** Random for each start of a router, hexadecimal. */
  readonly router: string;
  /** None: it serves nothing yet. */
  readonly versionIds: readonly string[];
};

export const versionUseHeader = 'pavostore-in-use';

export function formatVersionUse({ router, versionIds }: VersionUse): string {
  return `${router} ${versionIds.slice(0, limits.versionsInUseMax).join(',')}`;
}

/** Undefined when it is not there, or malformed: then it is not a router who asks. */
export function parseVersionUse(text: string | readonly string[] | undefined): VersionUse | undefined {
  const parts = typeof text === 'string' ? /^([0-9a-f]{1,64}) ?([0-9a-f,]*)$/.exec(text) : null;
  if (!parts) return undefined;
  const [, router, list] = parts as unknown as [string, string, string];
  const versionIds = list === '' ? [] : list.split(',');
  if (versionIds.length > limits.versionsInUseMax || !versionIds.every(isVersionId)) return undefined;
  return { router, versionIds };
}
