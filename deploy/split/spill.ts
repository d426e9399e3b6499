// Spill files: what the first pass hands to the second. One file for each value of the hash's top 8 bits, and one
// more for rejected lines. All workers append to all files, in blocks; who reserved which place is decided by one atomic
// addition, so no file has an owner and none is locked.
//
//     block   0  u32 magic "PSPL"
//             4  u32 chunk ordinal       blocks are read back in the order (chunk ordinal, sequence),
//             8  u32 sequence in chunk   which is the order of the input
//            12  u32 payload length in bytes
//            16  u32 record count
//            20  u32 CRC-32 of bytes 0 to 19 and the payload
//            24  payload
//
//     payload: for each record  u32 key hash | u32 line in its chunk, only if duplicates are errors | record as in a slice file
//              in the file of the rejects  the lines, each with a newline
//
// Little endian. The files live for one split, on one machine or in a folder that several share; the CRC is against disks, not against people.

import { close, closeSync, fstatSync, fsync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { recordSizeOf } from '../../shared/slice-layout.ts';
import { writeError } from '../../shared/write-error.ts';
import { writeFully } from '../publish/disk.ts';

export const spillBlockHeaderSize = 24;
/** How many spill files hold records: their index is the top bits of the hash. */
export const spillCount = 2 ** limits.spillBits;
/** The index of the file of rejected lines. */
export const rejectsIndex = spillCount;

const magic = 0x4c505350;
const crcAt = 20;
/** Of a record with the bytes before it, at least. */
const recordSizeMin = spillPrefixSize(false) + recordSizeOf(0, 0);

/** Where each file is open and ends: shared by all threads. */
export type SpillTargets = { readonly folder: string; readonly fds: readonly number[]; readonly sizes: BigInt64Array };

/** What a first pass left, to be read. `chunkOrdinalFrom`: what the ordinals of its chunks count from, where it was one of several. */
export type SpillFolder = { readonly folder: string; readonly sizes: BigInt64Array; readonly chunkOrdinalFrom: number };

/** A block as its header describes it; `position` is that of its payload in the file. */
export type SpillBlock = {
  readonly chunkOrdinal: number;
  readonly sequence: number;
  readonly position: number;
  readonly length: number;
  readonly recordCount: number;
};

/** Owns the spill files, from their creation in `folder` to `close`. */
export class SpillFiles {
  readonly targets: SpillTargets;
  readonly #open: Set<number>;

  constructor(folder: string) {
    const indexes = Array.from({ length: spillCount + 1 }, (_, index) => index);
    const sizes = new BigInt64Array(new SharedArrayBuffer(8 * indexes.length));
    const fds: number[] = [];
    this.targets = { folder, fds, sizes };
    this.#open = new Set();
    for (const index of indexes) {
      const path = spillPath(folder, index);
      try {
        fds.push(openSync(path, 'wx+'));
      } catch (error) {
        this.close();
        throw writeError(error, path);
      }
      this.#open.add(index);
    }
  }

  sizeOf(index: number): number {
    return Number(Atomics.load(this.targets.sizes, index));
  }

  /**
   * Gives the file's room on the disk back. No thread may use it any more. Freeing a large file takes the system milliseconds, so it
   * happens in the thread pool; whatever becomes of it, the folder goes with all that is in it.
   */
  remove(index: number): void {
    if (!this.#open.delete(index)) return;
    rmSync(spillPath(this.targets.folder, index), { force: true });
    close(this.targets.fds[index]!);
  }

  /** Leaves the files to whoever reads them later. Returns when they are on the disk. No thread may use them any more. */
  async keep(): Promise<void> {
    for (const index of this.#open) {
      const fd = this.targets.fds[index]!;
      await promisify(fsync)(fd).catch((error: unknown) => {
        throw writeError(error, spillPath(this.targets.folder, index));
      });
      this.#open.delete(index);
      closeSync(fd);
    }
  }

  close(): void {
    for (const index of this.#open) this.remove(index);
  }
}

export function spillPath(folder: string, index: number): string {
  return join(folder, index === rejectsIndex ? 'rejects.spill' : `${String(index).padStart(3, '0')}.spill`);
}

/** Runs `act` with one file of a folder open for reading. Throws `spill_malformed` when it is not there. */
export function withSpill<T>({ folder, sizes }: SpillFolder, index: number, act: (targets: SpillTargets) => T): T {
  const path = spillPath(folder, index);
  const fds: number[] = [];
  try {
    fds[index] = openSync(path, 'r');
  } catch (error) {
    throw malformed(path, (error as Error).message);
  }
  try {
    return act({ folder, fds, sizes });
  } finally {
    closeSync(fds[index]!);
  }
}

/** How many bytes stand before a record in a block. */
export function spillPrefixSize(withLines: boolean): number {
  return withLines ? 8 : 4;
}

/**
 * Appends the block in `bytes` from `start` to `end` to a file: `spillBlockHeaderSize` free bytes, which are filled in here,
 * then the payload. Throws `disk_short`, `data_unwritable`.
 */
export function appendBlock(
  targets: SpillTargets,
  index: number,
  bytes: Buffer,
  block: { start: number; end: number; chunkOrdinal: number; sequence: number; recordCount: number },
): void {
  const { start, end } = block;
  bytes.writeUInt32LE(magic, start);
  bytes.writeUInt32LE(block.chunkOrdinal, start + 4);
  bytes.writeUInt32LE(block.sequence, start + 8);
  bytes.writeUInt32LE(end - start - spillBlockHeaderSize, start + 12);
  bytes.writeUInt32LE(block.recordCount, start + 16);
  bytes.writeUInt32LE(crcOf(bytes, start, end), start + crcAt);
  const position = Number(Atomics.add(targets.sizes, index, BigInt(end - start)));
  writeFully(targets.fds[index]!, bytes, { start, end, position }, spillPath(targets.folder, index));
}

/** The blocks of a file in the order of the input. Throws `spill_malformed`. */
export function listBlocks(targets: SpillTargets, index: number): SpillBlock[] {
  const path = spillPath(targets.folder, index);
  const fd = targets.fds[index]!;
  const fileSize = Number(Atomics.load(targets.sizes, index));
  const fileSizeRead = fstatSync(fd).size;
  if (fileSizeRead !== fileSize) throw malformed(path, `${fileSizeRead} bytes, ${fileSize} were written`);
  const header = Buffer.alloc(spillBlockHeaderSize);
  const blocks: SpillBlock[] = [];
  for (let at = 0; at < fileSize; ) {
    readExactly(fd, header, 0, header.length, at, path);
    const length = header.readUInt32LE(12);
    const position = at + spillBlockHeaderSize;
    if (header.readUInt32LE(0) !== magic || position + length > fileSize) throw malformed(path, `no block at ${at}`);
    const recordCount = header.readUInt32LE(16);
    // Room is made for so many records before the block is read, and its CRC looked at.
    if (index !== rejectsIndex && recordCount * recordSizeMin > length)
      throw malformed(path, `the block at ${position} says that ${recordCount} records are in its ${length} bytes`);
    blocks.push({ chunkOrdinal: header.readUInt32LE(4), sequence: header.readUInt32LE(8), position, length, recordCount });
    at = position + length;
  }
  return blocks.sort((a, b) => a.chunkOrdinal - b.chunkOrdinal || a.sequence - b.sequence);
}

/** Reads a block with its header to `at` in `bytes`; its payload is then at `at + spillBlockHeaderSize`. Throws `spill_malformed`. */
export function readBlock(targets: SpillTargets, index: number, block: SpillBlock, bytes: Buffer, at: number): void {
  const path = spillPath(targets.folder, index);
  const size = spillBlockHeaderSize + block.length;
  readExactly(targets.fds[index]!, bytes, at, size, block.position - spillBlockHeaderSize, path);
  const crcRead = bytes.readUInt32LE(at + crcAt);
  const crc = crcOf(bytes, at, at + size);
  if (crc !== crcRead) throw malformed(path, `the block at ${block.position} has CRC ${crcRead}, computed ${crc}`);
}

function crcOf(bytes: Buffer, start: number, end: number): number {
  return crc32(bytes.subarray(start + spillBlockHeaderSize, end), crc32(bytes.subarray(start, start + crcAt)));
}

function readExactly(fd: number, bytes: Buffer, at: number, size: number, position: number, path: string): void {
  let done = 0;
  while (done < size) {
    const count = readSync(fd, bytes, at + done, size - done, position + done);
    if (count === 0) throw malformed(path, `ends at ${position + done}, expected ${position + size}`);
    done += count;
  }
}

function malformed(path: string, reason: string): PavostoreError {
  return new PavostoreError('spill_malformed', `${path}: ${reason}`);
}
