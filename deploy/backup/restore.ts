// From a place to a version in DATA, published. Slices come into a temporary folder of DATA, each checked by its SHA-256 before it counts; what was
// fetched before by a restore that died, and what lies in DATA of the same version and is whole, is taken from there. Then the publishing code
// puts the version in place, under its lock and with all its checks. Nothing that does not verify is ever published.

import { copyFile, link, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { forEachBounded } from '../../shared/bounded-run.ts';
import { sliceName, slicePath, slicesPath, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest, ManifestSlice } from '../../shared/manifest.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { fetchSlice, placeManifestsPrefix, readPlaceCurrent, readPlaceManifest } from '../../shared/place-layout.ts';
import { openTemporaryFolder, removeStaleFolders, restoreMarkPrefix, type TemporaryFolder } from '../../shared/temporary-folder.ts';
import { rethrowWrite, writeError } from '../../shared/write-error.ts';
import { assertNotPinned, readStanding } from '../publish/announcement.ts';
import { checkDiskSpace, type Disk } from '../publish/disk.ts';
import type { GuardSettings } from '../publish/guards.ts';
import { publishVersion } from '../publish/publish.ts';
import type { SplitProgress } from '../split/split-options.ts';
import { assertApart } from './apart.ts';
import { digestOf } from './file-digest.ts';

export type RestoreOptions = {
  readonly dataDir: string;
  readonly store: ObjectStore;
  /** The version; by default the one that the place names as the latest. */
  readonly id?: string | undefined;
  /** False: the version is put into DATA/versions, but does not become the published one. */
  readonly publish?: boolean | undefined;
  readonly guards?: GuardSettings | undefined;
  /** Slices at a time. */
  readonly parallel?: number | undefined;
  readonly onProgress?: ((progress: SplitProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
};

/** What was done. Sizes are bytes. */
export type RestoreReport = {
  readonly id: string;
  readonly place: string;
  /** Of `current`; undefined when it was not replaced. */
  readonly sequence: number | undefined;
  readonly published: boolean;
  /** The very version was there already; its files were verified and kept. */
  readonly reused: boolean;
  readonly sliceCount: number;
  readonly entries: number;
  readonly sliceBytes: number;
  /** From the place; the others were here already. */
  readonly fetchedSlices: number;
  readonly fetchedBytes: number;
  readonly seconds: number;
};

/**
 * Restores a version and publishes it. Throws `usage`, `version_missing`, `current_malformed`, `manifest_malformed`, `object_missing`, `object_corrupt`, `disk_short`,
 * `data_unwritable`, what publishing throws, an error of the store, or the signal's reason. What was fetched before that stays for the next run,
 * until something else tidies up DATA a minute later.
 */
export async function restoreVersion(options: RestoreOptions): Promise<RestoreReport> {
  const startedMs = performance.now();
  const { dataDir, store, publish = true, guards, onProgress, onWarning = () => {}, signal, disk } = options;
  await assertApart(store, dataDir);
  const { id, sequence } = await chooseVersion(options);
  // Before the long part what would make it vain.
  if (publish) assertNotPinned(await readStanding({ dataDir, onWarning }), dataDir, id);
  const manifest = await readPlaceManifest(store, id, signal);
  const folder = await openTemporaryFolder(dataDir);
  try {
    const fetched = await new SliceRestore(options, manifest, folder.path).run();
    const versionDir = join(folder.path, 'version');
    onProgress?.({ phase: 'publish', doneBytes: 0, totalBytes: undefined });
    const { current, reused } = await publishVersion({
      dataDir,
      versionDir,
      manifest,
      publish,
      act: 'restore',
      guards,
      sequenceAfter: sequence,
      onWarning,
      signal,
      disk,
    });
    await tidyUp(folder, options, id);
    const { identity, totals } = manifest;
    return {
      id,
      place: store.place,
      sequence: current?.sequence,
      published: current !== undefined,
      reused,
      sliceCount: identity.sliceCount,
      entries: totals.entries,
      sliceBytes: totals.sliceBytes,
      ...fetched,
      seconds: (performance.now() - startedMs) / 1_000,
    };
  } catch (error) {
    folder.abandon();
    throw error;
  }
}

/** The version that was asked for, or the place's latest; and the place's sequence, which ours is to exceed. */
async function chooseVersion({ store, id, signal }: RestoreOptions): Promise<{ id: string; sequence: number | undefined }> {
  try {
    const found = await readPlaceCurrent(store, signal);
    if (id !== undefined || found) return { id: id ?? found!.current.id, sequence: found?.current.sequence };
    throw new PavostoreError('version_missing', `${store.place}: no backup is there${await listVersions(store, signal)}`);
  } catch (error) {
    if (!(error instanceof PavostoreError) || (error.code !== 'current_malformed' && error.code !== 'object_corrupt')) throw error;
    // The version is named: what the latest would be does not matter.
    if (id !== undefined) return { id, sequence: undefined };
    throw new PavostoreError(error.code, `${error.message}; name a version${await listVersions(store, signal)}`, { cause: error });
  }
}

/** `: ID, ID`, some of the versions whose manifests are there. */
async function listVersions(store: ObjectStore, signal: AbortSignal | undefined): Promise<string> {
  const ids: string[] = [];
  for await (const { name } of store.listObjects(placeManifestsPrefix, signal)) {
    ids.push(name.slice(placeManifestsPrefix.length).replace(/\.json$/, ''));
    if (ids.length === 5) break;
  }
  return ids.length === 0 ? '' : `: ${ids.join(', ')}`;
}

/** The slices of one restore, and how far it is. */
class SliceRestore {
  readonly #options: RestoreOptions;
  readonly #manifest: Manifest;
  readonly #folder: string;
  readonly #versionDir: string;
  /** Folders with slices of the same version, and folders with parts of them. */
  #sources: { readonly slices: readonly string[]; readonly parts: readonly string[] } = { slices: [], parts: [] };
  #fetchedSlices = 0;
  #fetchedBytes = 0;
  #doneBytes = 0;

  constructor(options: RestoreOptions, manifest: Manifest, folder: string) {
    this.#options = options;
    this.#manifest = manifest;
    this.#folder = folder;
    this.#versionDir = join(folder, 'version');
  }

  async run(): Promise<Pick<RestoreReport, 'fetchedSlices' | 'fetchedBytes'>> {
    const { dataDir, store, parallel = limits.storeParallelDefault } = this.#options;
    const { id, identity } = this.#manifest;
    await this.#makeFolders();
    this.#sources = await findSources(dataDir, id, this.#folder);
    const slices = identity.slices.map((expected, sliceIndex) => ({ sliceIndex, expected }));
    const missing: typeof slices = [];
    await forEachBounded(slices, parallel, async (slice) => {
      if (!(await this.#takeLocal(slice.sliceIndex, slice.expected))) missing.push(slice);
    });
    const size = missing.reduce((sum, { expected }) => sum + expected.bytes, 0);
    await checkDiskSpace(dataDir, size, `restoring ${missing.length} of ${identity.sliceCount} slices from ${store.place}`);
    await forEachBounded(missing, parallel, async ({ sliceIndex, expected }) => await this.#fetch(sliceIndex, expected));
    return { fetchedSlices: this.#fetchedSlices, fetchedBytes: this.#fetchedBytes };
  }

  async #makeFolders(): Promise<void> {
    try {
      await mkdir(slicesPath(this.#versionDir), { recursive: true });
      await mkdir(join(this.#folder, 'parts'));
      await writeFile(join(this.#folder, restoreMarkPrefix + this.#manifest.id), '');
    } catch (error) {
      throw writeError(error, this.#folder);
    }
  }

  /** Takes a slice from where it lies in DATA, if it is whole: the same file under another name. */
  async #takeLocal(sliceIndex: number, expected: ManifestSlice): Promise<boolean> {
    const target = slicePath(this.#versionDir, sliceIndex);
    for (const source of this.#sources.slices) {
      // Not every file system has links.
      const isThere = await link(join(source, sliceName(sliceIndex)), target).then(
        () => true,
        () => false,
      );
      if (!isThere) continue;
      this.#options.signal?.throwIfAborted();
      // One that cannot be read is fetched.
      if ((await digestOf(target).catch(() => undefined)) === expected.sha256) {
        this.#moved(expected.bytes);
        return true;
      }
      await rm(target);
    }
    return false;
  }

  async #fetch(sliceIndex: number, expected: ManifestSlice): Promise<void> {
    const { store, signal } = this.#options;
    const name = sliceName(sliceIndex);
    const part = join(this.#folder, 'parts', name);
    await this.#takePart(name, part);
    await fetchSlice(store, expected, part, { onBytes: (bytes) => this.#moved(bytes), signal }).catch(rethrowWrite(part));
    await rename(part, slicePath(this.#versionDir, sliceIndex)).catch(rethrowWrite(part));
    this.#fetchedSlices++;
    this.#fetchedBytes += expected.bytes;
  }

  /** Takes the longest part of a slice that lies in DATA, if there is one. */
  async #takePart(name: string, part: string): Promise<void> {
    const found = await Promise.all(this.#sources.parts.map(async (source) => await partIn(source, name)));
    for (const { path } of found.filter(({ size }) => size > 0).sort((a, b) => b.size - a.size)) {
      try {
        // Under another name: what a restore leaves that dies over the copy is no part.
        await copyFile(path, `${part}.copy`);
        return await rename(`${part}.copy`, part);
      } catch {
        // A restore that still runs is done with it, or the disk is full: the next one, or what is fetched, will do.
      }
    }
  }

  #moved(bytes: number): void {
    const totalBytes = this.#manifest.totals.sliceBytes;
    this.#doneBytes += bytes;
    this.#options.onProgress?.({ phase: 'fetch', doneBytes: Math.min(this.#doneBytes, totalBytes), totalBytes });
  }
}

/** Where slices of this version may lie in DATA: in its folder, and in those of restores of it that died or still run. */
async function findSources(dataDir: string, id: string, ownFolder: string): Promise<{ slices: string[]; parts: string[] }> {
  const folders: string[] = [];
  for (const name of await readdir(dataDir)) {
    const folder = join(dataDir, name);
    if (!name.startsWith('.tmp-') || folder === ownFolder) continue;
    if (
      await stat(join(folder, restoreMarkPrefix + id)).then(
        () => true,
        () => false,
      )
    )
      folders.push(folder);
  }
  return {
    slices: [slicesPath(versionPath(dataDir, id)), ...folders.map((folder) => slicesPath(join(folder, 'version')))],
    parts: folders.map((folder) => join(folder, 'parts')),
  };
}

/** A part of a slice and its size; 0 where there is none. */
async function partIn(folder: string, name: string): Promise<{ readonly path: string; readonly size: number }> {
  const path = join(folder, name);
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
  return { path, size };
}

/** All is done: what is left of this restore, and of earlier ones that died, goes. */
async function tidyUp(folder: TemporaryFolder, { dataDir, onWarning }: RestoreOptions, id: string): Promise<void> {
  try {
    await folder.close();
    await removeStaleFolders(dataDir);
  } catch (error) {
    onWarning?.(`version ${id} is restored; tidying up afterwards failed: ${(error as Error).message}`);
  }
}
