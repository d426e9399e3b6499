// From a folder of new slices to the published version. Each step is on the disk before the next one begins, so that a crash at
// any point leaves the old version published or the new one, never a part:
//
//     slices/*.slice ── sync ─┐                              (the caller's, or here)
//     slices/ ─────────── sync┤
//     manifest.json ── write, sync, rename ── folder sync ── rename to versions/ID ── versions/ sync       placed
//                                                            guards                                        validated
//                                                            publications.json, current: announcement.ts   announced
//
// The three are separate acts: a version that the guards refuse lies in versions/ all the same, and can be looked at, published by force, or
// pruned. A failed sync fails the act: after one, nobody knows what is on the disk. A published file is never written in place.

import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Current, fetchedMarkPath, manifestPath, readManifest, slicesPath, versionPath, versionsPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { entryCountOf, formatManifest, type Manifest } from '../../shared/manifest.ts';
import type { PublicationAct } from '../../shared/publications.ts';
import { moveToTrash, removeFolder } from '../../shared/temporary-folder.ts';
import { rethrowWrite } from '../../shared/write-error.ts';
import { readBack } from '../verify/read-back.ts';
import { type VerifyOptions, verifyVersion } from '../verify/verify.ts';
import { announce, assertNotPinned, entriesPublished, type Publisher, readStanding, refusal, type Standing } from './announcement.ts';
import { type Disk, realDisk, replaceFile } from './disk.ts';
import { defaultGuards, type GuardSettings, type IfPinned, judge } from './guards.ts';
import { openPublishLock } from './publish-lock.ts';

/** What every publisher is given. */
export type PublisherOptions = {
  readonly dataDir: string;
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
  readonly lockWaitMs?: number | undefined;
};

/** Whom a publication follows. */
type Succession = {
  /** The only version that it may follow: when another one is published meanwhile, that stays. */
  readonly replaces?: string | undefined;
  /** The new sequence is greater than this one as well: that of a backup, which may be ahead of this machine's clock. */
  readonly sequenceAfter?: number | undefined;
};

export type PublishOptions = PublisherOptions &
  Succession & {
    /** A folder in `dataDir`'s file system with `slices/`, all of them synced; it becomes `versions/ID`. */
    readonly versionDir: string;
    readonly manifest: Manifest;
    /** False: the version is put in place, but `current` stays as it is. */
    readonly publish: boolean;
    readonly act?: PublicationAct | undefined;
    readonly guards?: GuardSettings | undefined;
    /** `keep`: while a version is pinned, this one is only put in place, which is no failure. By default it is one. */
    readonly ifPinned?: IfPinned | undefined;
  };

/** What was done. `reused`: the very version was there already and verified. */
export type PublishResult = { readonly current: Current | undefined; readonly reused: boolean };

/**
 * Puts a new version in place and publishes it. What its maker has just written and synced is read back once, without the lock: see read-back.ts.
 * Throws `version_refused`, `version_pinned`, `publish_locked`, `disk_short`, `data_unwritable`.
 */
export async function publishVersion(options: PublishOptions): Promise<PublishResult> {
  const { versionDir, manifest, signal, disk = realDisk, guards = defaultGuards, act = 'publish' } = options;
  const { id } = manifest;
  await writeManifest(disk, versionDir, manifest);
  const found = options.publish ? await readBack(versionDir, manifest, signal) : [];
  return await withPublisher(options, async (publisher) => {
    const reused = await placeVersion(publisher, versionDir, manifest);
    signal?.throwIfAborted();
    if (!options.publish) return { current: undefined, reused };
    // By then it has its place.
    const problems = reused ? [] : found.map((problem) => problem.replaceAll(versionDir, versionPath(options.dataDir, id)));
    if (problems.length === 0 && options.ifPinned === 'keep' && (await isKeptByPin(publisher, id))) return { current: undefined, reused };
    const { replaces, sequenceAfter } = options;
    const current = await validateAndAnnounce(publisher, { act, id, problems, guards, replaces, sequenceAfter });
    return { current, reused };
  });
}

export type AnnounceOptions = PublisherOptions &
  Succession & {
    readonly act: PublicationAct;
    readonly id: string;
    readonly guards: GuardSettings;
    /** True: only says what the guards say; nothing is written. */
    readonly dryRun?: boolean | undefined;
    readonly verify?: VerifyOptions | undefined;
  };

/**
 * Publishes a version that lies in `versions/` already, after reading all of it. Undefined after a dry run. Throws `version_missing`,
 * `manifest_malformed`, `version_refused`, `version_pinned`, `publish_locked`, `disk_short`, `data_unwritable`.
 */
export async function publishPlaced(options: AnnounceOptions): Promise<Current | undefined> {
  const { dataDir, id, act, signal, onWarning = () => {} } = options;
  // Before the long part what would make it vain.
  await readManifest(dataDir, id);
  if (act !== 'pin') assertNotPinned(await readStanding({ dataDir, onWarning }), dataDir, id);
  // Without the lock: another publisher should not wait for it.
  const { problems } = await verifyVersion({ versionDir: versionPath(dataDir, id), id }, options.verify);
  signal?.throwIfAborted();
  return await withPublisher(options, async (publisher) => await validateAndAnnounce(publisher, { ...options, problems }));
}

/** Runs `act` under the lock of `dataDir`. Throws `publish_locked`. */
export async function withPublisher<T>(options: PublisherOptions, act: (publisher: Publisher) => Promise<T>): Promise<T> {
  const { dataDir, signal, disk = realDisk, onWarning = () => {}, lockWaitMs } = options;
  const lock = await openPublishLock(dataDir, { signal, onWait: onWarning, ...(lockWaitMs === undefined ? {} : { waitMs: lockWaitMs }) });
  try {
    return await act({ disk, dataDir, lock, onWarning });
  } finally {
    await lock.close();
  }
}

type Candidate = Succession & Pick<AnnounceOptions, 'act' | 'id' | 'guards' | 'dryRun'> & { readonly problems: readonly string[] };

async function validateAndAnnounce(publisher: Publisher, candidate: Candidate & { readonly dryRun?: false | undefined }): Promise<Current>;
async function validateAndAnnounce(publisher: Publisher, candidate: Candidate): Promise<Current | undefined>;
async function validateAndAnnounce(publisher: Publisher, candidate: Candidate): Promise<Current | undefined> {
  const { act, id, problems, guards, replaces, sequenceAfter, dryRun = false } = candidate;
  const { dataDir } = publisher;
  // Again: what was verified without the lock may have been pruned meanwhile.
  const { identity } = await readManifest(dataDir, id);
  const standing = await readStanding(publisher);
  if (act !== 'pin') assertNotPinned(standing, dataDir, id);
  assertReplaces(standing, dataDir, id, replaces);
  const facts = { problems, entries: entryCountOf(identity), entriesPublished: await entriesPublished(dataDir, standing) };
  const verdict = judge(facts, guards);
  if (dryRun && verdict.outcome === 'refused') throw refusal(dataDir, id, verdict.reasons, standing.current);
  if (dryRun) return undefined;
  return await announce(publisher, standing, { act, id, verdict, sequenceAfter });
}

/** Says so when a pin keeps another version published. */
async function isKeptByPin(publisher: Publisher, id: string): Promise<boolean> {
  const { pin } = (await readStanding(publisher)).publications;
  if (!pin) return false;
  if (pin.id === id) return true;
  publisher.onWarning(`version ${pin.id} is pinned and stays published; ${id} is in place: pavostore unpin, then pavostore publish ${id}`);
  return true;
}

function assertReplaces({ current }: Standing, dataDir: string, id: string, replaces: string | undefined): void {
  if (replaces === undefined || !current || current.id === replaces) return;
  throw new PavostoreError('version_refused', `${dataDir}: version ${current.id} was published meanwhile; ${id} was to follow ${replaces}`);
}

async function writeManifest(disk: Disk, versionDir: string, manifest: Manifest): Promise<void> {
  await disk.syncFolder(slicesPath(versionDir));
  const path = manifestPath(versionDir);
  await replaceFile(disk, path, formatManifest(manifest), `${path}.tmp`);
  await disk.syncFolder(versionDir);
}

/** Moves the folder to `versions/ID`, unless that is there and verifies: then answers true. */
async function placeVersion({ disk, dataDir, onWarning }: Publisher, versionDir: string, manifest: Manifest): Promise<boolean> {
  const target = versionPath(dataDir, manifest.id);
  await makeVersionsFolder(disk, dataDir);
  const found = await exists(target);
  const problem = found ? (await verifyVersion({ versionDir: target, id: manifest.id })).problems[0] : undefined;
  if (problem) onWarning(`${target} was there, but damaged (${problem}): replaced`);
  const trash = problem ? await moveToTrash(disk, dataDir, target) : undefined;
  const reused = found && !problem;
  // From now on it is a publisher's, and no shard that has fetched it before may take it away.
  if (reused) await rm(fetchedMarkPath(target), { force: true }).catch(rethrowWrite(target));
  else await disk.rename(versionDir, target);
  await disk.syncFolder(versionsPath(dataDir));
  if (trash) await removeFolder(trash);
  return reused;
}

async function makeVersionsFolder(disk: Disk, dataDir: string): Promise<void> {
  const path = versionsPath(dataDir);
  const made = await mkdir(path, { recursive: true }).catch(rethrowWrite(path));
  if (made !== undefined) await disk.syncFolder(dirname(path));
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
