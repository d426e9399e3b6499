// The end of a split over several machines: `pavostore split-finish`. It gathers the slices of all ranges in the data folder, checks every byte of
// them, and publishes the version, which is the one that a split on one machine makes. The shared folder stays as it is, so that this may be
// run again; it can be removed afterwards.

import { copyFile, link, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { slicePath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest, Totals } from '../../shared/manifest.ts';
import { rangesOf, type SliceRanges } from '../../shared/slice-ranges.ts';
import { removeStaleFolders } from '../../shared/temporary-folder.ts';
import { rethrowWrite } from '../../shared/write-error.ts';
import { checkDiskSpace, realDisk } from '../publish/disk.ts';
import { makeManifest } from '../publish/new-manifest.ts';
import { publishVersion } from '../publish/publish.ts';
import { buildVersion } from '../publish/version-folder.ts';
import { writeRejects } from '../split/rejects.ts';
import { assertRecords, summaryOf } from '../split/seal-pass.ts';
import { spillCount } from '../split/spill.ts';
import { jobsOf, type SplitOptions } from '../split/split-options.ts';
import { checkSlices } from '../verify/verify.ts';
import { type MappedInput, readMappedInput } from './mapped-input.ts';
import { assertSameSource, readAllSealed, type SealedRange, sealPath } from './work-folder.ts';

export type FinishOptions = Pick<
  SplitOptions,
  'dataDir' | 'jobs' | 'rejectsPath' | 'publish' | 'guards' | 'onProgress' | 'onWarning' | 'signal'
> & {
  readonly workDir: string;
};

/** What was done. */
export type FinishReport = {
  readonly id: string;
  /** Of `current`; undefined when it was not replaced. */
  readonly sequence: number | undefined;
  readonly published: boolean;
  /** The very version was there already; its files were verified and kept. */
  readonly reused: boolean;
  readonly sliceCount: number;
  readonly totals: Totals;
  /** Where the rejected lines are; undefined unless bad lines are skipped. */
  readonly rejectsPath: string | undefined;
};

/**
 * Publishes what the parts and ranges in the shared folder make. Throws `part_missing`, `part_malformed`, `slice_malformed`, `spill_malformed`,
 * `version_refused`, `version_pinned`, `disk_short`, `data_unwritable`, `publish_locked`, or the signal's reason.
 */
export async function finishSplit(options: FinishOptions): Promise<FinishReport> {
  const { workDir, dataDir, signal } = options;
  const input = await readMappedInput(workDir);
  if (!options.guards?.force) assertRecords(input.ledger.totals, input.labels);
  const gathered = gatherSlices(input, await readAllSealed(workDir), workDir);
  const { slices, totals } = summaryOf(gathered.reports, input.ledger.totals);
  const manifest = makeManifest({ slices, totals, source: input.source });
  await mkdir(dataDir, { recursive: true }).catch(rethrowWrite(dataDir));
  await removeStaleFolders(dataDir);
  await checkDiskSpace(dataDir, totals.sliceBytes + limits.splitSizeMin, 'the version');
  return await buildVersion(dataDir, async ({ versionDir }) => {
    for (const [sliceIndex, folder] of gathered.folders.entries()) {
      signal?.throwIfAborted();
      await takeFile(slicePath(folder, sliceIndex), slicePath(versionDir, sliceIndex));
    }
    await assertWhole(versionDir, manifest, options);
    const rejectsPath = input.source.options.badLines === 'skip' ? resolve(options.rejectsPath ?? join(dataDir, 'rejects.txt')) : undefined;
    if (rejectsPath !== undefined) await writeRejects(rejectsPath, input.folders);
    return await publish(versionDir, manifest, rejectsPath, options);
  });
}

type Gathered = {
  /** In the order of the slices. */
  readonly reports: readonly SealedRange['sealed'][number][];
  /** Of each slice the folder that has it. */
  readonly folders: readonly string[];
};

/** Throws `part_missing` when a partition is not sealed, `part_malformed` when one is sealed twice. */
function gatherSlices(input: MappedInput, ranges: readonly SealedRange[], workDir: string): Gathered {
  const sealCounts = new Uint8Array(spillCount);
  const reports: SealedRange['sealed'][number][] = [];
  const folders: string[] = [];
  for (const report of ranges) {
    const path = sealPath(workDir, report.range);
    assertSameSource(input, report, path);
    for (let index = report.range.first; index <= report.range.last; index++) sealCounts[index]! += 1;
    reports.push(...report.sealed);
    folders.push(...report.sealed.flatMap(({ slices }) => slices.map(() => path)));
  }
  const missing = rangesOf(spillCount, (index) => sealCounts[index] === 0);
  if (missing.length > 0) throw new PavostoreError('part_missing', `${workDir}: these ranges are not sealed: ${formatRanges(missing)}`);
  const doubled = rangesOf(spillCount, (index) => sealCounts[index]! > 1);
  if (doubled.length > 0) {
    throw new PavostoreError('part_malformed', `${workDir}: these ranges are sealed more than once: ${formatRanges(doubled)}; remove one`);
  }
  if (folders.length !== input.sliceCount) {
    throw new PavostoreError('part_malformed', `${workDir}: its ranges hold ${folders.length} slices, not ${input.sliceCount}`);
  }
  return { reports, folders };
}

function formatRanges(ranges: SliceRanges): string {
  return ranges.map(([first, last]) => `${first}-${last}`).join(', ');
}

/** One more name for a slice where both folders are on one file system, else a copy of it, on the disk when this returns. */
async function takeFile(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new PavostoreError('part_malformed', `${from}: no such file`, { cause: error });
    // Another file system, or one without links.
    await copyFile(from, to).catch(rethrowWrite(to));
    await realDisk.syncFile(to);
  }
}

/** Throws `slice_malformed` unless every slice is what the process that sealed it wrote. */
async function assertWhole(versionDir: string, manifest: Manifest, options: FinishOptions): Promise<void> {
  const { sliceCount } = manifest.identity;
  const onProgress = (done: number): void => {
    options.onProgress?.({
      phase: 'seal',
      doneBytes: (manifest.totals.sliceBytes * done) / sliceCount,
      totalBytes: manifest.totals.sliceBytes,
    });
  };
  const checks = await checkSlices(versionDir, manifest, { jobs: jobsOf(options), onProgress });
  const problem = checks.map((check) => check.problem).find((found) => found !== undefined);
  if (problem !== undefined) throw new PavostoreError('slice_malformed', problem);
}

async function publish(
  versionDir: string,
  manifest: Manifest,
  rejectsPath: string | undefined,
  options: FinishOptions,
): Promise<FinishReport> {
  const { dataDir, publish: isPublished = true, guards, onProgress, onWarning, signal } = options;
  onProgress?.({ phase: 'publish', doneBytes: 0, totalBytes: undefined });
  const { current, reused } = await publishVersion({ dataDir, versionDir, manifest, publish: isPublished, guards, onWarning, signal });
  const { id, identity, totals } = manifest;
  const published = current !== undefined;
  return { id, sequence: current?.sequence, published, reused, sliceCount: identity.sliceCount, totals, rejectsPath };
}
