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
  const sums = sumUp(histogram);
  for (let sliceCount = 1; sliceCount <= limits.sliceCountMax; sliceCount *= 2) {
    const fits = sliceIndexes(sliceCount).every((sliceIndex) => {
      const { spilledBytes, spilledRecords } = weigh(sums, sliceCount, sliceIndex, sliceIndex + 1);
      return spilledBytes + 8 * bucketCountFor(spilledRecords, sliceCount) <= sliceSizeMax;
    });
    if (fits) return sliceCount;
  }
  return undefined;
}

/**
 * The tasks in the order of their slices. One whose records exceed `memoryMax` has a single slice: it is to run alone. Small spill
 * files are sealed together, large ones in several tasks, each of which reads the file. `slices`: which ones, `to` exclusive.
 */
export function planSeal(
  histogram: HashHistogram,
  sliceCount: number,
  memoryMax: number,
  slices: { readonly from: number; readonly to: number } = { from: 0, to: sliceCount },
): SealTask[] {
  const sums = sumUp(histogram);
  const tasks: SealTask[] = [];
  for (let sliceFrom = slices.from; sliceFrom < slices.to; ) {
    let task = taskOf(sums, sliceCount, sliceFrom, sliceFrom + 1);
    while (task.sliceTo < slices.to) {
      const longer = taskOf(sums, sliceCount, sliceFrom, task.sliceTo + 1);
      const isOneSpill = longer.spillTo === longer.spillFrom + 1;
      if (memoryOf(longer) > memoryMax || (!isOneSpill && longer.spilledBytes > limits.sealTaskSize)) break;
      task = longer;
    }
    tasks.push(task);
    sliceFrom = task.sliceTo;
  }
  return tasks;
}

function taskOf(sums: HashHistogram, sliceCount: number, sliceFrom: number, sliceTo: number): SealTask {
  return {
    sliceFrom,
    sliceTo,
    spillFrom: Math.floor((sliceFrom * spillCount) / sliceCount),
    spillTo: Math.ceil((sliceTo * spillCount) / sliceCount),
    ...weigh(sums, sliceCount, sliceFrom, sliceTo),
  };
}

/** What a task's records take in memory, without the slices that are made of them. */
export function memoryOf({ spilledBytes, spilledRecords }: Weight): number {
  return spilledBytes + recordOverhead * spilledRecords;
}

/** At each cell what all cells before it hold, and at the end the whole. */
function sumUp(histogram: HashHistogram): HashHistogram {
  const sums = new Float64Array(histogram.length + 2);
  for (let i = 0; i < histogram.length; i++) sums[i + 2] = sums[i]! + histogram[i]!;
  return sums;
}

function weigh(sums: HashHistogram, sliceCount: number, sliceFrom: number, sliceTo: number): Weight {
  const cellsPerSlice = histogramSize / sliceCount;
  const from = 2 * sliceFrom * cellsPerSlice;
  const to = 2 * sliceTo * cellsPerSlice;
  return { spilledBytes: sums[to]! - sums[from]!, spilledRecords: sums[to + 1]! - sums[from + 1]! };
}

function sliceIndexes(sliceCount: number): number[] {
  return Array.from({ length: sliceCount }, (_, index) => index);
}
