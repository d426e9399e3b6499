// What the writers of the data set do to the disk, in one place: whole writes, syncs of files and folders, renames. `Disk` is the part whose
// order makes a publication safe, so that a test can record it.

import { type StatsFs, writeSync } from 'node:fs';
import { open, rename, statfs } from 'node:fs/promises';
import { PavostoreError } from '../../shared/errors.ts';
import { formatSize } from '../../shared/quantities.ts';
import { rethrowWrite, writeError } from '../../shared/write-error.ts';

/** The acts whose order decides what a crash leaves behind. */
export type Disk = {
  /** Creates or overwrites the file, without a sync. */
  readonly writeFile: (path: string, text: string) => Promise<void>;
  /** Returns once the file's bytes are on the disk. */
  readonly syncFile: (path: string) => Promise<void>;
  /** Returns once the names in the folder are on the disk. */
  readonly syncFolder: (path: string) => Promise<void>;
  readonly rename: (from: string, to: string) => Promise<void>;
};

export const realDisk: Disk = {
  writeFile: async (path, text) => await withFile(path, 'w', async (file) => await file.writeFile(text)),
  syncFile: async (path) => await withFile(path, 'r+', async (file) => await file.sync()),
  syncFolder: async (path) => await withFile(path, 'r', async (file) => await file.sync()),
  rename: async (from, to) => await rename(from, to).catch(rethrowWrite(to)),
};

/**
 * Replaces `path` by a file that says `text`: after a crash it holds the old text or the new one, whole. `beforeRename` is the last chance to
 * throw.
 */
export async function replaceFile(
  disk: Disk,
  path: string,
  text: string,
  temporaryPath: string,
  beforeRename?: () => Promise<void>,
): Promise<void> {
  await disk.writeFile(temporaryPath, text);
  await disk.syncFile(temporaryPath);
  await beforeRename?.();
  await disk.rename(temporaryPath, path);
}

/** Writes `bytes` from `start` to `end` at `position` of the file, whatever the system takes at a time. Throws `disk_short`, `data_unwritable`. */
export function writeFully(fd: number, bytes: Uint8Array, range: { start: number; end: number; position: number }, path: string): void {
  let at = range.start;
  try {
    while (at < range.end) at += writeSync(fd, bytes, at, range.end - at, range.position + at - range.start);
  } catch (error) {
    throw writeError(error, path);
  }
}

/** Throws `disk_short` when the file system of `folder` has less than `sizeNeeded` bytes for us; `what` says what they are for. */
export async function checkDiskSpace(folder: string, sizeNeeded: number, what: string): Promise<void> {
  const free = freeSizeOf(await statfs(folder));
  if (free >= sizeNeeded) return;
  throw new PavostoreError('disk_short', `${folder}: ${what} needs about ${formatSize(sizeNeeded)}, ${formatSize(free)} are free`);
}

function freeSizeOf(stats: StatsFs): number {
  return stats.bavail * stats.bsize;
}

async function withFile(path: string, flags: string, act: (file: import('node:fs/promises').FileHandle) => Promise<void>): Promise<void> {
  try {
    await using file = await open(path, flags);
    await act(file);
  } catch (error) {
    throw writeError(error, path);
  }
}
