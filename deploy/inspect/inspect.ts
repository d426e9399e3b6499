// What a version is, from its manifest alone, and what one slice file says of itself.

import { lstat } from 'node:fs/promises';
import { openFile, readCurrent, readFully, readManifest, slicePath, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import type { Manifest, Source, Totals } from '../../shared/manifest.ts';
import { readSliceHeader, type SliceHeader, sliceHeaderSize } from '../../shared/slice-layout.ts';

/** Sizes in bytes. */
export type VersionSummary = {
  readonly id: string;
  /** Of `current`; undefined for a version that is not the published one. */
  readonly sequence: number | undefined;
  readonly previousId: string | undefined;
  readonly format: number;
  readonly hash: string;
  readonly sliceCount: number;
  readonly sliceSize: { readonly min: number; readonly mean: number; readonly max: number };
  readonly sliceEntries: { readonly min: number; readonly mean: number; readonly max: number };
  /** Bytes of the slices above keys and values, for each entry. */
  readonly overheadPerEntry: number;
  readonly totals: Totals;
  readonly source: Source;
  readonly createdAt: string;
};

/** Reads the manifest of `id`, or of the published version. Throws `version_missing`, `current_malformed`, `manifest_malformed`. */
export async function inspectVersion(dataDir: string, id?: string): Promise<VersionSummary> {
  const current = await readCurrent(dataDir).catch((error: unknown) => {
    // Another version can be looked at even so.
    if (id === undefined) throw error;
    return undefined;
  });
  const idWanted = id ?? current?.id;
  if (idWanted === undefined) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there`);
  const manifest = await readManifest(dataDir, idWanted);
  const isPublished = current?.id === idWanted;
  return summarize(manifest, isPublished ? current : undefined);
}

/** The header of a slice file, checked against the file's size. Throws `usage`, `slice_malformed`, `version_missing`. */
export async function inspectSlice(dataDir: string, id: string, sliceIndex: number): Promise<SliceHeader & { path: string; size: number }> {
  const { identity } = await readManifest(dataDir, id);
  if (!Number.isInteger(sliceIndex) || sliceIndex < 0 || sliceIndex >= identity.sliceCount) {
    throw new PavostoreError('usage', `--slice ${sliceIndex}: a number from 0 to ${identity.sliceCount - 1} is needed`);
  }
  const path = slicePath(versionPath(dataDir, id), sliceIndex);
  try {
    const { size } = await lstat(path);
    const file = await openFile(path);
    try {
      const bytes = Buffer.alloc(Math.min(size, sliceHeaderSize));
      await readFully(file, bytes, 0, path);
      return { path, size, ...readSliceHeader(bytes, size, path) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof PavostoreError) throw error;
    throw new PavostoreError('slice_malformed', `${path}: ${(error as Error).message}`, { cause: error });
  }
}

function summarize(manifest: Manifest, current: { sequence: number; previousId: string | undefined } | undefined): VersionSummary {
  const { id, identity, totals, source, createdAt } = manifest;
  const { format, hash, sliceCount, slices } = identity;
  return {
    id,
    sequence: current?.sequence,
    previousId: current?.previousId,
    format,
    hash,
    sliceCount,
    sliceSize: spreadOf(slices.map(({ bytes }) => bytes)),
    sliceEntries: spreadOf(slices.map(({ entries }) => entries)),
    overheadPerEntry: totals.entries === 0 ? 0 : (totals.sliceBytes - totals.keyBytes - totals.valueBytes) / totals.entries,
    totals,
    source,
    createdAt,
  };
}

function spreadOf(sizes: readonly number[]): { min: number; mean: number; max: number } {
  const sum = sizes.reduce((a, b) => a + b, 0);
  return { min: Math.min(...sizes), mean: sum / sizes.length, max: Math.max(...sizes) };
}
