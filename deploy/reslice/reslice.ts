// From a version to the same records in another number of slices: all of `pavostore reslice` but its command line.
//
//     manifest ── plan ──> workers load and check source slices, cut or join, write, sync ── manifest ──> publish
//
// The text is not needed, and the result is byte for byte what splitting it into so many slices gives: the same files, the same
// id. The manifest keeps what the old one says of its source, the `slices` option included: that is how the text was
// split. So `serve FILE` serves a resliced version as it is, unless it is told another slice count. A source slice is checked to its
// last byte before use; whatever fails, what is published stays as it was, and the temporary folder goes.

import { readCurrent, readManifest, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest, ManifestSlice, Totals } from '../../shared/manifest.ts';
import { removeStaleFolders } from '../../shared/temporary-folder.ts';
import { checkDiskSpace } from '../publish/disk.ts';
import type { GuardSettings } from '../publish/guards.ts';
import { makeManifest } from '../publish/new-manifest.ts';
import { publishVersion } from '../publish/publish.ts';
import { buildVersion } from '../publish/version-folder.ts';
import { jobsOf, type SplitProgress, sliceCountOf } from '../split/split-options.ts';
import { type Job, WorkerPool } from '../worker-pool.ts';
import { assertSlicesFit, memoryOf, planReslice, type ResliceTask, sizeNeeded } from './reslice-plan.ts';
import type { RecutResult, RecutTask } from './reslice-worker.ts';
import type { ResliceSetup } from './slice-recutter.ts';

export type ResliceOptions = {
  readonly dataDir: string;
  /** A power of two up to `limits.sliceCountMax`. */
  readonly sliceCount: number;
  /** The version; by default the published one. */
  readonly id?: string | undefined;
  /** Worker threads; by default one for each core. */
  readonly jobs?: number | undefined;
  /** False: the version is put into DATA/versions, but does not become the published one. */
  readonly publish?: boolean | undefined;
  readonly guards?: GuardSettings | undefined;
  readonly onProgress?: ((progress: SplitProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Ends the work with the signal's reason; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
  /** Bounds in bytes that tests make small. */
  readonly bounds?: Partial<ResliceBounds> | undefined;
};

export type ResliceBounds = { readonly memoryMax: number; readonly sliceSizeMax: number };

/** What was done. With `id` equal to `sourceId` that is nothing: the version has so many slices already. */
export type ResliceReport = {
  readonly id: string;
  readonly sourceId: string;
  /** Of `current`; undefined when it was not replaced. */
  readonly sequence: number | undefined;
  readonly published: boolean;
  /** The very version was there already; its files were verified and kept. */
  readonly reused: boolean;
  readonly sliceCount: number;
  readonly sourceSliceCount: number;
  readonly totals: Totals;
  readonly seconds: { readonly seal: number; readonly sync: number; readonly total: number };
};

/**
 * Cuts or joins the slices of a version and publishes the result. Throws `usage`, `version_missing`, `manifest_malformed`,
 * `current_malformed`, `slice_malformed`, `slice_too_large`, `version_refused`, `version_pinned`, `disk_short`, `data_unwritable`,
 * `publish_locked`, or the signal's reason.
 */
export async function resliceVersion(options: ResliceOptions): Promise<ResliceReport> {
  const { dataDir, bounds } = options;
  const sliceCount = sliceCountOf(options)!;
  const jobs = jobsOf(options);
  const source = await readSource(options);
  const { identity } = source;
  if (identity.sliceCount === sliceCount) return reportNothing(source);
  assertSlicesFit(identity, sliceCount, bounds?.sliceSizeMax ?? limits.sliceSizeMax);
  const tasks = planReslice(identity, sliceCount);
  await removeStaleFolders(dataDir);
  await checkDiskSpace(dataDir, sizeNeeded(tasks, sliceCount), 'writing the new slices');
  const startedMs = performance.now();
  return await buildVersion(dataDir, async ({ versionDir }) => {
    const setup: ResliceSetup = {
      sourceDir: versionPath(dataDir, source.id),
      source: identity,
      targetDir: versionDir,
      targetCount: sliceCount,
    };
    const { slices, sealedMs } = await recutAll(tasks, setup, { ...options, jobs });
    return await publishSlices(source, versionDir, { slices, startedMs, sealedMs }, options);
  });
}

async function readSource({ dataDir, id }: ResliceOptions): Promise<Manifest> {
  const wanted = id ?? (await readCurrent(dataDir))?.id;
  if (wanted === undefined) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there`);
  return await readManifest(dataDir, wanted);
}

/** Runs all tasks; returns the new slices in their order, on the disk, and when the last one was written. */
async function recutAll(
  tasks: readonly ResliceTask[],
  setup: ResliceSetup,
  { jobs, signal, onProgress, bounds }: ResliceOptions & { readonly jobs: number },
): Promise<{ slices: ManifestSlice[]; sealedMs: number }> {
  signal?.throwIfAborted();
  const script = new URL('./reslice-worker.ts', import.meta.url);
  const pool = new WorkerPool<RecutTask, RecutResult>({ script, size: Math.min(jobs, tasks.length), setupOf: () => setup });
  const onAbort = (): void => void pool.close(signal!.reason);
  signal?.addEventListener('abort', onAbort);
  const slices: ManifestSlice[] = [];
  const totalBytes = tasks.reduce((sum, { recordsSize }) => sum + recordsSize, 0);
  let doneBytes = 0;
  const onResult = (result: RecutResult): undefined => {
    if (result.kind !== 'recut') return;
    for (const [i, slice] of result.slices.entries()) slices[result.task.targetFrom + i] = slice;
    doneBytes += result.task.recordsSize;
    onProgress?.({ phase: 'seal', doneBytes, totalBytes });
  };
  const jobOf = (task: ResliceTask): Job<RecutTask> => ({ task: { kind: 'recut', task } });
  // One at a time where a single task is larger than what each thread may take.
  const isLarge = (task: ResliceTask): boolean => memoryOf(task) > (bounds?.memoryMax ?? limits.sealMemoryMax);
  try {
    await pool.runAll(tasks.filter((task) => !isLarge(task)).map(jobOf), onResult);
    await pool.runAll(tasks.filter(isLarge).map(jobOf), onResult, 1);
    const sealedMs = performance.now();
    onProgress?.({ phase: 'sync', doneBytes: 0, totalBytes: undefined });
    await pool.runOnEach({ kind: 'sync' });
    return { slices, sealedMs };
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await pool.close();
  }
}

async function publishSlices(
  source: Manifest,
  versionDir: string,
  made: { slices: readonly ManifestSlice[]; startedMs: number; sealedMs: number },
  options: ResliceOptions,
): Promise<ResliceReport> {
  const { slices, startedMs, sealedMs } = made;
  const { dataDir, id, publish = true, guards, onProgress, onWarning, signal } = options;
  const sliceBytes = slices.reduce((sum, { bytes }) => sum + bytes, 0);
  const manifest = makeManifest({ slices, totals: { ...source.totals, sliceBytes }, source: source.source });
  onProgress?.({ phase: 'publish', doneBytes: 0, totalBytes: undefined });
  // The published version was resliced: another one that was published meanwhile is newer, and stays.
  const replaces = id === undefined ? source.id : undefined;
  const { current, reused } = await publishVersion({ dataDir, versionDir, manifest, publish, guards, replaces, onWarning, signal });
  const endedMs = performance.now();
  return {
    id: manifest.id,
    sourceId: source.id,
    sequence: current?.sequence,
    published: current !== undefined,
    reused,
    sliceCount: slices.length,
    sourceSliceCount: source.identity.sliceCount,
    totals: manifest.totals,
    seconds: { seal: (sealedMs - startedMs) / 1_000, sync: (endedMs - sealedMs) / 1_000, total: (endedMs - startedMs) / 1_000 },
  };
}

function reportNothing({ id, identity, totals }: Manifest): ResliceReport {
  const { sliceCount } = identity;
  const seconds = { seal: 0, sync: 0, total: 0 };
  return {
    id,
    sourceId: id,
    sequence: undefined,
    published: false,
    reused: false,
    sliceCount,
    sourceSliceCount: sliceCount,
    totals,
    seconds,
  };
}
