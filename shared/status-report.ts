// What a shard says of itself at `GET /status`, and all that the others know of it. A report from a socket is untrusted:
// `parseStatusReport` checks what is used. Fields are only ever added; unknown ones are ignored.

import { PavostoreError } from './errors.ts';
import { isPowerOfTwo } from './key-hash.ts';
import { limits } from './limits.ts';
import { isVersionId } from './manifest.ts';
import { readRanges, type SliceRanges } from './slice-ranges.ts';

export type ShardState = 'loading' | 'ready' | 'leaving';

/** What can be true of a slice of a version in a shard. Only `kept` makes a holder; `yielding` is still answered, but counts for nobody. */
export type SliceSets = {
  readonly kept: SliceRanges;
  readonly loading: SliceRanges;
  readonly yielding: SliceRanges;
  readonly corrupt: SliceRanges;
};

export type VersionReport = {
  readonly id: string;
  readonly sequence: number;
  readonly sliceCount: number;
  readonly slices: SliceSets;
  /** Every slice that placement gives the shard is kept. Undefined: it does not say. */
  readonly settled?: boolean;
  /** Routers serve it, as they say in their polls. */
  readonly inUse?: boolean;
};

/** A publication: the same id may be published again, with another sequence. */
export type PublishedId = { readonly id: string; readonly sequence: number };

/** A version that was to be served, and is not; without a sequence when no publication came of it. */
export type RefusedVersion = { readonly id: string; readonly sequence?: number; readonly why: string };

export type StatusReport = {
  readonly name: string;
  readonly zone?: string;
  /** Random for each start of the process; of two of one name the one that started later counts. */
  readonly incarnation: string;
  readonly startedMs: number;
  /** Grows with each report of an incarnation: an older report never replaces a newer one. */
  readonly counter: number;
  readonly state: ShardState;
  /** Newest first, at most two. */
  readonly versions: readonly VersionReport[];
  /** What is published, as the shard has read it. */
  readonly current?: PublishedId | null;
  /** The id of the version that it takes for the one that is served. */
  readonly serving?: string | null;
  readonly refused?: readonly RefusedVersion[];
};

/** Versions in one report, those that are refused likewise: more is not ours. */
const versionsMax = 8;
const whySizeMax = 1_000;

/** Throws `reply_malformed`; `what` names the sender in messages. */
export function parseStatusReport(text: string, what: string): StatusReport {
  const refuse = (reason: string): PavostoreError => new PavostoreError('reply_malformed', `status of ${what}: ${reason}`);
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (cause) {
    throw new PavostoreError('reply_malformed', `status of ${what}: not JSON`, { cause });
  }
  if (typeof read !== 'object' || read === null) throw refuse('not an object');
  const { name, zone, incarnation, startedMs, counter, state, versions, current, serving, refused } = read as Record<string, unknown>;
  if (!isName(name)) throw refuse('no name of 1 to 255 characters');
  if (zone !== undefined && !isName(zone)) throw refuse('its zone is not a name');
  if (!isName(incarnation)) throw refuse('no incarnation');
  if (!isCount(startedMs) || !isCount(counter)) throw refuse('no startedMs or counter');
  if (state !== 'loading' && state !== 'ready' && state !== 'leaving') throw refuse(`state ${JSON.stringify(state)}`);
  if (!Array.isArray(versions) || versions.length > versionsMax) throw refuse(`no list of at most ${versionsMax} versions`);
  if (serving !== undefined && serving !== null && !isVersionId(serving)) throw refuse('what it serves has no id');
  if (refused !== undefined && (!Array.isArray(refused) || refused.length > versionsMax)) throw refuse('the versions that it refuses');
  return {
    name,
    ...(zone === undefined ? {} : { zone }),
    incarnation,
    startedMs,
    counter,
    state,
    versions: versions.map((version: unknown) => parseVersionReport(version, refuse)),
    ...(current === undefined || current === null ? {} : { current: parsePublishedId(current, refuse) }),
    ...(isVersionId(serving) ? { serving } : {}),
    ...(refused === undefined ? {} : { refused: refused.map((version: unknown) => parseRefused(version, refuse)) }),
  };
}

function parsePublishedId(read: unknown, refuse: (reason: string) => PavostoreError): PublishedId {
  const { id, sequence } = (read ?? {}) as Record<string, unknown>;
  if (!isVersionId(id) || !isCount(sequence)) throw refuse('a published version has no id or no sequence');
  return { id, sequence };
}

function parseRefused(read: unknown, refuse: (reason: string) => PavostoreError): RefusedVersion {
  const { id, sequence, why } = (read ?? {}) as Record<string, unknown>;
  if (!isVersionId(id)) throw refuse('a version that it refuses has no id');
  return { id, ...(isCount(sequence) ? { sequence } : {}), why: typeof why === 'string' ? why.slice(0, whySizeMax) : '' };
}

function parseVersionReport(read: unknown, refuse: (reason: string) => PavostoreError): VersionReport {
  if (typeof read !== 'object' || read === null) throw refuse('a version is not an object');
  const { id, sequence, sliceCount, slices, settled, inUse } = read as Record<string, unknown>;
  if (!isVersionId(id)) throw refuse('a version has no id');
  if (!isCount(sequence)) throw refuse(`version ${id} has no sequence`);
  if (typeof sliceCount !== 'number' || !isPowerOfTwo(sliceCount) || sliceCount > limits.sliceCountMax) {
    throw refuse(`version ${id}: slice count ${JSON.stringify(sliceCount)}`);
  }
  if (typeof slices !== 'object' || slices === null) throw refuse(`version ${id} lists no slices`);
  const set = (name: keyof SliceSets): SliceRanges => {
    const ranges = readRanges((slices as Record<string, unknown>)[name], sliceCount);
    if (!ranges) throw refuse(`version ${id}: the ranges of ${name} slices are malformed`);
    return ranges;
  };
  return {
    id,
    sequence,
    sliceCount,
    slices: { kept: set('kept'), loading: set('loading'), yielding: set('yielding'), corrupt: set('corrupt') },
    ...(typeof settled === 'boolean' ? { settled } : {}),
    ...(typeof inUse === 'boolean' ? { inUse } : {}),
  };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= 255;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
