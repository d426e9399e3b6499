// The second pass over its threads, and what comes of it: for a split on one machine, and for a range of hashes of one on several.

import { PavostoreError } from '../../shared/errors.ts';
import type { ManifestSlice, Totals } from '../../shared/manifest.ts';
import type { Job, WorkerPool } from '../worker-pool.ts';
import type { ChunkLedger, LedgerTotals } from './chunk-ledger.ts';
import { type HashHistogram, histogramSize } from './chunk-spiller.ts';
import { excerptOf } from './line-rules.ts';
import { compareOrigins, type Duplicate, type Origin } from './record-arena.ts';
import { memoryOf } from './seal-plan.ts';
import type { SealReport, SealSetup, SealTask } from './slice-sealer.ts';
import type { SplitOptions } from './split-options.ts';
import type { SplitResult, SplitTask } from './split-worker.ts';

export type SealWatch = {
  readonly onProgress: SplitOptions['onProgress'];
  /** Called with a spill file that no task needs any more. */
  readonly onSpillUsed?: (index: number) => void;
};

/** Runs the tasks; returns their reports in the order of the slices. Throws `slice_too_large`, `spill_malformed`, `disk_short`, `data_unwritable`. */
export async function runSeal(
  pool: WorkerPool<SplitTask, SplitResult>,
  tasks: readonly SealTask[],
  setup: SealSetup,
  { onProgress, onSpillUsed }: SealWatch,
): Promise<SealReport[]> {
  const reports: SealReport[] = [];
  const spillUses = countSpillUses(tasks);
  const totalBytes = tasks.reduce((sum, { spilledBytes }) => sum + spilledBytes, 0);
  let doneBytes = 0;
  const onResult = (result: SplitResult): undefined => {
    if (result.kind !== 'sealed') return;
    reports.push(result.report);
    const task = tasks.find(({ sliceFrom }) => sliceFrom === result.report.sliceFrom)!;
    for (const index of spillUses.finish(task)) onSpillUsed?.(index);
    doneBytes += task.spilledBytes;
    onProgress?.({ phase: 'seal', doneBytes, totalBytes });
  };
  const jobOf = (task: SealTask): Job<SplitTask> => ({ task: { kind: 'seal', task, setup } });
  // One at a time where a single slice is larger than what each thread may take.
  const isLarge = (task: SealTask): boolean => memoryOf(task) > setup.sealMemoryMax;
  await pool.runAll(tasks.filter((task) => !isLarge(task)).map(jobOf), onResult);
  await pool.runAll(tasks.filter(isLarge).map(jobOf), onResult, 1);
  return reports.sort((a, b) => a.sliceFrom - b.sliceFrom);
}

/** Throws `key_duplicated` for the duplicate that comes first in the input. `labels` name the inputs. */
export function assertNoDuplicate(reports: readonly SealReport[], ledger: ChunkLedger, labels: readonly string[]): void {
  const found = reports.map(({ firstDuplicate }) => firstDuplicate).filter((duplicate) => duplicate !== undefined);
  const first = found.reduce<Duplicate | undefined>((a, b) => (a && compareOrigins(a.second, b.second) < 0 ? a : b), undefined);
  if (!first) return;
  const placeOf = (origin: Origin): string => {
    const { inputIndex, lineNumber } = ledger.placeOf(origin);
    return `${labels[inputIndex]}, line ${lineNumber}`;
  };
  const duplicateCount = reports.reduce((sum, report) => sum + report.dropped.count, 0);
  const key = excerptOf(first.key, 0, first.key.length);
  throw new PavostoreError(
    'key_duplicated',
    `${placeOf(first.second)}: key ${key} is already on ${placeOf(first.first)}; records with a key that came before: ${duplicateCount}`,
  );
}

/** Throws `version_refused` when no record was read. */
export function assertRecords({ records }: LedgerTotals, labels: readonly string[]): void {
  if (records > 0) return;
  throw new PavostoreError('version_refused', `${labels.join(', ')}: no record in it; an empty version is not published`);
}

/** What the manifest will say of the slices of all reports, and of the input. */
export function summaryOf(
  reports: readonly Pick<SealReport, 'slices' | 'dropped'>[],
  read: LedgerTotals,
): { slices: ManifestSlice[]; totals: Totals } {
  const slices = reports.flatMap((report) => report.slices);
  const sum = (field: (report: Pick<SealReport, 'dropped'>) => number): number =>
    reports.reduce((total, report) => total + field(report), 0);
  return {
    slices,
    totals: {
      entries: slices.reduce((total, { entries }) => total + entries, 0),
      keyBytes: read.keyBytes - sum(({ dropped }) => dropped.keyBytes),
      valueBytes: read.valueBytes - sum(({ dropped }) => dropped.valueBytes),
      sliceBytes: slices.reduce((total, { bytes }) => total + bytes, 0),
      lines: read.lines,
      duplicates: sum(({ dropped }) => dropped.count),
      rejectedLines: read.rejectedLines,
      blankLines: read.blankLines,
    },
  };
}

export function sumOfHistograms(histograms: readonly HashHistogram[]): HashHistogram {
  return Float64Array.from({ length: 2 * histogramSize }, (_, cell) => histograms.reduce((sum, histogram) => sum + histogram[cell]!, 0));
}

/** For each spill file, how many tasks still need it. */
function countSpillUses(tasks: readonly SealTask[]): { finish: (task: SealTask) => number[] } {
  const uses = new Map<number, number>();
  const indexesOf = ({ spillFrom, spillTo }: SealTask): number[] => Array.from({ length: spillTo - spillFrom }, (_, i) => spillFrom + i);
  for (const index of tasks.flatMap(indexesOf)) uses.set(index, (uses.get(index) ?? 0) + 1);
  return {
    finish: (task) =>
      indexesOf(task).filter((index) => {
        const left = uses.get(index)! - 1;
        uses.set(index, left);
        return left === 0;
      }),
  };
}
