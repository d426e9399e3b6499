// The last step of the second pass: finished slices to their files. The sync of a file runs beside the work on the next
// slices, in the thread pool, on the very descriptor that wrote it: a later one may never hear of a failed write.

import { hash } from 'node:crypto';
import { closeSync, fsync, openSync } from 'node:fs';
import { slicePath } from '../../shared/data-set.ts';
import type { ManifestSlice } from '../../shared/manifest.ts';
import { sliceHeaderSize } from '../../shared/slice-layout.ts';
import { writeError } from '../../shared/write-error.ts';
import { writeFully } from '../publish/disk.ts';

/** Syncs that may wait: bounds the open files of a thread. */
const syncsMax = 32;

/** Owns the descriptors of the files that are not synced yet. */
export class SliceWriter {
  readonly #versionDir: string;
  readonly #syncs = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;

  constructor(versionDir: string) {
    this.#versionDir = versionDir;
  }

  /** Writes the file of a slice and begins its sync. Throws `disk_short`, `data_unwritable`. */
  write(sliceIndex: number, entryCount: number, file: Buffer): ManifestSlice {
    const path = slicePath(this.#versionDir, sliceIndex);
    let fd: number | undefined;
    try {
      fd = openSync(path, 'wx');
      writeFully(fd, file, { start: 0, end: file.length, position: 0 }, path);
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      throw writeError(error, path);
    }
    this.#sync(fd, path);
    return {
      entries: entryCount,
      bytes: file.length,
      headerSha256: hash('sha256', file.subarray(0, sliceHeaderSize)),
      sha256: hash('sha256', file),
    };
  }

  /** Returns when few enough syncs wait. Throws what one of them failed with. */
  async room(): Promise<void> {
    while (this.#syncs.size >= syncsMax) await Promise.race(this.#syncs);
    if (this.#failure) throw this.#failure.error;
  }

  /** Returns when every file written so far is on the disk. Throws what a sync failed with. */
  async synced(): Promise<void> {
    await Promise.all(this.#syncs);
    if (this.#failure) throw this.#failure.error;
  }

  #sync(fd: number, path: string): void {
    const promise = new Promise<void>((resolve) => {
      fsync(fd, (error) => {
        if (error) this.#failure ??= { error: writeError(error, path) };
        closeSync(fd);
        resolve();
      });
    });
    this.#syncs.add(promise);
    promise.then(() => this.#syncs.delete(promise));
  }
}
