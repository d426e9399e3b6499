// The data set on disk: where its files lie, and how `current`, a manifest and a slice are read from it.
//
//     DATA/current                        which version is published, one line
//     DATA/publications.json              what publishers did, and what the guards said of it
//     DATA/versions/ID/manifest.json
//     DATA/versions/ID/slices/0000.slice  one for each index, at least four digits
//     DATA/versions/ID/fetched            only where a shard has fetched the version into a cache: see shard/cached-versions.ts
//
// Only deploy/ writes it, and never in place: see deploy/publish/. A file that is a link is not opened; the folders above
// it may be links, since what is read is checked by its digest.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';
import { isVersionId, type Manifest, type ManifestSlice, parseManifest } from './manifest.ts';
import { noPublications, type Publications, parsePublications } from './publications.ts';
import { readSlice, type Slice, sliceHeaderSize } from './slice-layout.ts';

export const fetchedMarkName = 'fetched';

/** What `current` says. A greater sequence is newer, whatever the ids are. */
export type Current = { readonly sequence: number; readonly id: string; readonly previousId: string | undefined };

export function currentPath(dataDir: string): string {
  return join(dataDir, 'current');
}

export function publicationsPath(dataDir: string): string {
  return join(dataDir, 'publications.json');
}

export function versionsPath(dataDir: string): string {
  return join(dataDir, 'versions');
}

export function versionPath(dataDir: string, id: string): string {
  return join(versionsPath(dataDir), id);
}

export function manifestPath(versionDir: string): string {
  return join(versionDir, 'manifest.json');
}

/** Is there where a shard brought the version from elsewhere; never where somebody published it. */
export function fetchedMarkPath(versionDir: string): string {
  return join(versionDir, fetchedMarkName);
}

export function slicesPath(versionDir: string): string {
  return join(versionDir, 'slices');
}

export function slicePath(versionDir: string, sliceIndex: number): string {
  return join(slicesPath(versionDir), sliceName(sliceIndex));
}

export function sliceName(sliceIndex: number): string {
  return `${String(sliceIndex).padStart(4, '0')}.slice`;
}

/** `pavostore-current 1 SEQUENCE ID PREVIOUS-ID-OR-DASH CRC32\n`; the CRC-32 is of all before the space that precedes it. */
export function formatCurrent(current: Current): string {
  const body = `pavostore-current 1 ${current.sequence} ${current.id} ${current.previousId ?? '-'}`;
  return `${body} ${crc32(body).toString(16).padStart(8, '0')}\n`;
}

/** Throws `current_malformed`. */
export function parseCurrent(text: string, what: string): Current {
  const refuse = (reason: string): PavostoreError => new PavostoreError('current_malformed', `${what}: ${reason}`);
  const parts = /^(pavostore-current (\d+) (\d{1,16}) ([0-9a-f]{32}) (-|[0-9a-f]{32})) ([0-9a-f]{8})\n$/.exec(text);
  if (!parts) throw refuse(`not one line "pavostore-current 1 SEQUENCE ID PREVIOUS CRC32": ${JSON.stringify(text.slice(0, 120))}`);
  const [, body, format, sequence, id, previousId, crcRead] = parts as unknown as [string, string, string, string, string, string, string];
  const crc = crc32(body).toString(16).padStart(8, '0');
  if (crc !== crcRead) throw refuse(`CRC ${crcRead}, computed ${crc}`);
  if (format !== '1') throw refuse(`format ${format}; this Pavostore reads format 1`);
  if (!Number.isSafeInteger(Number(sequence))) throw refuse(`sequence ${sequence}, at most ${Number.MAX_SAFE_INTEGER}`);
  return { sequence: Number(sequence), id, previousId: previousId === '-' ? undefined : previousId };
}

/** What is published in `dataDir`; undefined when nothing is yet. Throws `current_malformed` or the system's error. */
export async function readCurrent(dataDir: string): Promise<Current | undefined> {
  const path = currentPath(dataDir);
  const text = await readSmallFile(path, limits.currentSizeMax, 'current_malformed');
  return text === undefined ? undefined : parseCurrent(text, path);
}

/** What publishers did in `dataDir`: nothing, where none has said so. Throws `publications_malformed`. */
export async function readPublications(dataDir: string): Promise<Publications> {
  const path = publicationsPath(dataDir);
  const text = await readSmallFile(path, limits.publicationsSizeMax, 'publications_malformed');
  return text === undefined ? noPublications : parsePublications(text, path);
}

/** The manifest of a version in `dataDir`. Throws `version_missing` or `manifest_malformed`. */
export async function readManifest(dataDir: string, id: unknown): Promise<Manifest> {
  if (!isVersionId(id))
    throw new PavostoreError('version_missing', `${JSON.stringify(String(id).slice(0, 80))} is not a version id: 32 hex digits`);
  const manifest = await readManifestAt(versionPath(dataDir, id));
  if (manifest.id !== id) throw new PavostoreError('manifest_malformed', `${versionPath(dataDir, id)}: holds version ${manifest.id}`);
  return manifest;
}

/** The manifest in a version's folder, wherever that lies. */
export async function readManifestAt(versionDir: string): Promise<Manifest> {
  const path = manifestPath(versionDir);
  const text = await readSmallFile(path, limits.manifestSizeMax, 'manifest_malformed');
  if (text === undefined) throw new PavostoreError('version_missing', `${path}: no such file`);
  return parseManifest(text, path);
}

/**
 * Where a slice's bytes lie. `own`: in an ArrayBuffer, which V8 gives back soon after its last use, and for which it collects garbage again
 * and again, one time for some 64 MiB. `shared`: in a SharedArrayBuffer, which other threads see and no collection is made for: half of
 * what loading would take, but whoever drops it must ask for a collection to have the memory back. A buffer: in that, when it is large enough, else
 * in one of its own; the next slice that is read into it takes its place.
 */
export type SliceMemory = 'own' | 'shared' | Buffer;

/** Reads a whole slice into memory and checks it against `expected` and itself. Throws `slice_malformed` or the system's error. */
export async function loadSlice(
  path: string,
  sliceIndex: number,
  sliceCount: number,
  expected: ManifestSlice,
  memory: SliceMemory = 'own',
): Promise<Slice> {
  const bytes = await readSliceFile(path, expected, memory);
  const headerSha256 = createHash('sha256')
    .update(Buffer.from(bytes.subarray(0, sliceHeaderSize)))
    .digest('hex');
  if (headerSha256 !== expected.headerSha256) {
    throw new PavostoreError(
      'slice_malformed',
      `${path}: SHA-256 of its header is ${headerSha256}, the manifest says ${expected.headerSha256}`,
    );
  }
  const slice = readSlice(bytes, path);
  const { header } = slice;
  if (header.sliceIndex !== sliceIndex || header.sliceCount !== sliceCount || header.entryCount !== expected.entries) {
    throw new PavostoreError(
      'slice_malformed',
      `${path}: slice ${header.sliceIndex} of ${header.sliceCount} with ${header.entryCount} entries; ` +
        `the manifest says ${sliceIndex} of ${sliceCount} with ${expected.entries}`,
    );
  }
  return slice;
}

async function readSliceFile(path: string, expected: ManifestSlice, memory: SliceMemory): Promise<Buffer> {
  const file = await openFile(path);
  try {
    const { size } = await file.stat();
    if (size !== expected.bytes) throw new PavostoreError('slice_malformed', `${path}: ${size} bytes, the manifest says ${expected.bytes}`);
    const bytes = allocate(size, memory);
    await readFully(file, bytes, 0, path);
    return bytes;
  } finally {
    await file.close();
  }
}

function allocate(size: number, memory: SliceMemory): Buffer {
  if (memory === 'shared') return Buffer.from(new SharedArrayBuffer(size));
  return memory !== 'own' && memory.length >= size ? memory.subarray(0, size) : Buffer.allocUnsafeSlow(size);
}

/** Opens a file for reading, never through a link at its end. */
export async function openFile(path: string): Promise<FileHandle> {
  return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
}

/** Fills `bytes` from `position` in the file, in reads of at most 64 MiB. Throws `slice_malformed` when the file ends before. */
export async function readFully(file: FileHandle, bytes: Buffer, position: number, what: string): Promise<void> {
  const readSizeMax = 64 * 1024 * 1024;
  let at = 0;
  while (at < bytes.length) {
    const { bytesRead } = await file.read(bytes, at, Math.min(readSizeMax, bytes.length - at), position + at);
    if (bytesRead === 0)
      throw new PavostoreError('slice_malformed', `${what}: ends at ${position + at}, expected ${position + bytes.length}`);
    at += bytesRead;
  }
}

type SmallFileFault = 'current_malformed' | 'publications_malformed' | 'manifest_malformed';

async function readSmallFile(path: string, sizeMax: number, code: SmallFileFault): Promise<string | undefined> {
  let file: FileHandle;
  try {
    file = await openFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new PavostoreError(code, `${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    const { size } = await file.stat();
    if (size > sizeMax) throw new PavostoreError(code, `${path}: ${size} bytes, at most ${sizeMax}`);
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof PavostoreError) throw error;
    throw new PavostoreError(code, `${path}: ${(error as Error).message}`, { cause: error });
  } finally {
    await file.close();
  }
}
