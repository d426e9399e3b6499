// From a version in DATA to a place, by the layout and the order of shared/place-layout.ts:
//
//     what is there? ──> slices that are not: checked here, sent, read back ──> manifest, read back ──> `current`, if ours is later
//
// What dies in the middle leaves slices that nobody names yet; the next run finds them there and sends the rest, and goes on in the middle of
// a large one. A slice that is damaged here is never sent. One that is there under its digest with another size, or with `deep` with other bytes,
// is not what its name says, and is sent again.

import { forEachBounded } from '../../shared/bounded-run.ts';
import { type Current, formatCurrent, readCurrent, readManifest, slicePath, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest, type Manifest, type ManifestSlice } from '../../shared/manifest.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { placeCurrentName, placeManifestName, placeSliceName, readPlaceCurrent, verifyPlaceSlice } from '../../shared/place-layout.ts';
import { openPublishLock } from '../publish/publish-lock.ts';
import type { SplitProgress } from '../split/split-options.ts';
import { assertApart } from './apart.ts';
import { digestOf } from './file-digest.ts';

export type BackupOptions = {
  readonly dataDir: string;
  readonly store: ObjectStore;
  /** The version; by default the published one. */
  readonly id?: string | undefined;
  /** False: what was sent is not read back: the store's own check of what arrives must do. */
  readonly verify?: boolean | undefined;
  /** True: what is there already is read as well. */
  readonly deep?: boolean | undefined;
  /** Slices at a time. */
  readonly parallel?: number | undefined;
  readonly onProgress?: ((progress: SplitProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** What was done. Sizes are bytes. */
export type BackupReport = {
  readonly id: string;
  readonly place: string;
  /** Of the publication that was backed up; undefined for a version that is not the published one. */
  readonly sequence: number | undefined;
  /** The place's `current` names this publication now. */
  readonly latest: boolean;
  readonly sliceCount: number;
  readonly entries: number;
  readonly sliceBytes: number;
  /** There before, and not sent. */
  readonly foundSlices: number;
  readonly sentSlices: number;
  readonly sentBytes: number;
  /** Of those sent: there before under their names, but damaged. */
  readonly mendedSlices: number;
  /** Read back, or with `deep` read where they were. */
  readonly verifiedSlices: number;
  readonly seconds: number;
};

/**
 * Backs up a version. Throws `usage`, `version_missing`, `manifest_malformed`, `current_malformed`, `slice_malformed` (damaged in DATA), `object_corrupt` (arrives
 * damaged again and again), an error of the store, or the signal's reason. What was stored before that stays, and is of use to the next run.
 */
export async function backupVersion(options: BackupOptions): Promise<BackupReport> {
  const startedMs = performance.now();
  const { store, signal } = options;
  await assertApart(store, options.dataDir);
  const { manifest, current } = await readPublished(options.dataDir, options.id);
  // First of all what tells whether we may be here at all.
  await readLatest({ ...options, onWarning: undefined });
  await store.removeLeftovers();
  const backup = new SliceBackup(options, manifest);
  await backup.run();
  await storeManifest(store, manifest, signal);
  // A prune that ended meanwhile did not know of this version; one that ends later finds its manifest, and says what it lacks.
  await backup.sendGone();
  await storeManifest(store, manifest, signal);
  const latest = current !== undefined && (await storeCurrent(options, current));
  const { identity, totals } = manifest;
  return {
    id: manifest.id,
    place: store.place,
    sequence: current?.sequence,
    latest,
    sliceCount: identity.sliceCount,
    entries: totals.entries,
    sliceBytes: totals.sliceBytes,
    ...backup.counts,
    seconds: (performance.now() - startedMs) / 1_000,
  };
}

/** The version to back up, and the publication of it, if it is the published one. */
async function readPublished(dataDir: string, id: string | undefined): Promise<{ manifest: Manifest; current: Current | undefined }> {
  const current = await readCurrent(dataDir);
  const wanted = id ?? current?.id;
  if (wanted === undefined) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there`);
  return { manifest: await readManifest(dataDir, wanted), current: current?.id === wanted ? current : undefined };
}

type SliceCounts = Pick<BackupReport, 'foundSlices' | 'sentSlices' | 'sentBytes' | 'mendedSlices' | 'verifiedSlices'>;
type WantedSlice = { readonly sliceIndex: number; readonly expected: ManifestSlice; isThere: boolean; isDamaged: boolean };

/** The slices of one backup, and how far it is. */
class SliceBackup {
  readonly #options: BackupOptions;
  readonly #manifest: Manifest;
  readonly #wanted: readonly WantedSlice[];
  readonly #counts = { foundSlices: 0, sentSlices: 0, sentBytes: 0, mendedSlices: 0, verifiedSlices: 0 };
  #doneBytes = 0;
  #totalBytes = 0;

  constructor(options: BackupOptions, manifest: Manifest) {
    this.#options = options;
    this.#manifest = manifest;
    // Two slices of the same bytes are one object.
    const byDigest = new Map(manifest.identity.slices.map((expected, sliceIndex) => [expected.sha256, { sliceIndex, expected }]));
    this.#wanted = Array.from(byDigest.values(), (slice) => ({ ...slice, isThere: false, isDamaged: false }));
  }

  get counts(): SliceCounts {
    return this.#counts;
  }

  async run(): Promise<void> {
    const { parallel = limits.storeParallelDefault, deep = false } = this.#options;
    await forEachBounded(this.#wanted, Math.max(parallel, limits.storeLooksParallel), async (slice) => await this.#look(slice));
    this.#totalBytes = this.#wanted.reduce((sum, slice) => sum + this.#costOf(slice), 0);
    const toDo = this.#wanted.filter(({ isThere }) => deep || !isThere);
    this.#counts.foundSlices = this.#wanted.length - toDo.length;
    await forEachBounded(toDo, parallel, async (slice) => await this.#store(slice));
  }

  /** Looks once more at all slices, and sends those that are not there any more. */
  async sendGone(): Promise<void> {
    const { parallel = limits.storeParallelDefault } = this.#options;
    await forEachBounded(this.#wanted, Math.max(parallel, limits.storeLooksParallel), async (slice) => await this.#look(slice));
    const gone = this.#wanted.filter(({ isThere }) => !isThere);
    await forEachBounded(gone, parallel, async (slice) => await this.#store(slice));
  }

  async #look(slice: WantedSlice): Promise<void> {
    const { store, signal } = this.#options;
    const head = await store.findObject(placeSliceName(slice.expected.sha256), signal);
    slice.isThere = head?.size === slice.expected.bytes;
    slice.isDamaged = head !== undefined && !slice.isThere;
  }

  /** Bytes that a slice moves. */
  #costOf({ isThere, expected }: WantedSlice): number {
    const { verify = true, deep = false } = this.#options;
    return expected.bytes * (isThere ? Number(deep) : 1 + Number(verify));
  }

  async #store(slice: WantedSlice): Promise<void> {
    if (slice.isThere) {
      if (await this.#isWhole(slice)) {
        this.#counts.foundSlices++;
        return;
      }
      slice.isDamaged = true;
      this.#totalBytes += 2 * slice.expected.bytes;
    }
    await this.#send(slice);
    this.#counts.sentSlices++;
    this.#counts.sentBytes += slice.expected.bytes;
    if (slice.isDamaged) this.#counts.mendedSlices++;
  }

  async #send({ sliceIndex, expected }: WantedSlice): Promise<void> {
    const { dataDir, store, verify = true, signal, onWarning } = this.#options;
    const path = slicePath(versionPath(dataDir, this.#manifest.id), sliceIndex);
    await assertWhole(path, expected, signal);
    for (let sends = 1; ; sends++) {
      await store.writeFile(placeSliceName(expected.sha256), path, { onStored: (bytes) => this.#moved(bytes), signal });
      if (!verify || (await this.#isWhole({ expected }))) return;
      const what = `${store.place}/${placeSliceName(expected.sha256)}`;
      if (sends >= limits.storeSendsMax)
        throw new PavostoreError('object_corrupt', `${what}: what is read back is not what was sent, ${sends} times`);
      onWarning?.(`${what}: what is read back is not what was sent; it is sent again`);
      this.#totalBytes += 2 * expected.bytes;
    }
  }

  /** Reads a slice in the place; false when it is not what its name says. */
  async #isWhole({ expected }: Pick<WantedSlice, 'expected'>): Promise<boolean> {
    const { store, signal } = this.#options;
    try {
      await verifyPlaceSlice(store, expected, { onBytes: (bytes) => this.#moved(bytes), signal });
      this.#counts.verifiedSlices++;
      return true;
    } catch (error) {
      if (error instanceof PavostoreError && (error.code === 'object_corrupt' || error.code === 'object_missing')) return false;
      throw error;
    }
  }

  #moved(bytes: number): void {
    this.#doneBytes += bytes;
    this.#options.onProgress?.({ phase: 'store', doneBytes: Math.min(this.#doneBytes, this.#totalBytes), totalBytes: this.#totalBytes });
  }
}

/** Throws `slice_malformed` unless a file of DATA is what the manifest says, `version_missing` when it is gone. */
async function assertWhole(path: string, expected: ManifestSlice, signal: AbortSignal | undefined): Promise<void> {
  const sha256 = await digestOf(path, signal).catch((error: NodeJS.ErrnoException) => {
    signal?.throwIfAborted();
    throw new PavostoreError(error.code === 'ENOENT' ? 'version_missing' : 'slice_malformed', `${path}: ${error.message}`, {
      cause: error,
    });
  });
  if (sha256 !== expected.sha256)
    throw new PavostoreError('slice_malformed', `${path}: SHA-256 is ${sha256}, the manifest says ${expected.sha256}; it is not backed up`);
}

/** Writes the manifest, unless the place has the same, and reads it back. */
async function storeManifest(store: ObjectStore, manifest: Manifest, signal: AbortSignal | undefined): Promise<void> {
  const name = placeManifestName(manifest.id);
  const bytes = Buffer.from(formatManifest(manifest));
  const isThere = async (): Promise<boolean> =>
    (await store.readSmallObject(name, limits.manifestSizeMax, signal).catch(ignoreCorrupt))?.bytes.equals(bytes) ?? false;
  if (await isThere()) return;
  await store.writeSmallObject(name, bytes, undefined, signal);
  if (!(await isThere())) throw new PavostoreError('object_corrupt', `${store.place}/${name}: what is read back is not what was written`);
}

function ignoreCorrupt(error: unknown): undefined {
  if (error instanceof PavostoreError && error.code === 'object_corrupt') return undefined;
  throw error;
}

/** What the place's `current` says and whether it may be replaced; a damaged one says nothing. */
async function readLatest({ store, signal, onWarning }: BackupOptions): Promise<Awaited<ReturnType<typeof readPlaceCurrent>>> {
  try {
    return await readPlaceCurrent(store, signal);
  } catch (error) {
    if (!(error instanceof PavostoreError) || (error.code !== 'current_malformed' && error.code !== 'object_corrupt')) throw error;
    onWarning?.(`${error.message}: it is replaced`);
    return { current: { sequence: -1, id: '', previousId: undefined }, tag: undefined };
  }
}

/** Makes ours the place's `current` unless that is a later one; true when it is ours afterwards. Of several that try at once the latest wins. */
async function storeCurrent(options: BackupOptions, ours: Current): Promise<boolean> {
  const { store, signal, onWarning } = options;
  // A folder cannot compare and replace in one act: those who write its `current` take turns.
  const lock = store.folder === undefined ? undefined : await openPublishLock(store.folder, { signal });
  try {
    for (let tries = 0; tries < limits.storeTriesMax; tries++) {
      const found = await readLatest(options);
      if (found && isSame(found.current, ours)) return true;
      if (found && found.current.sequence >= ours.sequence) {
        const { id, sequence } = found.current;
        onWarning?.(`${store.place} names version ${id} of sequence ${sequence} as the latest, ours is ${ours.sequence}: left as it is`);
        return false;
      }
      await store.writeSmallObject(placeCurrentName, Buffer.from(formatCurrent(ours)), found ? { tag: found.tag } : 'absent', signal);
    }
    throw new PavostoreError('object_corrupt', `${store.place}/${placeCurrentName}: what is read back is not what was written`);
  } finally {
    await lock?.close();
  }
}

function isSame(a: Current, b: Current): boolean {
  return a.id === b.id && a.sequence === b.sequence;
}
