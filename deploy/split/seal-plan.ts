// How the second pass is divided: which slices are sealed together, from which spill files. Pure; decided once, from the
// histogram of the first pass, so that each task's memory is known before it starts.

import { bitsOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { bucketCountFor } from '../../shared/slice-layout.ts';
import { type HashHistogram, histogramSize } from './chunk-spiller.ts';
import { recordOverhead, type SealTask } from './slice-sealer.ts';
import { spillCount } from './spill.ts';

/** What the spill files hold for a range of slices. */
type Weight = { readonly spilledBytes: number; readonly spilledRecords: number };

/** The slice count where the user names none: a power of two, from the bytes of keys and values that were read. */
export function defaultSliceCount(recordBytes: number): number {
  const wanted = Math.ceil(recordBytes / limits.sliceRecordBytesTarget);
  const rounded = wanted <= 1 ? 1 : 2 ** (bitsOf(wanted - 1) + 1);
  return Math.min(Math.max(rounded, limits.sliceCountDefaultMin), limits.sliceCountMax);
}

/** The least slice count that keeps each slice within `sliceSizeMax`, were there no duplicates; undefined when none does. */
export function sliceCountNeeded(histogram: HashHistogram, sliceSizeMax: number): number | undefined {
  for (let sliceCount = 1; sliceCount <= limits.sliceCountMax; sliceCount *= 2) {
    const fits = sliceIndexes(sliceCount).every((sliceIndex) => {
      const { spilledBytes, spilledRecords } = weigh(histogram, sliceCount, sliceIndex, sliceIndex + 1);
      return spilledBytes + 8 * bucketCountFor(spilledRecords, sliceCount) <= sliceSizeMax;
    });
    if (fits) return sliceCount;
  }
  return undefined;
}

/** The tasks in the order of their slices. One whose records exceed `memoryMax` has a single slice: it is to run alone. */
export function planSeal(histogram: HashHistogram, sliceCount: number, memoryMax: number): SealTask[] {
  const slicesPerSpill = Math.max(1, sliceCount / spillCount);
  const spillsPerSlice = Math.max(1, spillCount / sliceCount);
  const tasks: SealTask[] = [];
  for (let sliceFrom = 0; sliceFrom < sliceCount; ) {
    const groupEnd = sliceFrom + slicesPerSpill - (sliceFrom % slicesPerSpill);
    let sliceTo = sliceFrom + 1;
    while (sliceTo < groupEnd && memoryOf(weigh(histogram, sliceCount, sliceFrom, sliceTo + 1)) <= memoryMax) sliceTo++;
    const spillFrom = sliceCount < spillCount ? sliceFrom * spillsPerSlice : Math.floor(sliceFrom / slicesPerSpill);
    const spillTo = spillFrom + spillsPerSlice;
    tasks.push({ sliceFrom, sliceTo, spillFrom, spillTo, ...weigh(histogram, sliceCount, sliceFrom, sliceTo) });
    sliceFrom = sliceTo;
  }
  return tasks;
}

/** What a task's records take in memory, without the slices that are made of them. */
export function memoryOf({ spilledBytes, spilledRecords }: Weight): number {
  return spilledBytes + recordOverhead * spilledRecords;
}

function weigh(histogram: HashHistogram, sliceCount: number, sliceFrom: number, sliceTo: number): Weight {
  const cellsPerSlice = histogramSize / sliceCount;
  let spilledBytes = 0;
  let spilledRecords = 0;
  for (let cell = sliceFrom * cellsPerSlice; cell < sliceTo * cellsPerSlice; cell++) {
    spilledBytes += histogram[2 * cell]!;
    spilledRecords += histogram[2 * cell + 1]!;
  }
  return { spilledBytes, spilledRecords };
}

function sliceIndexes(sliceCount: number): number[] {
  return Array.from({ length: sliceCount }, (_, index) => index);
}
