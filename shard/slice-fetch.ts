// Fetches one slice: from the first of its sources whose bytes have the SHA-256 that the manifest says, into its file (temporary, synced, renamed)
// or into memory where DATA cannot be written. What is not verified is never seen by anybody.

import { stat } from 'node:fs/promises';
import { openFile, slicePath, versionPath } from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import { checkedPieces, placeFile } from '../shared/placed-file.ts';
import { readSlice, type SliceHeader } from '../shared/slice-layout.ts';
import { withTemporaryFolder } from '../shared/temporary-folder.ts';
import { piecesOfOpenFile } from './disk-slice.ts';
import { nameOfSource, type SliceSource, SourceBusy, type SourceDoor, type SourceKind, type WantedSlice } from './slice-source.ts';

/** Where the slice goes: its file in DATA, or memory that other threads see. */
export type FetchTarget = { readonly kind: 'file'; readonly dataDir: string } | { readonly kind: 'memory' };

/** `from` undefined: nobody had it. `isBusy`: somebody may have it who could not give it now. `failures`: why those asked before did not. */
export type FetchOutcome = {
  readonly from: SourceKind | undefined;
  readonly isBusy: boolean;
  readonly failures: readonly string[];
  /** When the target is memory. */
  readonly slice: { readonly header: SliceHeader; readonly bytes: SharedArrayBuffer } | undefined;
};

/**
 * Asks the sources one after the other. Throws `data_unwritable` or `disk_short` when the file cannot be written, the signal's reason when it is
 * aborted; all else is an outcome.
 */
export async function fetchSlice(
  door: SourceDoor,
  wanted: WantedSlice,
  sources: readonly SliceSource[],
  target: FetchTarget,
  signal: AbortSignal,
): Promise<FetchOutcome> {
  const failures: string[] = [];
  let isBusy = false;
  for (const source of sources) {
    try {
      const slice = await fetchFrom(door, wanted, source, target, signal);
      return { from: source.kind, isBusy, failures, slice };
    } catch (error) {
      if (signal.aborted || isOfTarget(error)) throw error;
      if (error instanceof SourceBusy) isBusy = true;
      failures.push(`${nameOfSource(source)}: ${(error as Error).message}`);
    }
  }
  return { from: undefined, isBusy, failures, slice: undefined };
}

/** Why the file at `path` is not the slice; undefined when it is, by its SHA-256. */
export async function findFileFault(path: string, { expected }: WantedSlice): Promise<string | undefined> {
  try {
    await using file = await openFile(path);
    const { size } = await file.stat();
    const pieces = piecesOfOpenFile(file.fd, size, limits.storePieceSize);
    for await (const _ of checkedPieces(pieces, { size: expected.bytes, sha256: expected.sha256 }, path));
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

async function fetchFrom(
  door: SourceDoor,
  wanted: WantedSlice,
  source: SliceSource,
  target: FetchTarget,
  signal: AbortSignal,
): Promise<FetchOutcome['slice']> {
  const { versionId, sliceIndex, expected } = wanted;
  const due = { size: expected.bytes, sha256: expected.sha256 };
  const pieces = piecesOf(door, source, wanted, signal);
  if (target.kind === 'memory') return await readIntoMemory(checkedPieces(pieces, due, nameOfSource(source)), wanted);
  const path = slicePath(versionPath(target.dataDir, versionId), sliceIndex);
  await withTemporaryFolder(target.dataDir, async (folder) => await placeFile(folder, path, pieces, due));
  return undefined;
}

/** The source is asked with the first piece: an answer that nobody reads, since there is no place for it, would keep its socket for ever. */
async function* piecesOf(door: SourceDoor, source: SliceSource, wanted: WantedSlice, signal: AbortSignal): AsyncGenerator<Buffer> {
  yield* await door.open(source, wanted, signal);
}

async function readIntoMemory(
  pieces: AsyncIterable<Buffer>,
  { sliceIndex, sliceCount, expected }: WantedSlice,
): Promise<FetchOutcome['slice']> {
  const memory = new SharedArrayBuffer(expected.bytes);
  const bytes = Buffer.from(memory);
  let at = 0;
  for await (const piece of pieces) at += piece.copy(bytes, at);
  const { header } = readSlice(bytes, `slice ${sliceIndex}`);
  if (header.sliceIndex !== sliceIndex || header.sliceCount !== sliceCount || header.entryCount !== expected.entries)
    throw new PavostoreError('slice_malformed', `slice ${sliceIndex} of ${sliceCount}: its header is that of another one`);
  return { header, bytes: memory };
}

/** The disk that is written to failed, not the source: there is no use in asking another one. Places that are only read fail with other codes. */
function isOfTarget(error: unknown): boolean {
  return error instanceof PavostoreError && (error.code === 'data_unwritable' || error.code === 'disk_short');
}

/** True when there is no file at all. */
export async function isFileMissing(path: string): Promise<boolean> {
  try {
    await stat(path);
    return false;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR';
  }
}
