// Loads slices off the main thread: one worker reads and checks a whole file, then hands over what is to be kept, without a copy: the
// bytes of the slice, or, for one that stays on disk, its index and some records to begin the cache with.

import { Worker } from 'node:worker_threads';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import type { ManifestSlice } from '../shared/manifest.ts';
import { type Slice, type SliceHeader, viewSlice } from '../shared/slice-layout.ts';
import { type DiskSlice, openDiskSlice } from './disk-slice.ts';

export type LoadRequest = {
  readonly path: string;
  readonly sliceIndex: SliceIndex;
  readonly sliceCount: number;
  readonly expected: ManifestSlice;
};

/** Which records of a slice on disk to hand over: those with these hashes (ascending), or the first ones, up to `sizeMax` bytes. */
export type PreloadRequest = { readonly sizeMax: number; readonly hashes: Uint32Array | undefined };

export type LoadTask = LoadRequest & { readonly preload: PreloadRequest | undefined };

export type LoadMessage = LoadTask | 'collect';

/** What the worker answers: the bytes of a slice are in shared memory, the other buffers arrive transferred. */
export type LoadAnswer =
  | { readonly kind: 'memory'; readonly header: SliceHeader; readonly bytes: SharedArrayBuffer }
  | { readonly kind: 'disk'; readonly header: SliceHeader; readonly index: ArrayBuffer; readonly records: ArrayBuffer }
  | { readonly kind: 'failed'; readonly code: ErrorCode | undefined; readonly message: string };

/** A slice on disk, and records of it one after the other as they stand in the file. */
export type LoadedDiskSlice = { readonly slice: DiskSlice; readonly records: Buffer };

type Pending = { resolve: (answer: Exclude<LoadAnswer, { kind: 'failed' }>) => void; reject: (error: Error) => void };

/** One load at a time. Loads reject with `slice_malformed`, or the system's error in an Error of its message. */
export class SliceLoader {
  readonly #worker = new Worker(new URL('./load-worker.ts', import.meta.url));
  #pending: Pending | undefined;

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', (answer: LoadAnswer) => this.#settle(answer));
    this.#worker.on('error', (error: Error) => this.#pending?.reject(error));
  }

  async loadIntoMemory(request: LoadRequest): Promise<Slice> {
    const answer = await this.#ask({ ...request, preload: undefined });
    if (answer.kind !== 'memory') throw new TypeError('the worker answered another task');
    return viewSlice(Buffer.from(answer.bytes), answer.header);
  }

  async loadFromDisk(request: LoadRequest, preload: PreloadRequest): Promise<LoadedDiskSlice> {
    const answer = await this.#ask({ ...request, preload });
    if (answer.kind !== 'disk') throw new TypeError('the worker answered another task');
    return { slice: openDiskSlice(request.path, answer.header, answer.index), records: Buffer.from(answer.records) };
  }

  /** What the worker has handed over and nobody uses any more. */
  collectDroppedSlices(): void {
    this.#worker.postMessage('collect' satisfies LoadMessage);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(task: LoadTask): Promise<Exclude<LoadAnswer, { kind: 'failed' }>> {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#worker.postMessage(task);
    });
  }

  #settle(answer: LoadAnswer): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (answer.kind !== 'failed') pending?.resolve(answer);
    else pending?.reject(answer.code ? new PavostoreError(answer.code, answer.message) : new Error(answer.message));
  }
}
