// The second pass over one range of hashes: `pavostore split-seal`. A slice belongs to the range in which its hashes begin, so that any division
// of the 256 partitions into ranges makes each slice once, whatever the slice count; a range in which none begins makes none.

import { slicesPath } from '../../shared/data-set.ts';
import { limits } from '../../shared/limits.ts';
import { removeStaleFolders } from '../../shared/temporary-folder.ts';
import { checkDiskSpace, realDisk } from '../publish/disk.ts';
import { buildVersion } from '../publish/version-folder.ts';
import { assertNoDuplicate, assertRecords, runSeal } from '../split/seal-pass.ts';
import { planSeal, sliceCountNeeded } from '../split/seal-plan.ts';
import type { SealReport, SealSetup, SealTask } from '../split/slice-sealer.ts';
import { spillCount } from '../split/spill.ts';
import { jobsOf, type SplitOptions } from '../split/split-options.ts';
import type { SplitResult, SplitTask } from '../split/split-worker.ts';
import { WorkerPool } from '../worker-pool.ts';
import { type MappedInput, readMappedInput } from './mapped-input.ts';
import { assertSameSource, completeFolder, type PartitionRange, readSealed, type SealedRange, sealPath } from './work-folder.ts';

export type SealRangeOptions = Pick<SplitOptions, 'jobs' | 'onProgress' | 'signal'> & {
  readonly workDir: string;
  readonly range: PartitionRange;
};

/** What was done. `reused`: the range was sealed already. */
export type SealRangeReport = {
  readonly range: PartitionRange;
  readonly reused: boolean;
  readonly slices: number;
  readonly entries: number;
};

/**
 * Makes the slices of a range from all parts. Throws `part_missing`, `part_malformed`, `version_refused`, `key_duplicated`,
 * `slice_too_large`, `spill_malformed`, `disk_short`, `data_unwritable`, or the signal's reason.
 */
export async function sealRange(options: SealRangeOptions): Promise<SealRangeReport> {
  const { workDir, range } = options;
  const input = await readMappedInput(workDir);
  assertRecords(input.ledger.totals, input.labels);
  await removeStaleFolders(workDir);
  const complete = await readSealed(workDir, range);
  if (complete) {
    assertSameSource(input, complete, sealPath(workDir, range));
    return summarize(complete, true);
  }
  // The first slice that begins at a partition or behind it.
  const sliceAt = (partition: number): number => Math.ceil((partition * input.sliceCount) / spillCount);
  const slices = { from: sliceAt(range.first), to: sliceAt(range.last + 1) };
  const tasks = planSeal(input.histogram, input.sliceCount, limits.sealMemoryMax, slices);
  const spilledBytes = tasks.reduce((sum, task) => sum + task.spilledBytes, 0);
  await checkDiskSpace(workDir, Math.ceil(spilledBytes * limits.splitSizeFactor) + limits.splitSizeMin, 'the slices of this range');
  return await buildVersion(workDir, async ({ versionDir }) => {
    const reports = await sealTasks(tasks, input, versionDir, options);
    const { partCount, source, sliceCount } = input;
    const sealed = reports.map(({ sliceFrom, slices, dropped }) => ({ sliceFrom, slices, dropped }));
    const report: SealedRange = { format: 1, range, partCount, source, sliceCount, sealed };
    await realDisk.syncFolder(slicesPath(versionDir));
    const isFirst = await completeFolder(versionDir, sealPath(workDir, range), report);
    return summarize(report, !isFirst);
  });
}

/** Writes the slices; returns when they are on the disk. */
async function sealTasks(
  tasks: readonly SealTask[],
  { folders, sliceCount, duplicates, histogram, ledger, labels }: MappedInput,
  versionDir: string,
  options: SealRangeOptions,
): Promise<SealReport[]> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const { sealMemoryMax, sliceSizeMax } = limits;
  const needed = sliceCountNeeded(histogram, sliceSizeMax);
  const setup: SealSetup = { folders, versionDir, sliceCount, duplicates, sealMemoryMax, sliceSizeMax, sliceCountNeeded: needed };
  const script = new URL('../split/split-worker.ts', import.meta.url);
  const pool = new WorkerPool<SplitTask, SplitResult>({ script, size: jobsOf(options), setupOf: () => undefined });
  const onAbort = (): void => void pool.close(signal!.reason);
  signal?.addEventListener('abort', onAbort);
  try {
    const reports = await runSeal(pool, tasks, setup, { onProgress });
    assertNoDuplicate(reports, ledger, labels);
    await pool.runOnEach({ kind: 'sync' });
    return reports;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await pool.close();
  }
}

function summarize({ range, sealed }: SealedRange, reused: boolean): SealRangeReport {
  const slices = sealed.flatMap((report) => report.slices);
  return { range, reused, slices: slices.length, entries: slices.reduce((sum, { entries }) => sum + entries, 0) };
}
