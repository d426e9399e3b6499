// Files of the data set that a serving process, or a repair, puts in place: written in a temporary folder of DATA (temporary-folder.ts), synced, renamed, and
// the folders synced that got a new name. Nothing that is there is ever written in place.

import { createHash, randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PavostoreError } from './errors.ts';
import { rethrowWrite, writeError } from './write-error.ts';

/**
 * Puts `bytes`, in pieces, at `path` by way of `folder`, when their SHA-256 is `sha256` and they are `size` bytes; else throws `slice_malformed`. Throws
 * `data_unwritable` or `disk_short` when the disk fails, and errors of the pieces as they are. No piece is asked for before there is a file for it.
 */
export async function placeFile(
  folder: string,
  path: string,
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  expected: { readonly size: number; readonly sha256: string },
): Promise<void> {
  const temporaryPath = join(folder, randomBytes(8).toString('hex'));
  try {
    const file = await open(temporaryPath, 'wx').catch(rethrowWrite(temporaryPath));
    try {
      for await (const piece of checkedPieces(pieces, expected, path)) await file.writeFile(piece).catch(rethrowWrite(temporaryPath));
      await file.sync().catch(rethrowWrite(temporaryPath));
    } finally {
      await file.close().catch(rethrowWrite(temporaryPath));
    }
    await moveIntoPlace(temporaryPath, path).catch(rethrowWrite(path));
  } finally {
    await rm(temporaryPath, { force: true }).catch(() => {});
  }
}

/** Puts a small text at `path`. */
export async function placeText(folder: string, path: string, text: string): Promise<void> {
  const temporaryPath = join(folder, randomBytes(8).toString('hex'));
  const file = await open(temporaryPath, 'wx').catch(rethrowWrite(temporaryPath));
  try {
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    throw writeError(error, path);
  } finally {
    await file.close().catch(rethrowWrite(path));
  }
  await moveIntoPlace(temporaryPath, path).catch(rethrowWrite(path));
}

/** The pieces as they come; throws `slice_malformed` when they are more than `size` bytes, or at the end when they are not the ones expected. */
export async function* checkedPieces(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  { size, sha256 }: { readonly size: number; readonly sha256: string },
  what: string,
): AsyncGenerator<Buffer> {
  const refuse = (reason: string): PavostoreError => new PavostoreError('slice_malformed', `${what}: ${reason}`);
  const digest = createHash('sha256');
  let sizeSoFar = 0;
  for await (const piece of pieces) {
    sizeSoFar += piece.length;
    if (sizeSoFar > size) throw refuse(`more than the ${size} bytes that the manifest says`);
    digest.update(piece);
    yield piece;
  }
  if (sizeSoFar !== size) throw refuse(`${sizeSoFar} bytes, the manifest says ${size}`);
  const computed = digest.digest('hex');
  if (computed !== sha256) throw refuse(`SHA-256 is ${computed}, the manifest says ${sha256}`);
}

/** Renames a synced file to where it belongs; its folders are made as needed, and all that got a new name is synced. */
async function moveIntoPlace(temporaryPath: string, path: string): Promise<void> {
  const folder = dirname(path);
  const madeFirst = await mkdir(folder, { recursive: true });
  await rename(temporaryPath, path);
  await syncFolder(folder);
  if (madeFirst === undefined) return;
  for (let made = folder; made.length >= madeFirst.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Gives a synced file a second name, and syncs that; false when the name is taken. */
export async function linkUnlessThere(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  await syncFolder(dirname(to));
  return true;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** What makes it seen that a file was replaced or written to; undefined when there is none. */
export async function fingerprintOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino, size, mtimeMs } = await stat(path);
    return `${dev}-${ino}-${size}-${mtimeMs}`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** The text of a small file; undefined when it cannot be read. */
export async function readTextIfThere(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(() => undefined);
}
