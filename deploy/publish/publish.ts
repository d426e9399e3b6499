// From a folder of new slices to the published version. Each step is on the disk before the next one begins, so that a crash at
// any point leaves the old version published or the new one, never a part:
//
//     slices/*.slice ── sync ─┐                              (the caller's, or here)
//     slices/ ─────────── sync┤
//     manifest.json ── write, sync, rename ── folder sync ── rename to versions/ID ── versions/ sync
//                                                            current ── write, sync, rename ── DATA sync
//
// A failed sync fails the act: after one, nobody knows what is on the disk. A published file is never written in place.

import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type Current,
  currentPath,
  formatCurrent,
  manifestPath,
  readCurrent,
  slicesPath,
  versionPath,
  versionsPath,
} from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { formatManifest, type Manifest } from '../../shared/manifest.ts';
import { verifyVersion } from '../verify/verify.ts';
import { type Disk, realDisk, replaceFile, rethrowWrite } from './disk.ts';
import { openPublishLock, type PublishLock } from './publish-lock.ts';
import { moveToTrash, removeFolder } from './temporary-folder.ts';

export type PublishOptions = {
  readonly dataDir: string;
  /** A folder in `dataDir`'s file system with `slices/`, all of them synced; it becomes `versions/ID`. */
  readonly versionDir: string;
  readonly manifest: Manifest;
  /** False: the version is put in place, but `current` stays as it is. */
  readonly publish: boolean;
  /** The only version that it may follow: when another one is published meanwhile, that stays. */
  readonly replaces?: string | undefined;
  /** The new sequence is greater than this one as well: that of a backup, which may be ahead of this machine's clock. */
  readonly sequenceAfter?: number | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
  readonly lockWaitMs?: number | undefined;
};

/** What was done. `reused`: the very version was there already and verified. */
export type PublishResult = { readonly current: Current | undefined; readonly reused: boolean };

/** Puts a new version in place and publishes it. Throws `version_refused`, `publish_locked`, `disk_short`, `data_unwritable`. */
export async function publishVersion(options: PublishOptions): Promise<PublishResult> {
  const { dataDir, versionDir, manifest, signal, disk = realDisk, onWarning = () => {}, lockWaitMs } = options;
  if (manifest.totals.entries === 0)
    throw new PavostoreError('version_refused', 'there is no record in it: an empty version is not published');
  await writeManifest(disk, versionDir, manifest);
  const lock = await openPublishLock(dataDir, { signal, ...(lockWaitMs === undefined ? {} : { waitMs: lockWaitMs }) });
  try {
    const reused = await placeVersion({ disk, dataDir, versionDir, manifest, onWarning });
    signal?.throwIfAborted();
    const current = options.publish
      ? await replaceCurrent({ disk, dataDir, id: manifest.id, replaces: options.replaces, after: options.sequenceAfter, lock, onWarning })
      : undefined;
    return { current, reused };
  } finally {
    await lock.close();
  }
}

/** What `current` is to say when `id` is published after `last`: a greater sequence, and the version before it. */
export function nextCurrent(last: Current | undefined, id: string, nowMs: number): Current {
  return {
    sequence: Math.max((last?.sequence ?? 0) + 1, nowMs),
    id,
    // The same version once more: what was before it still is.
    previousId: last?.id === id ? last.previousId : last?.id,
  };
}

async function writeManifest(disk: Disk, versionDir: string, manifest: Manifest): Promise<void> {
  await disk.syncFolder(slicesPath(versionDir));
  const path = manifestPath(versionDir);
  await replaceFile(disk, path, formatManifest(manifest), `${path}.tmp`);
  await disk.syncFolder(versionDir);
}

type Place = { disk: Disk; dataDir: string; versionDir: string; manifest: Manifest; onWarning: (message: string) => void };

/** Moves the folder to `versions/ID`, unless that is there and verifies: then answers true. */
async function placeVersion({ disk, dataDir, versionDir, manifest, onWarning }: Place): Promise<boolean> {
  const target = versionPath(dataDir, manifest.id);
  await makeVersionsFolder(disk, dataDir);
  const found = await exists(target);
  const problem = found ? (await verifyVersion({ versionDir: target, id: manifest.id })).problems[0] : undefined;
  if (problem) onWarning(`${target} was there, but damaged (${problem}): replaced`);
  const trash = problem ? await moveToTrash(dataDir, target) : undefined;
  const reused = found && !problem;
  if (!reused) await disk.rename(versionDir, target);
  await disk.syncFolder(versionsPath(dataDir));
  if (trash) await removeFolder(trash);
  return reused;
}

async function makeVersionsFolder(disk: Disk, dataDir: string): Promise<void> {
  const path = versionsPath(dataDir);
  const made = await mkdir(path, { recursive: true }).catch(rethrowWrite(path));
  if (made !== undefined) await disk.syncFolder(dirname(path));
}

type Replacement = {
  disk: Disk;
  dataDir: string;
  id: string;
  replaces: string | undefined;
  after: number | undefined;
  lock: PublishLock;
  onWarning: (message: string) => void;
};

async function replaceCurrent({ disk, dataDir, id, replaces, after = 0, lock, onWarning }: Replacement): Promise<Current> {
  const last = await readLast(dataDir, onWarning);
  if (replaces !== undefined && last && last.id !== replaces) {
    throw new PavostoreError('version_refused', `${dataDir}: version ${last.id} was published meanwhile; ${id} was made of ${replaces}`);
  }
  const current = nextCurrent(last, id, Math.max(Date.now(), after + 1));
  const path = currentPath(dataDir);
  const temporaryPath = join(dataDir, `.tmp-current-${current.sequence}`);
  try {
    await disk.writeFile(temporaryPath, formatCurrent(current));
    await disk.syncFile(temporaryPath);
    await lock.assertHeld();
    await disk.rename(temporaryPath, path);
    await disk.syncFolder(dataDir);
    return current;
  } finally {
    await rm(temporaryPath, { force: true });
  }
}

/** What is published now. An unreadable `current` is no reason not to publish: the sequence then starts from the clock. */
async function readLast(dataDir: string, onWarning: (message: string) => void): Promise<Current | undefined> {
  try {
    return await readCurrent(dataDir);
  } catch (error) {
    onWarning(`${(error as Error).message}: it is replaced, and what was published before is not known`);
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
