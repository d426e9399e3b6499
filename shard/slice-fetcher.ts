// Fetches slices and checks files off the main thread: downloading, hashing, writing and syncing would hold up requests. The worker is started when
// there is something to fetch for the first time; most shards never need it.

import { Worker } from 'node:worker_threads';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';
import type { FetchOutcome, FetchTarget } from './slice-fetch.ts';
import type { SliceSource, WantedSlice } from './slice-source.ts';

export type FetchTask =
  | { readonly kind: 'fetch'; readonly wanted: WantedSlice; readonly sources: readonly SliceSource[]; readonly target: FetchTarget }
  | { readonly kind: 'check'; readonly wanted: WantedSlice; readonly path: string };

export type FetchMessage = { readonly taskId: number; readonly task: FetchTask };

export type FetchAnswer = { readonly taskId: number } & (
  | { readonly kind: 'fetched'; readonly outcome: FetchOutcome }
  | { readonly kind: 'checked'; readonly fault: string | undefined }
  | { readonly kind: 'failed'; readonly code: ErrorCode | undefined; readonly message: string }
);

type Pending = { readonly resolve: (answer: FetchAnswer) => void; readonly reject: (error: Error) => void };

/** Owns its worker from the first task to `close`. */
export class SliceFetcher {
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #lastTaskId = 0;
  #closed = false;

  /** Rejects with `data_unwritable` or `disk_short` when the file cannot be written. */
  async fetch(wanted: WantedSlice, sources: readonly SliceSource[], target: FetchTarget): Promise<FetchOutcome> {
    const answer = await this.#ask({ kind: 'fetch', wanted, sources, target });
    if (answer.kind !== 'fetched') throw new TypeError('the worker answered another task');
    return answer.outcome;
  }

  /** Why the file at `path` is not the slice; undefined when it is. */
  async findFileFault(path: string, wanted: WantedSlice): Promise<string | undefined> {
    const answer = await this.#ask({ kind: 'check', wanted, path });
    if (answer.kind !== 'checked') throw new TypeError('the worker answered another task');
    return answer.fault;
  }

  /** What is under way is told to end, and its temporary files are gone when this returns. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    if (!worker) return;
    worker.ref();
    worker.postMessage('close');
    await new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  }

  #ask(task: FetchTask): Promise<FetchAnswer> {
    if (this.#closed) return Promise.reject(new Error('the shard is closing'));
    this.#worker ??= this.#start();
    const taskId = ++this.#lastTaskId;
    return new Promise((resolve, reject) => {
      this.#pending.set(taskId, { resolve, reject });
      this.#worker!.postMessage({ taskId, task } satisfies FetchMessage);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./fetch-worker.ts', import.meta.url));
    worker.unref();
    worker.on('message', (answer: FetchAnswer) => this.#settle(answer));
    worker.on('error', (error: Error) => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, new Error(this.#closed ? 'the shard is closing' : 'the worker that fetches slices ended')));
    return worker;
  }

  /** A worker that died is started anew by the next task. */
  #lose(worker: Worker, error: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#fail(error);
  }

  #settle(answer: FetchAnswer): void {
    const pending = this.#pending.get(answer.taskId);
    this.#pending.delete(answer.taskId);
    if (answer.kind !== 'failed') pending?.resolve(answer);
    else pending?.reject(answer.code ? new PavostoreError(answer.code, answer.message) : new Error(answer.message));
  }

  #fail(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}
