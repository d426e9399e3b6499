// Where the slices of a version go: all into memory when they fit the budget, otherwise all stay on disk with their directories in memory and
// a record cache in what is left. A pure function.
//
// When another version is held beside it, which is the one that is served as a rule, that one gives way: it is served from disk meanwhile, slice by
// slice, as far as the new one needs its memory. So a swap takes memory for one version, and the directories of the other.

import { PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import type { ManifestSlice } from '../shared/manifest.ts';
import { formatSize } from '../shared/quantities.ts';
import { bucketCountFor } from '../shared/slice-layout.ts';
import { indexSizeOf } from './disk-slice.ts';

export type MemoryPlan = {
  readonly kind: 'memory' | 'disk';
  /** Bytes that slices, directories and cache may take together, those of all versions. */
  readonly budget: number;
  /** For the record cache; 0 when nothing is on disk. */
  readonly cacheSize: number;
  /** What was chosen and why, for the log and for `/status`. */
  readonly reason: string;
};

/** The slices of one version that a shard holds, or is to hold. */
export type SlicesToPlace = { readonly slices: readonly ManifestSlice[]; readonly sliceCount: number };

export type MemoryPlanOptions = SlicesToPlace & {
  /** The other version that is held; `onDisk`: it is served from disk already. */
  readonly beside?: (SlicesToPlace & { readonly onDisk: boolean }) | undefined;
  /** The budget that was asked for, undefined when the shard decides by itself from `available`. */
  readonly memory: number | undefined;
  /** The bytes that there are, with those that the shard has taken already. */
  readonly available: number;
};

/** Throws `memory_short` when not even the directories fit. */
export function planMemory(options: MemoryPlanOptions): MemoryPlan {
  const { slices, memory, available, beside } = options;
  const budget = memory ?? Math.max(0, Math.floor(0.9 * available) - limits.memoryReserve);
  const size = sizeOf(options);
  const source = memory === undefined ? `${formatSize(available)} available` : '--memory';
  const chosen = `${slices.length} slices, ${formatSize(size)}, budget ${formatSize(budget)} (${source})`;
  if (!beside) return planAlone(options, { budget, chosen });
  const fitsBeside = !beside.onDisk && size + sizeOf(beside) <= budget;
  if (fitsBeside) return { kind: 'memory', budget, cacheSize: 0, reason: `all in memory, beside ${formatSize(sizeOf(beside))}: ${chosen}` };
  const cacheSize = swapCacheSize(budget);
  if (!beside.onDisk && size + indexSize(beside) + cacheSize <= budget) {
    const reason = `all in memory, while the version before is served from disk as far as it must be: ${chosen}`;
    return { kind: 'memory', budget, cacheSize, reason };
  }
  return planOnDisk({ indexes: indexSize(options) + indexSize(beside), reserved: 0 }, { budget, chosen });
}

function planAlone(options: SlicesToPlace, { budget, chosen }: { budget: number; chosen: string }): MemoryPlan {
  if (sizeOf(options) <= budget) return { kind: 'memory', budget, cacheSize: 0, reason: `all in memory: ${chosen}` };
  const indexes = indexSize(options);
  // Room for the directories of the next version, so that the cache stays as it is when that comes.
  const reserved = budget - 2 * indexes >= limits.recordCacheMin ? indexes : 0;
  return planOnDisk({ indexes, reserved }, { budget, chosen });
}

function planOnDisk(taken: { indexes: number; reserved: number }, { budget, chosen }: { budget: number; chosen: string }): MemoryPlan {
  const { indexes } = taken;
  const cacheSize = budget - indexes - taken.reserved;
  if (cacheSize < limits.recordCacheMin) {
    throw new PavostoreError(
      'memory_short',
      `${chosen}: their directories take ${formatSize(indexes)} and the cache at least ${formatSize(limits.recordCacheMin)}; ` +
        'start more shards, or give this one more memory',
    );
  }
  return {
    kind: 'disk',
    budget,
    cacheSize,
    reason: `on disk, with a cache of ${formatSize(cacheSize)} and directories of ${formatSize(indexes)} in memory: ${chosen}`,
  };
}

/** Of a version that is served from disk only until the next one is: the system's own file cache does most of it. */
export function swapCacheSize(budget: number): number {
  return Math.min(limits.recordCacheMin, Math.max(limits.swapCacheMin, Math.floor(0.02 * budget)));
}

function sizeOf({ slices }: SlicesToPlace): number {
  return slices.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Bytes of directories and bucket CRCs. */
function indexSize({ slices, sliceCount }: SlicesToPlace): number {
  return slices.reduce((sum, { entries }) => sum + indexSizeOf(bucketCountFor(entries, sliceCount)), 0);
}
