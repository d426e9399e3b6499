// A thread for the tests of the worker pool: does what it is told.

import { setTimeout as delay } from 'node:timers/promises';
import { threadId, workerData } from 'node:worker_threads';
import { serveTasks } from '../../deploy/worker-pool.ts';
import { PavostoreError } from '../../shared/errors.ts';

export type FailingTask = { readonly act: 'echo' | 'fail' | 'throw' | 'exit' | 'hang'; readonly value: number };
export type FailingResult = { readonly value: number; readonly threadId: number; readonly setup: unknown };

serveTasks<FailingTask, FailingResult>(async ({ act, value }) => {
  if (act === 'fail') throw new PavostoreError('disk_short', `no room for ${value}`);
  if (act === 'throw') throw new TypeError(`a bug with ${value}`);
  if (act === 'exit') process.exit(7);
  if (act === 'hang') await delay(2 ** 30);
  return { result: { value, threadId, setup: workerData } };
});
