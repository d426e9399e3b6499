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

export type VersionReport = { readonly id: string; readonly sequence: number; readonly sliceCount: number; readonly slices: SliceSets };

export type StatusReport = {
  readonly name: string;
  readonly zone?: string;
  /** Random for each start of the process; of two of one name the one that started later counts. */
  readonly incarnation: string;
  readonly startedMs: number;
  /** Grows with each report of an incarnation: an older report never replaces a newer one. */
  readonly counter: number;
  readonly state: ShardState;
  readonly versions: readonly VersionReport[];
};

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
  const { name, zone, incarnation, startedMs, counter, state, versions } = read as Record<string, unknown>;
  if (!isName(name)) throw refuse('no name of 1 to 255 characters');
  if (zone !== undefined && !isName(zone)) throw refuse('its zone is not a name');
  if (!isName(incarnation)) throw refuse('no incarnation');
  if (!isCount(startedMs) || !isCount(counter)) throw refuse('no startedMs or counter');
  if (state !== 'loading' && state !== 'ready' && state !== 'leaving') throw refuse(`state ${JSON.stringify(state)}`);
  if (!Array.isArray(versions)) throw refuse('no list of versions');
  return {
    name,
    ...(zone === undefined ? {} : { zone }),
    incarnation,
    startedMs,
    counter,
    state,
    versions: versions.map((version: unknown) => parseVersionReport(version, refuse)),
  };
}

function parseVersionReport(read: unknown, refuse: (reason: string) => PavostoreError): VersionReport {
  if (typeof read !== 'object' || read === null) throw refuse('a version is not an object');
  const { id, sequence, sliceCount, slices } = read as Record<string, unknown>;
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
  };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= 255;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
