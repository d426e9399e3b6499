// What distinguishes two versions: all of `pavostore diff` but its command line. Slices whose digests are equal are not read. The others go to
// threads, as pairs that cover the same range of hashes; with different slice counts one of the one and several of the other.
//
//     manifests ── plan ──> workers load, check, merge ──> counts summed, samples in the order of hashes

import { availableParallelism } from 'node:os';
import { readCurrent, readManifest, readManifestAt, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { entryCountOf, type Identity, type Manifest } from '../../shared/manifest.ts';
import { findVersionId } from '../publish/version-list.ts';
import { type Job, WorkerPool } from '../worker-pool.ts';
import type { DiffResult, DiffSetup, DiffTask } from './diff-worker.ts';
import { type Difference, differenceKinds, noDifference } from './slice-difference.ts';

export type DiffOptions = {
  readonly dataDir: string;
  /** Version ids, beginnings of them, `current`, `previous`, or paths of version folders. */
  readonly before: string;
  readonly after: string;
  /** Samples of each kind. */
  readonly samplesMax: number;
  readonly jobs?: number | undefined;
  /** Ranges compared so far, of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** What two slices may take in a thread before they are compared one pair at a time, in bytes; tests make it small. */
  readonly memoryMax?: number | undefined;
};

export type DiffReport = Difference & {
  readonly before: DiffSummary;
  readonly after: DiffSummary;
  readonly unchanged: number;
  readonly seconds: number;
};

export type DiffSummary = { readonly id: string; readonly entries: number; readonly sliceCount: number };

/** Throws `version_missing`, `manifest_malformed`, `slice_malformed`, or the signal's reason. */
export async function diffVersions(options: DiffOptions): Promise<DiffReport> {
  const startedMs = performance.now();
  const { dataDir, samplesMax } = options;
  const before = await openVersion(dataDir, options.before);
  const after = await openVersion(dataDir, options.after);
  const setup: DiffSetup = {
    before: { versionDir: before.versionDir, identity: before.manifest.identity },
    after: { versionDir: after.versionDir, identity: after.manifest.identity },
    samplesMax,
  };
  const difference = await runTasks(planDiff(setup.before.identity, setup.after.identity), setup, options);
  const [entriesBefore, entriesAfter] = [entryCountOf(before.manifest.identity), entryCountOf(after.manifest.identity)];
  const unchanged = entriesBefore - difference.removed - difference.changed;
  if (unchanged !== entriesAfter - difference.added - difference.changed) {
    // Each slice has as many records as its header says, unless it was made by something else than a split.
    throw new PavostoreError(
      'slice_malformed',
      `${before.versionDir} and ${after.versionDir}: their slices hold other numbers of records than they say`,
    );
  }
  return {
    ...difference,
    before: summaryOf(before.manifest),
    after: summaryOf(after.manifest),
    unchanged,
    seconds: (performance.now() - startedMs) / 1_000,
  };
}

/** The ranges that are to be compared, in the order of hashes: those whose slices are not the very same. */
export function planDiff(before: Identity, after: Identity): DiffTask[] {
  const taskCount = Math.min(before.sliceCount, after.sliceCount);
  const perTask = { before: before.sliceCount / taskCount, after: after.sliceCount / taskCount };
  const tasks = Array.from(
    { length: taskCount },
    (_, index): DiffTask => ({
      index,
      beforeFrom: index * perTask.before,
      beforeTo: (index + 1) * perTask.before,
      afterFrom: index * perTask.after,
      afterTo: (index + 1) * perTask.after,
    }),
  );
  return tasks.filter(
    ({ beforeFrom, afterFrom }) =>
      before.sliceCount !== after.sliceCount || before.slices[beforeFrom]!.sha256 !== after.slices[afterFrom]!.sha256,
  );
}

type OpenedVersion = { readonly versionDir: string; readonly manifest: Manifest };

/** What holds a slash or begins with a dot is a path. */
async function openVersion(dataDir: string, text: string): Promise<OpenedVersion> {
  if (/[/\\]|^\./.test(text)) return { versionDir: text, manifest: await readManifestAt(text) };
  const id = text === 'current' || text === 'previous' ? await publishedId(dataDir, text) : await findVersionId(dataDir, text);
  return { versionDir: versionPath(dataDir, id), manifest: await readManifest(dataDir, id) };
}

async function publishedId(dataDir: string, which: 'current' | 'previous'): Promise<string> {
  const current = await readCurrent(dataDir);
  const id = which === 'current' ? current?.id : current?.previousId;
  if (id === undefined) throw new PavostoreError('version_missing', `${dataDir}: there is no ${which} version`);
  return id;
}

async function runTasks(tasks: readonly DiffTask[], setup: DiffSetup, options: DiffOptions): Promise<Difference> {
  const { jobs = availableParallelism(), samplesMax, onProgress, signal, memoryMax = limits.sealMemoryMax } = options;
  signal?.throwIfAborted();
  const script = new URL('./diff-worker.ts', import.meta.url);
  const size = Math.max(1, Math.min(jobs, tasks.length));
  const pool = new WorkerPool<DiffTask, DiffResult>({ script, size, setupOf: () => setup });
  const onAbort = (): void => void pool.close(signal!.reason);
  signal?.addEventListener('abort', onAbort);
  const results: DiffResult[] = [];
  const onResult = (result: DiffResult): undefined => {
    results.push(result);
    onProgress?.(results.length, tasks.length);
    dropLaterSamples(results, samplesMax);
  };
  const jobOf = (task: DiffTask): Job<DiffTask> => ({ task });
  const isLarge = (task: DiffTask): boolean => memoryOf(task, setup) > memoryMax;
  try {
    await pool.runAll(tasks.filter((task) => !isLarge(task)).map(jobOf), onResult);
    await pool.runAll(tasks.filter(isLarge).map(jobOf), onResult, 1);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await pool.close();
  }
  return sumOf(results, samplesMax);
}

/** What a task takes in memory at the most: the largest of each side, in bytes. */
function memoryOf({ beforeFrom, beforeTo, afterFrom, afterTo }: DiffTask, { before, after }: DiffSetup): number {
  const largest = ({ slices }: Identity, from: number, to: number): number => Math.max(...slices.slice(from, to).map(({ bytes }) => bytes));
  return largest(before.identity, beforeFrom, beforeTo) + largest(after.identity, afterFrom, afterTo);
}

/** Samples behind enough others in the order of hashes are never shown. */
function dropLaterSamples(results: DiffResult[], samplesMax: number): void {
  results.sort((a, b) => a.index - b.index);
  for (const kind of differenceKinds) {
    let count = 0;
    for (const { difference } of results) {
      const samples = difference.samples[kind];
      samples.length = Math.min(samples.length, Math.max(0, samplesMax - count));
      count += samples.length;
    }
  }
}

function sumOf(results: readonly DiffResult[], samplesMax: number): Difference {
  const sum = noDifference();
  for (const { difference } of results) {
    for (const kind of differenceKinds) {
      sum[kind] += difference[kind];
      sum.samples[kind].push(...difference.samples[kind].slice(0, samplesMax - sum.samples[kind].length));
    }
  }
  return sum;
}

function summaryOf(manifest: Manifest): DiffSummary {
  return { id: manifest.id, entries: entryCountOf(manifest.identity), sliceCount: manifest.identity.sliceCount };
}
