import fc from 'fast-check';
import { expect, test } from 'vitest';
import { histogramSize } from '../../../deploy/split/chunk-spiller.ts';
import { defaultSliceCount, memoryOf, planSeal, sliceCountNeeded } from '../../../deploy/split/seal-plan.ts';
import { limits } from '../../../shared/limits.ts';

const MiB = 2 ** 20;

test.for([
  [0, 256],
  [256 * 64 * MiB, 256],
  [256 * 64 * MiB + 1, 512],
  [512 * 64 * MiB, 512],
  [4096 * 64 * MiB, 4096],
  [2 ** 50, 4096],
] as const)('%d bytes of records make %d slices by default', ([bytes, sliceCount]) => {
  expect(defaultSliceCount(bytes)).toBe(sliceCount);
});

test('every slice is sealed once, from the spill files that hold it, by a task of one slice or of bounded memory', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 12 }),
      fc.constantFrom(0, 100, 5_000, 1e9),
      fc.array(fc.record({ cell: fc.integer({ min: 0, max: histogramSize - 1 }), records: fc.integer({ min: 1, max: 1_000 }) }), {
        maxLength: 200,
      }),
      (sliceBits, memoryMax, cells) => {
        const sliceCount = 2 ** sliceBits;
        const histogram = new Float64Array(2 * histogramSize);
        for (const { cell, records } of cells) {
          histogram[2 * cell]! += 10_000 * records;
          histogram[2 * cell + 1]! += records;
        }
        const tasks = planSeal(histogram, sliceCount, memoryMax);
        expect(tasks.flatMap(({ sliceFrom, sliceTo }) => Array.from({ length: sliceTo - sliceFrom }, (_, i) => sliceFrom + i))).toEqual(
          Array.from({ length: sliceCount }, (_, i) => i),
        );
        for (const task of tasks) {
          const { sliceFrom, sliceTo, spillFrom, spillTo } = task;
          expect(sliceTo === sliceFrom + 1 || memoryOf(task) <= memoryMax).toBe(true);
          // Hashes of the slices, as shares of the whole, lie within those of the spill files.
          expect(spillFrom / 256).toBeLessThanOrEqual(sliceFrom / sliceCount);
          expect(spillTo / 256).toBeGreaterThanOrEqual(sliceTo / sliceCount);
          expect(spillTo - spillFrom).toBeLessThan((256 * (sliceTo - sliceFrom)) / sliceCount + 2);
          // Several spill files, and more than is handed over at once, only where one slice needs them.
          if (spillTo - spillFrom > 1 && sliceTo - sliceFrom > 1) expect(task.spilledBytes).toBeLessThanOrEqual(limits.sealTaskSize);
        }
        expect(tasks.reduce((sum, { spilledRecords }) => sum + spilledRecords, 0)).toBe(
          cells.reduce((sum, { records }) => sum + records, 0),
        );
      },
    ),
  );
});

test('the slice count needed is the least that keeps every slice in its bound', () => {
  const histogram = new Float64Array(2 * histogramSize);
  histogram[2 * 5] = 1_000;
  histogram[2 * 6] = 1_000;
  expect(sliceCountNeeded(histogram, 5_000)).toBe(1);
  expect(sliceCountNeeded(histogram, 1_500)).toBe(2048);
  expect(sliceCountNeeded(histogram, 500)).toBeUndefined();
});
