// The manifest: the JSON file that names a version's slices. Its `identity` is what the version *is*; the
// version id is the hash of that block alone, so the same records cut into the same number of slices give the
// same id, whenever, wherever and from whatever file they were split. All else in it is for people.
//
// A manifest is untrusted input: every field is checked here before anyone uses it.

import { createHash } from 'node:crypto';
import { PavostoreError } from './errors.ts';
import { isPowerOfTwo, keyHashName } from './key-hash.ts';
import { limits } from './limits.ts';
import { sliceFormat } from './slice-layout.ts';

/** One slice: entries, size of the file in bytes, SHA-256 of its header and of the whole file in hex. */
export type ManifestSlice = { readonly entries: number; readonly bytes: number; readonly headerSha256: string; readonly sha256: string };

export type Identity = {
  readonly format: number;
  readonly hash: string;
  readonly sliceCount: number;
  readonly slices: readonly ManifestSlice[];
};

export type SourceFile = { readonly path: string; readonly size: number; readonly mtimeMs: number };

/** What was split and how: `serve` compares it to know whether to split again. */
export type Source = { readonly files: readonly SourceFile[]; readonly options: Readonly<Record<string, string | number | boolean>> };

export type Totals = {
  readonly entries: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly sliceBytes: number;
  readonly lines: number;
  readonly duplicates: number;
  readonly rejectedLines: number;
  readonly blankLines: number;
};

export type Manifest = {
  readonly id: string;
  readonly identity: Identity;
  readonly totals: Totals;
  readonly source: Source;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
};

/** 32 lower-case hex digits. */
export function isVersionId(text: unknown): text is string {
  return typeof text === 'string' && /^[0-9a-f]{32}$/.test(text);
}

/** The first 32 hex digits of SHA-256 over the canonical form of the identity: fields in this order, no white space. */
export function versionIdOf(identity: Identity): string {
  const canonical = JSON.stringify({
    format: identity.format,
    hash: identity.hash,
    sliceCount: identity.sliceCount,
    slices: identity.slices.map(({ entries, bytes, headerSha256, sha256 }) => ({ entries, bytes, headerSha256, sha256 })),
  });
  return createHash('sha256').update(canonical).digest('hex').slice(0, 32);
}

/** The records of all slices. Unlike the totals it is part of what the version is. */
export function entryCountOf({ slices }: Identity): number {
  return slices.reduce((sum, { entries }) => sum + entries, 0);
}

/** The manifest file's text. */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 1)}\n`;
}

/** Reads and checks a manifest; `what` names the file in messages. Throws `manifest_malformed`. */
export function parseManifest(text: string, what: string): Manifest {
  const refuse = (reason: string): PavostoreError => new PavostoreError('manifest_malformed', `${what}: ${reason}`);
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (cause) {
    throw new PavostoreError('manifest_malformed', `${what}: not JSON (${(cause as Error).message})`, { cause });
  }
  if (!isRecord(read) || !isRecord(read.identity)) throw refuse('no object with an identity');
  const { identity, id, totals, source, createdAt } = read;
  if (identity.format !== sliceFormat) throw refuse(`slice format ${show(identity.format)}; this Pavostore reads format ${sliceFormat}`);
  if (identity.hash !== keyHashName) throw refuse(`key hash ${show(identity.hash)}, not ${keyHashName}`);
  const sliceCount = identity.sliceCount;
  if (typeof sliceCount !== 'number' || !isPowerOfTwo(sliceCount) || sliceCount > limits.sliceCountMax) {
    throw refuse(`slice count ${show(sliceCount)} is not a power of two up to ${limits.sliceCountMax}`);
  }
  if (!Array.isArray(identity.slices) || identity.slices.length !== sliceCount) {
    throw refuse(`${Array.isArray(identity.slices) ? identity.slices.length : 'no'} slices listed of ${sliceCount}`);
  }
  const slices = identity.slices.map((slice: unknown, index): ManifestSlice => {
    if (!isRecord(slice)) throw refuse(`slice ${index}: not an object`);
    const { entries, bytes, headerSha256, sha256 } = slice;
    if (!isCount(entries, 2 ** 32 - 1)) throw refuse(`slice ${index}: entries ${show(entries)}`);
    if (!isCount(bytes, limits.sliceSizeMax)) throw refuse(`slice ${index}: ${show(bytes)} bytes, at most ${limits.sliceSizeMax}`);
    if (!isSha256(headerSha256) || !isSha256(sha256)) throw refuse(`slice ${index}: a digest is not 64 hex digits`);
    return { entries, bytes, headerSha256, sha256 };
  });
  const checked: Identity = { format: sliceFormat, hash: keyHashName, sliceCount, slices };
  const idComputed = versionIdOf(checked);
  if (id !== idComputed) throw refuse(`version id ${show(id)}, but its slices make ${idComputed}`);
  return {
    id: idComputed,
    identity: checked,
    totals: parseTotals(totals, refuse),
    source: parseSource(source, refuse),
    createdAt: typeof createdAt === 'string' ? createdAt : '',
  };
}

function parseTotals(read: unknown, refuse: (reason: string) => PavostoreError): Totals {
  if (!isRecord(read)) throw refuse('no totals');
  const count = (name: keyof Totals): number => {
    const value = read[name];
    if (!isCount(value, Number.MAX_SAFE_INTEGER)) throw refuse(`totals: ${name} ${show(value)}`);
    return value;
  };
  return {
    entries: count('entries'),
    keyBytes: count('keyBytes'),
    valueBytes: count('valueBytes'),
    sliceBytes: count('sliceBytes'),
    lines: count('lines'),
    duplicates: count('duplicates'),
    rejectedLines: count('rejectedLines'),
    blankLines: count('blankLines'),
  };
}

function parseSource(read: unknown, refuse: (reason: string) => PavostoreError): Source {
  if (!isRecord(read) || !Array.isArray(read.files) || !isRecord(read.options)) throw refuse('no source');
  const files = read.files.map((file: unknown): SourceFile => {
    if (!isRecord(file) || typeof file.path !== 'string' || typeof file.size !== 'number' || typeof file.mtimeMs !== 'number') {
      throw refuse('a source file has no path, size and mtimeMs');
    }
    return { path: file.path, size: file.size, mtimeMs: file.mtimeMs };
  });
  const options: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(read.options)) {
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') throw refuse(`source option ${name}`);
    options[name] = value;
  }
  return { files, options };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max;
}

function isSha256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

/** A value as a message shows it: JSON, cut. */
function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 80);
}
