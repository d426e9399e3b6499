// A thread of `reslice`: cuts and joins slices, and at the end waits for the disk.

import { workerData } from 'node:worker_threads';
import type { ManifestSlice } from '../../shared/manifest.ts';
import { serveTasks } from '../worker-pool.ts';
import type { ResliceTask } from './reslice-plan.ts';
import { type ResliceSetup, SliceRecutter } from './slice-recutter.ts';

export type RecutTask = { readonly kind: 'recut'; readonly task: ResliceTask } | { readonly kind: 'sync' };

export type RecutResult =
  | { readonly kind: 'recut'; readonly task: ResliceTask; readonly slices: readonly ManifestSlice[] }
  | { readonly kind: 'synced' };

const recutter = new SliceRecutter(workerData as ResliceSetup);

serveTasks<RecutTask, RecutResult>(async (message) => {
  if (message.kind === 'recut') {
    const { task } = message;
    return { result: { kind: 'recut', task, slices: await recutter.recut(task) } };
  }
  await recutter.synced();
  return { result: { kind: 'synced' } };
});
