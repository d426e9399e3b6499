// Which old versions may go from a place, and how they go: first the slices that no version names that stays, then the manifest. So a prune that dies leaves a
// manifest by which the next one goes on, and no version that stays lacks anything. Slices that no manifest names are left alone: a backup that is under way may
// have sent them. The plan is pure; whatever is not known speaks for keeping.
//
// A backup beside a prune may count on slices that it saw and that are gone when it ends. A store cannot keep them apart, so both look again: the backup, when its
// manifest is there, at its slices, and sends those that are gone; the prune, when its slices are gone, at what has come, and fails when that lacks something: the
// same backup once more sends it.

import { forEachBounded } from '../../shared/bounded-run.ts';
import type { Current } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { isVersionId, type Manifest } from '../../shared/manifest.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { placeManifestName, placeManifestsPrefix, placeSliceName, readPlaceCurrent, readPlaceManifest } from '../../shared/place-layout.ts';
import { formatDuration } from '../../shared/quantities.ts';
import { openPublishLock } from '../publish/publish-lock.ts';

export type PruneBackupOptions = {
  readonly store: ObjectStore;
  /** How many versions stay at least, those made last. */
  readonly keep: number;
  readonly dryRun: boolean;
  /** Why a version is needed elsewhere, by its id: a shard reports it, or a data folder. */
  readonly neededFor: ReadonlyMap<string, string>;
  readonly signal?: AbortSignal | undefined;
  readonly nowMs?: number | undefined;
};

/** `keptFor` says why it stays; undefined: it goes. */
export type BackedUpVersion = { readonly id: string; readonly sliceBytes: number; readonly keptFor: string | undefined };

export type PruneBackupReport = {
  readonly place: string;
  /** Those made last first. */
  readonly versions: readonly BackedUpVersion[];
  /** Slices of versions that go, without those that another one has as well; what would go, after a dry run. */
  readonly removedSlices: number;
  readonly removedBytes: number;
};

/**
 * Removes old versions from a place; with `dryRun` only says which. Throws `version_missing` when nothing is there, `current_malformed`, `manifest_malformed`,
 * `object_missing` when a backup beside it lost slices, `publish_locked`, an error of the store, or the signal's reason.
 */
export async function pruneBackup(options: PruneBackupOptions): Promise<PruneBackupReport> {
  const { store, dryRun, signal } = options;
  // Before a lock is written where there is no backup.
  await readLatest(store, signal);
  // Nobody replaces `current` of a folder meanwhile.
  const lock = store.folder === undefined || dryRun ? undefined : await openPublishLock(store.folder, { signal });
  try {
    const latest = await readLatest(store, signal);
    const manifests = await readManifests(store, signal);
    const plan = planPruneBackup(manifests, { ...options, latest, nowMs: options.nowMs ?? Date.now() });
    const goes = (manifest: Manifest): boolean => plan.find(({ id }) => id === manifest.id)!.keptFor === undefined;
    const slicesKept = slicesOf(manifests.filter((manifest) => !goes(manifest)));
    const slicesGone = slicesOf(manifests.filter(goes));
    for (const sha256 of slicesKept.keys()) slicesGone.delete(sha256);
    if (!dryRun) await removeVersions(options, manifests.filter(goes), slicesGone);
    return {
      place: store.place,
      versions: plan,
      removedSlices: slicesGone.size,
      removedBytes: [...slicesGone.values()].reduce((sum, bytes) => sum + bytes, 0),
    };
  } finally {
    await lock?.close();
  }
}

async function readLatest(store: ObjectStore, signal: AbortSignal | undefined): Promise<Current> {
  const latest = (await readPlaceCurrent(store, signal))?.current;
  if (!latest) throw new PavostoreError('version_missing', `${store.place}: no backup is there`);
  return latest;
}

/** What is known when it is planned. */
type PruneFacts = Pick<PruneBackupOptions, 'keep' | 'neededFor'> & {
  readonly latest: Pick<Current, 'id' | 'previousId'>;
  readonly nowMs: number;
};

/** The versions, those made last first, each with why it stays. */
export function planPruneBackup(manifests: readonly Manifest[], facts: PruneFacts): BackedUpVersion[] {
  const newestFirst = manifests.toSorted((a, b) => madeMsOf(b) - madeMsOf(a) || (a.id < b.id ? -1 : 1));
  return newestFirst.map((manifest, index) => ({
    id: manifest.id,
    sliceBytes: manifest.totals.sliceBytes,
    keptFor: reasonToKeep(manifest, index, facts),
  }));
}

function reasonToKeep(manifest: Manifest, index: number, { keep, latest, neededFor, nowMs }: PruneFacts): string | undefined {
  const { id } = manifest;
  if (id === latest.id) return 'the latest there';
  if (id === latest.previousId) return 'the one before the latest';
  const needed = neededFor.get(id);
  if (needed !== undefined) return needed;
  if (index < keep) return `one of the newest ${keep}`;
  const ageMs = Math.max(0, nowMs - madeMsOf(manifest));
  return ageMs < limits.pruneAgeMs ? `made ${formatDuration(ageMs)} ago` : undefined;
}

/** One that does not say when it was made may be the newest of all. */
function madeMsOf({ createdAt }: Manifest): number {
  const ms = Date.parse(createdAt);
  return Number.isNaN(ms) ? Number.MAX_SAFE_INTEGER : ms;
}

async function readManifests(store: ObjectStore, signal: AbortSignal | undefined): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  for (const id of await listIds(store, signal)) manifests.push(await readPlaceManifest(store, id, signal));
  return manifests;
}

async function listIds(store: ObjectStore, signal: AbortSignal | undefined): Promise<string[]> {
  const ids: string[] = [];
  for await (const { name } of store.listObjects(placeManifestsPrefix, signal)) {
    const id = name.slice(placeManifestsPrefix.length).replace(/\.json$/, '');
    if (isVersionId(id) && name === placeManifestName(id)) ids.push(id);
  }
  return ids;
}

/** Sizes by digest. */
function slicesOf(manifests: readonly Manifest[]): Map<string, number> {
  return new Map(manifests.flatMap(({ identity }) => identity.slices.map(({ sha256, bytes }) => [sha256, bytes] as const)));
}

async function removeVersions(
  { store, signal }: PruneBackupOptions,
  manifests: readonly Manifest[],
  slices: ReadonlyMap<string, number>,
): Promise<void> {
  const known = new Set(await listIds(store, signal));
  await forEachBounded(slices.keys(), limits.storeLooksParallel, async (sha256) => {
    signal?.throwIfAborted();
    await store.removeObject(placeSliceName(sha256), signal);
  });
  // A backup that ended meanwhile may name what is gone: its manifest is new, or its version is the latest now.
  const latest = await readLatest(store, signal);
  for (const manifest of manifests) if (manifest.id !== latest.id) await store.removeObject(placeManifestName(manifest.id), signal);
  const come = (await listIds(store, signal)).filter((id) => !known.has(id) || id === latest.id);
  for (const id of come) {
    const { identity } = await readPlaceManifest(store, id, signal);
    const lost = identity.slices.filter(({ sha256 }) => slices.has(sha256)).length;
    if (lost === 0) continue;
    const what = `version ${id} was backed up meanwhile, and ${lost} of its slices are gone: back it up again`;
    throw new PavostoreError('object_missing', `${store.place}: ${what}`);
  }
}
