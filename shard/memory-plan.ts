// Where the slices of a version go: all into memory when they fit the budget, otherwise all stay on disk with their directories in memory and
// a record cache in what is left. A pure function, and the measure of the memory that there is.

import { freemem, totalmem } from 'node:os';
import { PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import type { ManifestSlice } from '../shared/manifest.ts';
import { formatSize } from '../shared/quantities.ts';
import { bucketCountFor } from '../shared/slice-layout.ts';
import { indexSizeOf } from './disk-slice.ts';

export type MemoryPlan = {
  readonly kind: 'memory' | 'disk';
  /** Bytes that slices, directories and cache may take together. */
  readonly budget: number;
  /** For the record cache; 0 in memory. */
  readonly cacheSize: number;
  /** What was chosen and why, for the log and for `/status`. */
  readonly reason: string;
};

/**
 * `memory`: the budget that was asked for, undefined when the shard decides by itself from `available`, the bytes that there are. Throws
 * `memory_short` when not even the directories fit.
 */
export function planMemory(options: {
  readonly slices: readonly ManifestSlice[];
  readonly sliceCount: number;
  readonly memory: number | undefined;
  readonly available: number;
}): MemoryPlan {
  const { slices, sliceCount, memory, available } = options;
  const size = slices.reduce((sum, { bytes }) => sum + bytes, 0);
  const budget = memory ?? Math.max(0, Math.floor(0.9 * available) - limits.memoryReserve);
  const source = memory === undefined ? `${formatSize(available)} available` : '--memory';
  const chosen = `${slices.length} slices, ${formatSize(size)}, budget ${formatSize(budget)} (${source})`;
  if (size <= budget) return { kind: 'memory', budget, cacheSize: 0, reason: `all in memory: ${chosen}` };
  const indexSize = slices.reduce((sum, { entries }) => sum + indexSizeOf(bucketCountFor(entries, sliceCount)), 0);
  const cacheSize = budget - indexSize;
  if (cacheSize < limits.recordCacheMin) {
    throw new PavostoreError(
      'memory_short',
      `${chosen}: their directories take ${formatSize(indexSize)} and the cache at least ${formatSize(limits.recordCacheMin)}; ` +
        'start more shards, or give this one more memory',
    );
  }
  return {
    kind: 'disk',
    budget,
    cacheSize,
    reason: `on disk, with a cache of ${formatSize(cacheSize)} and directories of ${formatSize(indexSize)} in memory: ${chosen}`,
  };
}

/** Bytes that this process can still take: what the machine or the control group, whichever is tighter, has left. */
export function availableMemory(): number {
  // 0 or a huge number where there is no limit.
  const constrained = process.constrainedMemory();
  const free = process.availableMemory?.() ?? freemem();
  if (constrained <= 0 || constrained > totalmem()) return free;
  return Math.max(0, Math.min(free, constrained - process.memoryUsage.rss()));
}
