// The layout of a place that holds versions, and how it is read. `pavostore backup` writes it; restore, healing and a shard with a
// `--source` read it.
//
//     current                  which version was published when the last backup was made: the one line of DATA/current
//     manifests/ID.json        one for each version, as in DATA
//     slices/SHA256            the bytes of a slice, named by the SHA-256 of the whole file
//
// Order of writing: slices, read back; then the manifest; then `current`. So whatever `current` names is whole, and what a backup that
// died has left behind is some slices that nobody names yet, and that the next one need not send. Slices and manifests are never
// overwritten by others, only by the same again; `current` only by a greater sequence. All that is read is untrusted: checked here.

import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { type Current, parseCurrent, readFully } from './data-set.ts';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';
import { type Manifest, type ManifestSlice, parseManifest } from './manifest.ts';
import type { ObjectStore } from './object-store.ts';

export const placeCurrentName = 'current';
export const placeSlicesPrefix = 'slices/';
export const placeManifestsPrefix = 'manifests/';

export function placeSliceName(sha256: string): string {
  return `${placeSlicesPrefix}${sha256}`;
}

export function placeManifestName(id: string): string {
  return `${placeManifestsPrefix}${id}.json`;
}

/** What the place says is the latest; undefined when nothing is there yet. `tag` is for replacing it. Throws `current_malformed` or an error of the store. */
export async function readPlaceCurrent(
  store: ObjectStore,
  signal?: AbortSignal,
): Promise<{ readonly current: Current; readonly tag: string | undefined } | undefined> {
  const object = await store.readSmallObject(placeCurrentName, limits.currentSizeMax, signal);
  return object && { current: parseCurrent(object.bytes.toString('utf8'), `${store.place}/${placeCurrentName}`), tag: object.tag };
}

/** The manifest of a version. Throws `version_missing`, `manifest_malformed`, or an error of the store. */
export async function readPlaceManifest(store: ObjectStore, id: string, signal?: AbortSignal): Promise<Manifest> {
  const name = placeManifestName(id);
  const what = `${store.place}/${name}`;
  const object = await store.readSmallObject(name, limits.manifestSizeMax, signal);
  if (!object) throw new PavostoreError('version_missing', `${what}: no such version there`);
  const manifest = parseManifest(object.bytes.toString('utf8'), what);
  if (manifest.id !== id) throw new PavostoreError('manifest_malformed', `${what}: it is version ${manifest.id}`);
  return manifest;
}

export type FetchOptions = {
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Fetches a slice into the file at `path`, a temporary one of the caller's, and checks its size and SHA-256; synced when it returns. A file that is there is taken for
 * the beginning of the same slice, left by an earlier try. Throws `object_missing`, `object_corrupt` (the file is emptied then), an error of the store, or the system's.
 */
export async function fetchSlice(store: ObjectStore, expected: ManifestSlice, path: string, options: FetchOptions = {}): Promise<void> {
  await using file = await open(path, 'a+');
  const { size } = await file.stat();
  if (size > 0 && (await fetchRest(store, expected, file, Math.min(size, expected.bytes), options)) === expected.sha256)
    return await file.sync();
  await file.truncate(0);
  const sha256 = await fetchRest(store, expected, file, 0, options);
  if (sha256 === expected.sha256) return await file.sync();
  await file.truncate(0);
  throw new PavostoreError('object_corrupt', `${store.place}/${placeSliceName(expected.sha256)}: its SHA-256 is ${sha256}`);
}

/** Appends all from `size` on; returns the SHA-256 of the whole. */
async function fetchRest(
  store: ObjectStore,
  expected: ManifestSlice,
  file: FileHandle,
  size: number,
  { onBytes, signal }: FetchOptions,
): Promise<string> {
  await file.truncate(size);
  const digest = createHash('sha256');
  for (let at = 0; at < size; ) {
    const chunk = Buffer.allocUnsafe(Math.min(limits.storePieceSize, size - at));
    await readFully(file, chunk, at, 'a slice that was begun');
    digest.update(chunk);
    at += chunk.length;
  }
  onBytes?.(size);
  if (size < expected.bytes) {
    for await (const chunk of await openPlaceSlice(store, expected, size, signal)) {
      digest.update(chunk);
      await file.appendFile(chunk);
      onBytes?.(chunk.length);
    }
  }
  return digest.digest('hex');
}

/** Reads a slice in the place to its end. Throws `object_missing`, `object_corrupt`, or an error of the store. */
export async function verifyPlaceSlice(store: ObjectStore, expected: ManifestSlice, options: FetchOptions = {}): Promise<void> {
  const digest = createHash('sha256');
  for await (const chunk of await openPlaceSlice(store, expected, 0, options.signal)) {
    digest.update(chunk);
    options.onBytes?.(chunk.length);
  }
  const sha256 = digest.digest('hex');
  if (sha256 !== expected.sha256)
    throw new PavostoreError('object_corrupt', `${store.place}/${placeSliceName(expected.sha256)}: its SHA-256 is ${sha256}`);
}

/** The bytes of a slice from `from` on, unchecked but for their number. Throws `object_missing`, `object_corrupt`, or an error of the store. */
export async function openPlaceSlice(
  store: ObjectStore,
  expected: ManifestSlice,
  from: number,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Buffer>> {
  const name = placeSliceName(expected.sha256);
  const object = await store.readObject(name, { from, signal });
  if (!object) throw new PavostoreError('object_missing', `${store.place}/${name}: there is no such slice`);
  if (object.size !== expected.bytes) {
    // The socket is given back.
    for await (const _ of object.chunks) break;
    throw new PavostoreError('object_corrupt', `${store.place}/${name}: ${object.size} bytes, the manifest says ${expected.bytes}`);
  }
  return object.chunks;
}
