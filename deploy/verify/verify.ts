// Reads all of a version and says what is wrong with it: every byte of every slice, the manifest against them, and that
// nothing else lies beside. Publishing asks it before it reuses a version that is there already.

import { readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  type Current,
  fetchedMarkName,
  manifestPath,
  readCurrent,
  readManifest,
  readManifestAt,
  sliceName,
  slicePath,
  slicesPath,
  versionPath,
} from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { WorkerPool } from '../worker-pool.ts';
import { describe, type SliceCheckReport, type SliceCheckTask } from './slice-check.ts';

export type VerifyOptions = {
  readonly jobs?: number | undefined;
  /** Slices checked so far, of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
};

/** `problems` is empty when the version is whole. Sizes and counts are the manifest's, where it can be read. */
export type VerifyReport = {
  readonly id: string | undefined;
  readonly sequence: number | undefined;
  readonly sliceCount: number;
  readonly entries: number;
  readonly sliceBytes: number;
  readonly problems: readonly string[];
};

/** Verifies a data set: `current` and the version it names, or the version `id`. Throws `version_missing` when nothing is published. */
export async function verifyDataSet(dataDir: string, id: string | undefined, options: VerifyOptions = {}): Promise<VerifyReport> {
  if (id !== undefined) {
    await readManifest(dataDir, id).catch(rethrowMissing);
    return { ...(await verifyVersion({ versionDir: versionPath(dataDir, id), id }, options)), sequence: undefined };
  }
  let current: Current | undefined;
  try {
    current = await readCurrent(dataDir);
  } catch (error) {
    return { ...nothing, problems: [describe(error, dataDir)] };
  }
  if (!current) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there`);
  const report = await verifyVersion({ versionDir: versionPath(dataDir, current.id), id: current.id }, options);
  return { ...report, sequence: current.sequence };
}

/** Verifies the version in a folder, which must be `id`. Damage is reported, not thrown. */
export async function verifyVersion(
  version: { readonly versionDir: string; readonly id: string },
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const { versionDir, id } = version;
  let manifest: Manifest;
  try {
    manifest = await readManifestAt(versionDir);
  } catch (error) {
    return { ...nothing, id, problems: [describe(error, manifestPath(versionDir))] };
  }
  const slices = await checkSlices(versionDir, manifest, options);
  const problems = [
    ...(manifest.id === id ? [] : [`${manifestPath(versionDir)}: it is version ${manifest.id}, not ${id}`]),
    ...(await findSurplus(versionDir, manifest)),
    ...slices.map(({ problem }) => problem).filter((problem) => problem !== undefined),
    ...totalsProblems(versionDir, manifest, slices),
  ];
  const { identity, totals } = manifest;
  return { id, sequence: undefined, sliceCount: identity.sliceCount, entries: totals.entries, sliceBytes: totals.sliceBytes, problems };
}

const nothing = { id: undefined, sequence: undefined, sliceCount: 0, entries: 0, sliceBytes: 0 } as const;

/** Checks all slices that a manifest names, in their order. */
export async function checkSlices(versionDir: string, { identity }: Manifest, options: VerifyOptions): Promise<SliceCheckReport[]> {
  const { sliceCount, slices } = identity;
  const tasks = slices.map((expected, sliceIndex): { task: SliceCheckTask } => ({
    task: { path: slicePath(versionDir, sliceIndex), sliceIndex, sliceCount, expected },
  }));
  const pool = new WorkerPool<SliceCheckTask, SliceCheckReport>({
    script: new URL('./verify-worker.ts', import.meta.url),
    size: Math.min(options.jobs ?? availableParallelism(), sliceCount),
    setupOf: () => undefined,
  });
  const reports: SliceCheckReport[] = [];
  try {
    await pool.runAll(tasks, (report) => {
      reports.push(report);
      options.onProgress?.(reports.length, sliceCount);
      return undefined;
    });
  } finally {
    await pool.close();
  }
  return reports.sort((a, b) => a.sliceIndex - b.sliceIndex);
}

/** Names in the version's folders that the manifest does not account for. */
async function findSurplus(versionDir: string, { identity }: Manifest): Promise<string[]> {
  const expected = new Map([
    [versionDir, new Set(['manifest.json', 'slices', fetchedMarkName])],
    [slicesPath(versionDir), new Set(identity.slices.map((_, sliceIndex) => sliceName(sliceIndex)))],
  ]);
  const problems: string[] = [];
  for (const [folder, names] of expected) {
    const found = await readdir(folder).catch((error: unknown) => {
      problems.push(describe(error, folder));
      return [];
    });
    for (const name of found) if (!names.has(name)) problems.push(`${join(folder, name)}: it is no part of the version`);
  }
  return problems;
}

/** The manifest's totals against the slices; left out when a slice is damaged, since then they cannot agree. */
function totalsProblems(versionDir: string, { identity, totals }: Manifest, slices: readonly SliceCheckReport[]): string[] {
  if (slices.some(({ problem }) => problem !== undefined)) return [];
  const counted = {
    entries: identity.slices.reduce((sum, { entries }) => sum + entries, 0),
    sliceBytes: identity.slices.reduce((sum, { bytes }) => sum + bytes, 0),
    keyBytes: slices.reduce((sum, { keyBytes }) => sum + keyBytes, 0),
    valueBytes: slices.reduce((sum, { valueBytes }) => sum + valueBytes, 0),
    lines: totals.entries + totals.duplicates + totals.rejectedLines + totals.blankLines,
  };
  return Object.entries(counted)
    .filter(([name, count]) => totals[name as keyof typeof counted] !== count)
    .map(([name, count]) => `${manifestPath(versionDir)}: totals say ${name} ${totals[name as keyof typeof counted]}, counted ${count}`);
}

function rethrowMissing(error: unknown): void {
  if (error instanceof PavostoreError && error.code === 'version_missing') throw error;
}
