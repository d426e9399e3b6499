// Threads that do one kind of work each, one task at a time: `WorkerPool` on the side that gives tasks, `serveTasks` in the
// thread. Threads are started when there is a task for them. Errors cross the border with their code.

import { parentPort, Worker } from 'node:worker_threads';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';

/** A task with the buffers that move to the thread and are gone here afterwards. */
export type Job<Task> = { readonly task: Task; readonly transfer?: readonly ArrayBuffer[] };

/** What a thread's handler gives back. */
export type Reply<Result> = { readonly result: Result; readonly transfer?: readonly ArrayBuffer[] };

type Message<Result> = { result: Result } | { error: { message: string; code: ErrorCode | undefined; stack: string | undefined } };
type Seat<Result> = {
  readonly worker: Worker;
  settle: { resolve: (result: Result) => void; reject: (error: unknown) => void } | undefined;
};

/** Owns its threads until `close`. */
export class WorkerPool<Task, Result> {
  readonly size: number;
  readonly #script: URL;
  readonly #setupOf: (workerIndex: number) => unknown;
  readonly #seats: Seat<Result>[] = [];
  #closed: Error | undefined;

  /** `setupOf` gives each thread its `workerData`. */
  constructor(options: { script: URL; size: number; setupOf: (workerIndex: number) => unknown }) {
    this.#script = options.script;
    this.size = options.size;
    this.#setupOf = options.setupOf;
  }

  /** Runs a task on an idle thread. The caller gives no more than `size` at a time. */
  run({ task, transfer = [] }: Job<Task>): Promise<Result> {
    if (this.#closed) return Promise.reject(this.#closed);
    const seat = this.#seats.find(({ settle }) => !settle) ?? this.#start();
    return this.#send(seat, task, transfer);
  }

  /**
   * Takes tasks in their order and runs `size` of them (or `width`) at a time; calls `onResult` as they finish. After a
   * failure, or an `onResult` that answers false, it takes no more, waits for those that run, then throws or returns.
   */
  async runAll(
    jobs: AsyncIterable<Job<Task>> | Iterable<Job<Task>>,
    onResult: (result: Result) => boolean | undefined,
    width: number = this.size,
  ): Promise<void> {
    const running = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    let stopped = false;
    for await (const job of jobs) {
      const promise: Promise<void> = this.run(job)
        .then(
          (result) => {
            if (onResult(result) === false) stopped = true;
          },
          (error: unknown) => {
            failure ??= { error };
          },
        )
        .finally(() => running.delete(promise));
      running.add(promise);
      if (running.size >= width) await Promise.race(running);
      if (failure || stopped) break;
    }
    await Promise.all(running);
    if (failure) throw failure.error;
  }

  /** Runs `task` once on every thread that was started; the pool must be idle. */
  async runOnEach(task: Task): Promise<Result[]> {
    return await Promise.all(this.#seats.map((seat) => this.#send(seat, task, [])));
  }

  /** Ends the threads, in the middle of their tasks too; what still runs fails with `reason`. */
  async close(reason: Error = new Error('the worker pool is closed')): Promise<void> {
    this.#closed ??= reason;
    for (const seat of this.#seats) this.#settle(seat, { reject: this.#closed });
    await Promise.all(this.#seats.map(({ worker }) => worker.terminate()));
  }

  #send(seat: Seat<Result>, task: Task, transfer: readonly ArrayBuffer[]): Promise<Result> {
    return new Promise((resolve, reject) => {
      seat.settle = { resolve, reject };
      seat.worker.postMessage(task, [...transfer]);
    });
  }

  #start(): Seat<Result> {
    if (this.#seats.length === this.size) throw new Error('more tasks than threads');
    const worker = new Worker(this.#script, { workerData: this.#setupOf(this.#seats.length) });
    const seat: Seat<Result> = { worker, settle: undefined };
    worker.on('message', (message: Message<Result>) =>
      this.#settle(seat, 'result' in message ? message : { reject: errorOf(message.error) }),
    );
    worker.on('error', (error) => this.#settle(seat, { reject: error }));
    worker.on('exit', (exitCode) => this.#settle(seat, { reject: new Error(`a worker thread ended with exit code ${exitCode}`) }));
    this.#seats.push(seat);
    return seat;
  }

  #settle(seat: Seat<Result>, outcome: { result: Result } | { reject: unknown }): void {
    const { settle } = seat;
    seat.settle = undefined;
    if ('result' in outcome) settle?.resolve(outcome.result);
    else settle?.reject(outcome.reject);
  }
}

/** The thread's side: answers each task with what `handle` makes of it. */
export function serveTasks<Task, Result>(handle: (task: Task) => Reply<Result> | Promise<Reply<Result>>): void {
  const port = parentPort!;
  port.on('message', async (task: Task) => {
    try {
      const { result, transfer = [] } = await handle(task);
      port.postMessage({ result } satisfies Message<Result>, [...transfer]);
    } catch (error) {
      const { message, stack } = error as Error;
      const code = error instanceof PavostoreError ? error.code : undefined;
      port.postMessage({ error: { message, stack, code } } satisfies Message<Result>);
    }
  });
}

function errorOf({ message, code, stack }: { message: string; code: ErrorCode | undefined; stack: string | undefined }): Error {
  if (code) return new PavostoreError(code, message);
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
