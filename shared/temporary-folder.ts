// Folders `DATA/.tmp-RANDOM` in which one process prepares what is then renamed to its place: a split, a publication, a restore, a repair, a shard that fetches
// slices. Each carries a heartbeat, so that whoever tidies up can tell a folder in use from one whose owner died, on whatever machine or in whatever
// container that was.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileSystemNow, Heartbeat, isStale } from './heartbeat.ts';
import { writeError } from './write-error.ts';

const temporaryPrefix = '.tmp-';
const trashPrefix = '.trash-';
const probePrefix = '.probe-';
const heartbeatName = 'heartbeat';
/** A file of such a name says that what a dead owner left in the folder is of use to the next restore of that version (deploy/backup/restore.ts). */
export const restoreMarkPrefix = 'restore-';

/** Owns the folder and its heartbeat from `openTemporaryFolder` to `close`. */
export class TemporaryFolder {
  readonly path: string;
  readonly #heartbeat: Heartbeat;

  constructor(path: string, heartbeat: Heartbeat) {
    this.path = path;
    this.#heartbeat = heartbeat;
  }

  /** Leaves the folder to whoever goes on with its work, or to the next one that tidies up. */
  abandon(): void {
    this.#heartbeat.stop();
  }

  /** Removes the folder with all that is still in it. */
  async close(): Promise<void> {
    this.#heartbeat.stop();
    await removeFolder(this.path);
  }
}

/** Makes a temporary folder in `dataDir`, which is made as well. Throws `disk_short`, `data_unwritable`. */
export async function openTemporaryFolder(dataDir: string): Promise<TemporaryFolder> {
  const path = join(dataDir, `${temporaryPrefix}${randomBytes(8).toString('hex')}`);
  const heartbeatPath = join(path, heartbeatName);
  try {
    await mkdir(dataDir, { recursive: true });
    await mkdir(path);
    await writeFile(heartbeatPath, heartbeatName, { flag: 'wx' });
  } catch (error) {
    await removeFolder(path).catch(() => {});
    throw writeError(error, path);
  }
  return new TemporaryFolder(path, new Heartbeat(heartbeatPath, heartbeatName));
}

/**
 * Runs `act` with a temporary folder in `dataDir`; it is gone afterwards, whatever happened. Throws `disk_short` or `data_unwritable` when there can be none,
 * and what `act` throws as it is: that need not be of this disk.
 */
export async function withTemporaryFolder<T>(dataDir: string, act: (folder: string) => Promise<T>): Promise<T> {
  const folder = await openTemporaryFolder(dataDir);
  try {
    return await act(folder.path);
  } finally {
    // What is left of it is removed when its heartbeat is stale.
    await folder.close().catch(() => {});
  }
}

/** Moves a folder of the data set out of its readers' way; returns where it lies now, for `removeFolder`. */
export async function moveToTrash(
  disk: { readonly rename: (from: string, to: string) => Promise<void> },
  dataDir: string,
  path: string,
): Promise<string> {
  const trash = join(dataDir, `${trashPrefix}${randomBytes(8).toString('hex')}`);
  await disk.rename(path, trash);
  return trash;
}

/** Removes a folder and all in it; one that is not there is fine. */
export async function removeFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

/**
 * Removes what dead owners left in `dataDir`: temporary folders with a stale heartbeat, trash, old probes. Returns their paths. `keepRestores`: what a restore
 * may go on with stays. Nothing is written when nothing lies there; else throws the system's error where `dataDir` cannot be written.
 */
export async function removeStaleFolders(dataDir: string, { keepRestores = false } = {}): Promise<string[]> {
  const names = await readdir(dataDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const leftovers = names.filter((name) => [temporaryPrefix, trashPrefix, probePrefix].some((prefix) => name.startsWith(prefix)));
  if (leftovers.length === 0) return [];
  const nowMs = await fileSystemNow(dataDir);
  const removed: string[] = [];
  for (const name of leftovers) {
    const path = join(dataDir, name);
    if (!(await isAbandoned(path, name, nowMs)) || (keepRestores && (await isOfRestore(path)))) continue;
    await removeFolder(path);
    removed.push(path);
  }
  return removed;
}

/** A folder without a heartbeat has just been made, or is half removed: its own time counts. */
async function isAbandoned(path: string, name: string, nowMs: number): Promise<boolean> {
  const beat = name.startsWith(temporaryPrefix) ? await isStale(join(path, heartbeatName), nowMs) : undefined;
  return beat ?? (await isStale(path, nowMs)) ?? false;
}

async function isOfRestore(path: string): Promise<boolean> {
  const names = await readdir(path).catch(() => []);
  return names.some((name) => name.startsWith(restoreMarkPrefix));
}
