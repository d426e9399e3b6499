// The worker of slice-fetcher.ts.

import { parentPort } from 'node:worker_threads';
import { PavostoreError } from '../shared/errors.ts';
import { fetchSlice, findFileFault } from './slice-fetch.ts';
import type { FetchAnswer, FetchMessage, FetchTask } from './slice-fetcher.ts';
import { SourceDoor } from './slice-source.ts';

const port = parentPort!;
const door = new SourceDoor();
const closing = new AbortController();
const underway = new Set<Promise<void>>();

port.on('message', (message: FetchMessage | 'close') => {
  if (message === 'close') return void close();
  const answering = answer(message).finally(() => underway.delete(answering));
  underway.add(answering);
});

async function answer({ taskId, task }: FetchMessage): Promise<void> {
  port.postMessage({ taskId, ...(await carryOut(task)) } as FetchAnswer);
}

async function carryOut(task: FetchTask): Promise<object> {
  try {
    if (task.kind === 'check') return { kind: 'checked', fault: await findFileFault(task.path, task.wanted) };
    return { kind: 'fetched', outcome: await fetchSlice(door, task.wanted, task.sources, task.target, closing.signal) };
  } catch (error) {
    const code = error instanceof PavostoreError ? error.code : undefined;
    return { kind: 'failed', code, message: (error as Error).message };
  }
}

/** Fetches under way are broken off, and take their temporary files with them. */
async function close(): Promise<void> {
  closing.abort(new Error('the shard is closing'));
  await door.close();
  await Promise.allSettled(underway);
  port.close();
}
