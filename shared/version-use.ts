// What a router says of itself with each poll of a shard: which start of a router it is, which versions it uses, the one that it serves and those of
// requests under way, and which report of the shard is the last that it has taken in. The shard keeps what is named, and drops nothing that a
// router may still believe to be kept (shard/leases.ts). One header field:
//
//     Pavostore-In-Use: 3f09a1c2d4e5b677 0123456789abcdef0123456789abcdef,fedcba9876543210fedcba9876543210 9d1f4c0a7be23855:1042
//                       router           versions, or -                                                    the shard's incarnation:counter, or -

import { limits } from './limits.ts';
import { isVersionId } from './manifest.ts';

export type VersionUse = {
  /** Random for each start of a router, hexadecimal. */
  readonly router: string;
  /** None: it serves nothing yet. */
  readonly versionIds: readonly string[];
  /** The last report of the shard that it has taken in, when it named these; undefined: none yet. */
  readonly seen: SeenReport | undefined;
};

export type SeenReport = { readonly incarnation: string; readonly counter: number };

export const versionUseHeader = 'pavostore-in-use';

export function formatVersionUse({ router, versionIds, seen }: VersionUse): string {
  const named = versionIds.slice(0, limits.versionsInUseMax).join(',') || '-';
  // What a stranger calls its incarnation may be no header field at all.
  const isOurs = seen !== undefined && /^[0-9a-f]{1,64}$/.test(seen.incarnation);
  return `${router} ${named} ${isOurs ? `${seen.incarnation}:${seen.counter}` : '-'}`;
}

/** Undefined when it is not there, or malformed: then it is not a router who asks. */
export function parseVersionUse(text: string | readonly string[] | undefined): VersionUse | undefined {
  const parts = typeof text === 'string' ? /^([0-9a-f]{1,64}) (-|[0-9a-f,]+) (?:-|([0-9a-f]{1,64}):(\d{1,15}))$/.exec(text) : null;
  if (!parts) return undefined;
  const [, router, list, incarnation, counter] = parts as unknown as [string, string, string, string | undefined, string];
  const versionIds = list === '-' ? [] : list.split(',');
  if (versionIds.length > limits.versionsInUseMax || !versionIds.every(isVersionId)) return undefined;
  return { router, versionIds, seen: incarnation === undefined ? undefined : { incarnation, counter: Number(counter) } };
}
