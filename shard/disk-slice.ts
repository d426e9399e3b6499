// A slice that stays on disk: its directory and its bucket CRCs are in memory, its records are read a bucket at a time. The whole
// file was verified before; each bucket is verified again whenever it is read, since a disk can change its mind.

import assert from 'node:assert/strict';
import { closeSync, constants, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { PavostoreError } from '../shared/errors.ts';
import { bitsOf } from '../shared/key-hash.ts';
import type { Slice, SliceHeader } from '../shared/slice-layout.ts';

const readAt = promisify(read);

export type DiskSlice = {
  readonly header: SliceHeader;
  /** Where each bucket starts in the records, and where the last one ends. */
  readonly directory: Uint32Array;
  readonly bucketCrcs: Uint32Array;
  readonly sliceBits: number;
  readonly bucketBits: number;
  readonly path: string;
  /** Open for reading, owned by the slice. */
  readonly fd: number;
  /** Who is just reading the file: it stays open for them. */
  readers: number;
  isClosed: boolean;
};

/** Bytes that a slice on disk keeps in memory. */
export function indexSizeOf(bucketCount: number): number {
  return 4 * (bucketCount + 1) + 4 * bucketCount;
}

/** The directory and the CRCs of a verified slice, copied out of it into one buffer that can be transferred. */
export function copyIndex({ bytes, header }: Slice): ArrayBuffer {
  const { offset, length } = header.directory;
  return new Uint8Array(bytes.subarray(offset, offset + length + header.bucketCrcs.length)).buffer;
}

/** Opens the file of a slice whose `index` came from `copyIndex`. Throws the system's error. */
export function openDiskSlice(path: string, header: SliceHeader, index: ArrayBuffer): DiskSlice {
  const { bucketCount, sliceCount } = header;
  return {
    header,
    directory: new Uint32Array(index, 0, bucketCount + 1),
    bucketCrcs: new Uint32Array(index, 4 * (bucketCount + 1), bucketCount),
    sliceBits: bitsOf(sliceCount),
    bucketBits: bitsOf(bucketCount),
    path,
    fd: openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW),
    readers: 0,
    isClosed: false,
  };
}

/** Closes the file as soon as nobody reads it. */
export function closeDiskSlice(slice: DiskSlice): void {
  assert(!slice.isClosed, 'a slice is closed once');
  slice.isClosed = true;
  if (slice.readers === 0) closeSync(slice.fd);
}

/** The file stays open until `endReading`, whatever becomes of the slice. */
export function beginReading(slice: DiskSlice): void {
  slice.readers++;
}

export function endReading(slice: DiskSlice): void {
  slice.readers--;
  if (slice.readers === 0 && slice.isClosed) closeSync(slice.fd);
}

/**
 * The first `size` bytes of a file that is open, in pieces; throws `slice_malformed` when it ends before. With `scratch` each piece lies in it, and is true
 * until the next one.
 */
export async function* piecesOfOpenFile(fd: number, size: number, pieceSize: number, scratch?: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    const length = Math.min(pieceSize, size - at);
    const { bytesRead, buffer } = await readAt(fd, { buffer: scratch ?? Buffer.allocUnsafe(length), length, position: at });
    if (bytesRead === 0) throw new PavostoreError('slice_malformed', `the open file ends at ${at} of ${size} bytes`);
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}
