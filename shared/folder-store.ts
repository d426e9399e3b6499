// A place that is a folder: another disk, or a share. Objects are files; a file is written beside its name, synced, and renamed, so that a crash
// leaves it whole or not there. Names that begin with `.tmp-` are no objects.

import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { openFile } from './data-set.ts';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';
import type { ObjectBody, ObjectHead, ObjectStore, ReadOptions, SmallObject, WriteCondition, WriteFileOptions } from './object-store.ts';
import type { Throttle } from './throttle.ts';

const temporaryPrefix = '.tmp-';

export class FolderStore implements ObjectStore {
  readonly place: string;
  readonly folder: string;
  readonly #throttle: Throttle | undefined;

  constructor(folder: string, throttle: Throttle | undefined) {
    this.place = folder;
    this.folder = folder;
    this.#throttle = throttle;
  }

  async findObject(name: string): Promise<ObjectHead | undefined> {
    const path = this.#pathOf(name);
    const stats = await stat(path).catch(undefinedWhenMissing(path));
    return stats && headOf(stats, path);
  }

  async readObject(name: string, options: ReadOptions = {}): Promise<ObjectBody | undefined> {
    const head = await this.findObject(name);
    return head && { ...head, chunks: this.#chunksOf(this.#pathOf(name), head, options) };
  }

  async *#chunksOf(path: string, { size, tag }: ObjectHead, { from = 0, to = size, signal }: ReadOptions): AsyncGenerator<Buffer> {
    await using file = await openFile(path).catch(rethrow(path));
    if (headOf(await file.stat(), path).tag !== tag)
      throw new PavostoreError('object_corrupt', `${path}: it was replaced while it was read`);
    for (let at = from; at < to; ) {
      signal?.throwIfAborted();
      const wanted = Math.min(limits.storePieceSize, to - at);
      await this.#throttle?.take(wanted, signal);
      const chunk = Buffer.allocUnsafe(wanted);
      const { bytesRead } = await file.read(chunk, 0, wanted, at).catch(rethrow(path));
      if (bytesRead === 0) throw new PavostoreError('object_corrupt', `${path}: ended after ${at} of ${to} bytes`);
      at += bytesRead;
      yield chunk.subarray(0, bytesRead);
    }
  }

  async readSmallObject(name: string, sizeMax: number, signal?: AbortSignal): Promise<SmallObject | undefined> {
    const body = await this.readObject(name, { signal });
    if (!body) return undefined;
    if (body.size > sizeMax) throw new PavostoreError('object_corrupt', `${this.#pathOf(name)}: ${body.size} bytes, at most ${sizeMax}`);
    return { bytes: await buffer(body.chunks), tag: body.tag };
  }

  async writeFile(name: string, path: string, { onStored, signal }: WriteFileOptions = {}): Promise<void> {
    const source = headOf(await stat(path), path);
    await this.#replace(name, async (temporaryPath) => {
      await using target = await open(temporaryPath, 'wx');
      for await (const chunk of this.#chunksOf(path, source, { signal })) {
        await target.writeFile(chunk);
        onStored?.(chunk.length);
      }
      await target.sync();
    });
  }

  async writeSmallObject(name: string, bytes: Buffer, condition?: WriteCondition): Promise<boolean> {
    const path = this.#pathOf(name);
    const tag = condition === 'absent' ? undefined : condition?.tag;
    if (tag !== undefined && (await this.findObject(name))?.tag !== tag) return false;
    return await this.#replace(
      name,
      async (temporaryPath) => {
        await using target = await open(temporaryPath, 'wx');
        await target.writeFile(bytes);
        await target.sync();
      },
      condition === 'absent' ? async (from) => await linkUnlessThere(from, path) : undefined,
    );
  }

  /** Writes a file beside its name by `write`, and moves it there; false when `move` did not. */
  async #replace(
    name: string,
    write: (temporaryPath: string) => Promise<void>,
    move?: (from: string) => Promise<boolean>,
  ): Promise<boolean> {
    const path = this.#pathOf(name);
    const parent = dirname(path);
    const temporaryPath = join(parent, `${temporaryPrefix}${randomBytes(8).toString('hex')}`);
    try {
      const made = await mkdir(parent, { recursive: true });
      if (made !== undefined)
        for (let folder = parent; folder.length >= dirname(made).length; folder = dirname(folder)) await syncFolder(folder);
      await write(temporaryPath);
      const isMoved = move ? await move(temporaryPath) : await rename(temporaryPath, path).then(() => true);
      await syncFolder(parent);
      return isMoved;
    } catch (error) {
      return rethrow(path)(error);
    } finally {
      await rm(temporaryPath, { force: true }).catch(() => {});
    }
  }

  async *listObjects(prefix: string): AsyncGenerator<{ name: string; size: number }> {
    const slash = prefix.lastIndexOf('/') + 1;
    yield* this.#listFolder(prefix.slice(0, slash), prefix);
  }

  async *#listFolder(folderName: string, prefix: string): AsyncGenerator<{ name: string; size: number }> {
    const path = join(this.folder, folderName);
    const entries = (await readdir(path, { withFileTypes: true }).catch(undefinedWhenMissing(path))) ?? [];
    for (const entry of entries) {
      const name = folderName + entry.name;
      if (entry.name.startsWith(temporaryPrefix) || !(name.startsWith(prefix) || prefix.startsWith(`${name}/`))) continue;
      if (entry.isDirectory()) yield* this.#listFolder(`${name}/`, prefix);
      else {
        const found = await this.findObject(name);
        if (found) yield { name, size: found.size };
      }
    }
  }

  async removeObject(name: string): Promise<void> {
    const path = this.#pathOf(name);
    await rm(path, { force: true }).catch(rethrow(path));
  }

  async removeLeftovers(): Promise<void> {
    const entries = (await readdir(this.folder, { withFileTypes: true }).catch(undefinedWhenMissing(this.folder))) ?? [];
    for (const folder of [this.folder, ...entries.filter((entry) => entry.isDirectory()).map(({ name }) => this.#pathOf(name))]) {
      for (const name of (await readdir(folder).catch(undefinedWhenMissing(folder))) ?? []) {
        if (!name.startsWith(temporaryPrefix)) continue;
        const path = join(folder, name);
        const stats = await stat(path).catch(undefinedWhenMissing(path));
        if (stats && Date.now() - stats.mtimeMs > limits.storeLeftoverMs) await rm(path, { force: true }).catch(rethrow(path));
      }
    }
  }

  async close(): Promise<void> {}

  #pathOf(name: string): string {
    return join(this.folder, name);
  }
}

function headOf(stats: { size: number; mtimeMs: number; ino: number; isFile(): boolean }, path: string): ObjectHead {
  if (!stats.isFile()) throw new PavostoreError('object_corrupt', `${path}: it is no file`);
  return { size: stats.size, tag: `${stats.ino}-${stats.mtimeMs}-${stats.size}` };
}

async function linkUnlessThere(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path);
  await folder.sync();
}

function undefinedWhenMissing(path: string): (error: unknown) => undefined {
  return (error) => ((error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : rethrow(path)(error));
}

/** Throws the system's error as what it means for a place. */
function rethrow(path: string): (error: unknown) => never {
  return (error) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof PavostoreError || typeof code !== 'string') throw error;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new PavostoreError('disk_short', `${path}: the disk is full (${code})`, { cause: error });
    if (code === 'ELOOP') throw new PavostoreError('object_corrupt', `${path}: it is a link`, { cause: error });
    const refused = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    throw new PavostoreError(refused ? 'store_refused' : 'store_unreachable', `${path}: ${message}`, { cause: error });
  };
}
