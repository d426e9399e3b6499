// Small data sets for tests, made in memory from a plain Map: what the split does from text, without the text.

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { currentPath, formatCurrent, manifestPath, slicePath, slicesPath, versionPath } from '../shared/data-set.ts';
import { bitsOf, keyHash32, keyHashName, type SliceIndex, sliceIndexOf } from '../shared/key-hash.ts';
import { formatManifest, type Manifest, type ManifestSlice, versionIdOf } from '../shared/manifest.ts';
import { encodeSlice, recordSizeOf, sliceFormat, sliceHeaderSize, writeRecordHead } from '../shared/slice-layout.ts';

/** Keys as latin1 strings, one character a byte, as they travel in the router. */
export type Records = ReadonlyMap<string, Buffer>;

type HashedRecord = { readonly hash: number; readonly key: Buffer; readonly value: Buffer };

/** The slice files of all records, and the manifest that names them. */
export function encodeRecords(records: Records, sliceCount: number): { readonly manifest: Manifest; readonly files: readonly Buffer[] } {
  const bySlice: HashedRecord[][] = Array.from({ length: sliceCount }, () => []);
  for (const [text, value] of records) {
    const key = Buffer.from(text, 'latin1');
    const hash = keyHash32(key);
    bySlice[sliceIndexOf(hash, bitsOf(sliceCount))]!.push({ hash, key, value });
  }
  const files = bySlice.map((slice, i) => encodeOne(slice, i as SliceIndex, sliceCount));
  const slices = files.map((file, i) => describe(file, bySlice[i]!.length));
  const identity = { format: sliceFormat, hash: keyHashName, sliceCount, slices };
  const sum = (sizeOf: (key: string, value: Buffer) => number): number =>
    [...records].reduce((total, record) => total + sizeOf(...record), 0);
  const totals = {
    entries: records.size,
    keyBytes: sum((key) => key.length),
    valueBytes: sum((_key, value) => value.length),
    sliceBytes: slices.reduce((total, { bytes }) => total + bytes, 0),
    lines: records.size,
    duplicates: 0,
    rejectedLines: 0,
    blankLines: 0,
  };
  const manifest = {
    id: versionIdOf(identity),
    identity,
    totals,
    source: { files: [], options: {} },
    createdAt: '2026-01-01T00:00:00.000Z',
  };
  return { manifest, files };
}

/** Writes all records as a published version below `dataDir`. */
export function publishRecords(dataDir: string, records: Records, options: { sliceCount: number; sequence?: number }): Manifest {
  const { manifest, files } = encodeRecords(records, options.sliceCount);
  const versionDir = versionPath(dataDir, manifest.id);
  mkdirSync(slicesPath(versionDir), { recursive: true });
  for (const [i, file] of files.entries()) writeFileSync(slicePath(versionDir, i), file);
  writeFileSync(manifestPath(versionDir), formatManifest(manifest));
  writeFileSync(currentPath(dataDir), formatCurrent({ sequence: options.sequence ?? 1, id: manifest.id, previousId: undefined }));
  return manifest;
}

function encodeOne(unordered: readonly HashedRecord[], sliceIndex: SliceIndex, sliceCount: number): Buffer {
  const ordered = unordered.toSorted((a, b) => a.hash - b.hash || a.key.compare(b.key));
  const bytes = Buffer.alloc(ordered.reduce((size, { key, value }) => size + recordSizeOf(key.length, value.length), 0));
  const starts = new Uint32Array(ordered.length);
  const ends = new Uint32Array(ordered.length);
  let at = 0;
  for (const [i, { key, value }] of ordered.entries()) {
    starts[i] = at;
    at = writeRecordHead(bytes, at, key.length, value.length);
    at += key.copy(bytes, at);
    at += value.copy(bytes, at);
    ends[i] = at;
  }
  const records = { bytes, hashes: Uint32Array.from(ordered, ({ hash }) => hash), starts, ends };
  return encodeSlice({ sliceIndex, sliceCount, records, from: 0, to: ordered.length });
}

function describe(file: Buffer, entries: number): ManifestSlice {
  return { entries, bytes: file.length, headerSha256: sha256(file.subarray(0, sliceHeaderSize)), sha256: sha256(file) };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
