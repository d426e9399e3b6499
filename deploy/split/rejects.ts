// The rejects file: the lines that are no records, whole and in the order of the input, each ended by a newline. They come from a
// spill file as the records do, block by block, so that it does not matter how many they are.

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, rmSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { rethrowWrite, writeError } from '../../shared/write-error.ts';
import { writeFully } from '../publish/disk.ts';
import { newline } from './line-rules.ts';
import { listBlocks, readBlock, rejectsIndex, type SpillFolder, spillBlockHeaderSize, withSpill } from './spill.ts';

/** Replaces the file at `path` by the rejected lines, perhaps none. Throws `disk_short`, `data_unwritable`, `spill_malformed`. */
export async function writeRejects(path: string, folders: readonly SpillFolder[]): Promise<void> {
  const temporaryPath = `${path}.tmp-${randomBytes(6).toString('hex')}`;
  try {
    copyRejects(temporaryPath, folders);
    await rename(temporaryPath, path).catch(rethrowWrite(path));
  } finally {
    rmSync(temporaryPath, { force: true });
  }
}

function copyRejects(path: string, folders: readonly SpillFolder[]): void {
  const fd = openFile(path);
  try {
    let position = 0;
    let lastByte = newline;
    for (const { bytes, startsLine } of rejectsIn(folders)) {
      // A piece of a long line that a file ended without a newline: the next line must not be joined to it.
      let start = spillBlockHeaderSize;
      if (startsLine && lastByte !== newline) bytes[--start] = newline;
      lastByte = bytes.at(-1)!;
      writeFully(fd, bytes, { start, end: bytes.length, position }, path);
      position += bytes.length - start;
    }
    if (lastByte !== newline) writeFully(fd, Buffer.from([newline]), { start: 0, end: 1, position }, path);
  } finally {
    closeSync(fd);
  }
}

/** The rejected lines block by block, each with the room of its header before it. */
function* rejectsIn(folders: readonly SpillFolder[]): Generator<{ bytes: Buffer; startsLine: boolean }> {
  for (const folder of folders) {
    for (const block of withSpill(folder, rejectsIndex, (targets) => listBlocks(targets, rejectsIndex))) {
      const bytes = Buffer.allocUnsafe(spillBlockHeaderSize + block.length);
      withSpill(folder, rejectsIndex, (targets) => readBlock(targets, rejectsIndex, block, bytes, 0));
      yield { bytes, startsLine: block.recordCount > 0 };
    }
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, 'wx');
  } catch (error) {
    throw writeError(error, path);
  }
}
