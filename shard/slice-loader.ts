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

/** One load at a time. Loads reject with `slice_malformed`, the system's error in an Error of its message, or with why the worker ended under them. */
export class SliceLoader {
  #worker: Worker | undefined = this.#start();
  #pending: Pending | undefined;
  #closed = false;

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
    this.#worker?.postMessage('collect' satisfies LoadMessage);
  }

  /** What is under way fails. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
  }

  #ask(task: LoadTask): Promise<Exclude<LoadAnswer, { kind: 'failed' }>> {
    if (this.#closed) return Promise.reject(new Error('the shard is closing'));
    const worker = this.#worker ?? this.#start();
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      worker.postMessage(task);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./load-worker.ts', import.meta.url));
    worker.unref();
    // What a dead one still said is of a load that has failed.
    worker.on('message', (answer: LoadAnswer) => (this.#worker === worker ? this.#settle(answer) : undefined));
    worker.on('error', (error: Error) => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, new Error(this.#closed ? 'the shard is closing' : 'the worker that loads slices ended')));
    return worker;
  }

  /** A worker that died is started anew by the next load. */
  #lose(worker: Worker, error: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#pending?.reject(error);
    this.#pending = undefined;
  }

  #settle(answer: LoadAnswer): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (answer.kind !== 'failed') pending?.resolve(answer);
    else pending?.reject(answer.code ? new PavostoreError(answer.code, answer.message) : new Error(answer.message));
  }
}
