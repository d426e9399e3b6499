// How a version is cut or joined, decided from its manifest alone. Both slice counts are powers of two and a slice is a range of
// hashes, so the slices of the one lie in those of the other without a rest:
//
//     cut     source  |    0    |    1    |        join    source  | 0 | 1 | 2 | 3 |
//             target  | 0  | 1  | 2  | 3  |                target  |   0   |   1   |
//
// A task is one source slice that is cut or one target slice that is joined: the larger of the two.

import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { Identity, ManifestSlice } from '../../shared/manifest.ts';
import { sliceSizeOf } from '../../shared/slice-layout.ts';

/** Target slices `targetFrom` (inclusive) to `targetTo` (exclusive), made of the source slices `sourceFrom` to `sourceTo`. */
export type ResliceTask = {
  readonly sourceFrom: number;
  readonly sourceTo: number;
  readonly targetFrom: number;
  readonly targetTo: number;
  /** Of all its records, in bytes as they stand in a slice. */
  readonly recordsSize: number;
  readonly entryCount: number;
};

/** The tasks in the order of their slices. */
export function planReslice(identity: Identity, targetCount: number): ResliceTask[] {
  const taskCount = Math.min(identity.sliceCount, targetCount);
  const sourcesPerTask = identity.sliceCount / taskCount;
  const targetsPerTask = targetCount / taskCount;
  return Array.from({ length: taskCount }, (_, index): ResliceTask => {
    const sourceFrom = index * sourcesPerTask;
    const sourceTo = sourceFrom + sourcesPerTask;
    const sources = identity.slices.slice(sourceFrom, sourceTo);
    return {
      sourceFrom,
      sourceTo,
      targetFrom: index * targetsPerTask,
      targetTo: (index + 1) * targetsPerTask,
      recordsSize: sources.reduce((sum, source) => sum + recordsSizeOf(source, identity.sliceCount), 0),
      entryCount: sources.reduce((sum, { entries }) => sum + entries, 0),
    };
  });
}

/** Throws `slice_too_large` when a joined slice would be larger than `sliceSizeMax` bytes; a cut one never is. */
export function assertSlicesFit(identity: Identity, targetCount: number, sliceSizeMax: number): void {
  const { index, size } = largestJoined(identity, targetCount);
  if (size <= sliceSizeMax) return;
  let needed = 2 * targetCount;
  while (needed < identity.sliceCount && largestJoined(identity, needed).size > sliceSizeMax) needed *= 2;
  throw new PavostoreError(
    'slice_too_large',
    `slice ${index} of ${targetCount}: ${size} bytes, at most ${sliceSizeMax}; --slices ${needed} is needed`,
  );
}

/** What the new slices take on the disk at the most: buckets never more than a quarter of the entries, and two a slice. */
export function sizeNeeded(tasks: readonly ResliceTask[], targetCount: number): number {
  const sizes = tasks.map(({ recordsSize, entryCount }) => recordsSize + 2 * entryCount);
  return sizes.reduce((sum, size) => sum + size, 0) + targetCount * (sliceSizeOf(0, 0, targetCount) + 16) + limits.splitSizeMin;
}

/** What a task takes in memory at the most: its records twice, as they come and as they go, and its columns. */
export function memoryOf({ recordsSize, entryCount }: ResliceTask): number {
  return 2 * recordsSize + 12 * entryCount;
}

function largestJoined(identity: Identity, targetCount: number): { index: number; size: number } {
  if (targetCount >= identity.sliceCount) return { index: 0, size: 0 };
  const sizes = planReslice(identity, targetCount).map((task) => sliceSizeOf(task.entryCount, task.recordsSize, targetCount));
  const size = Math.max(...sizes);
  return { index: sizes.indexOf(size), size };
}

function recordsSizeOf({ bytes, entries }: ManifestSlice, sliceCount: number): number {
  return bytes - sliceSizeOf(entries, 0, sliceCount);
}
