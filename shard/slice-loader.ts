// Loads slices off the main thread: one worker reads and checks a file, then hands its bytes over without a copy.

import { Worker } from 'node:worker_threads';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import type { ManifestSlice } from '../shared/manifest.ts';
import { type Slice, type SliceHeader, viewSlice } from '../shared/slice-layout.ts';

export type LoadRequest = {
  readonly path: string;
  readonly sliceIndex: SliceIndex;
  readonly sliceCount: number;
  readonly expected: ManifestSlice;
};

/** What the worker answers; `bytes` arrives transferred. */
export type LoadAnswer =
  | { readonly ok: true; readonly bytes: ArrayBuffer; readonly header: SliceHeader }
  | { readonly ok: false; readonly code: ErrorCode | undefined; readonly message: string };

export class SliceLoader {
  readonly #worker = new Worker(new URL('./load-worker.ts', import.meta.url));
  #pending: { resolve: (slice: Slice) => void; reject: (error: Error) => void } | undefined;

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', (answer: LoadAnswer) => this.#settle(answer));
    this.#worker.on('error', (error: Error) => this.#pending?.reject(error));
  }

  /** One at a time. Rejects with `slice_malformed`, or the system's error in an Error of its message. */
  load(request: LoadRequest): Promise<Slice> {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#worker.postMessage(request);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(answer: LoadAnswer): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (answer.ok) pending?.resolve(viewSlice(Buffer.from(answer.bytes), answer.header));
    else pending?.reject(answer.code ? new PavostoreError(answer.code, answer.message) : new Error(answer.message));
  }
}
