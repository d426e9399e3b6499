// A thread of `diff`: loads a slice of the version that has fewer, and beside it one after another those of the other version that it covers.

import { workerData } from 'node:worker_threads';
import { loadSlice, slicePath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import type { Identity } from '../../shared/manifest.ts';
import { describe } from '../verify/slice-check.ts';
import { serveTasks } from '../worker-pool.ts';
import { addDifference, type Difference, noDifference, type Side } from './slice-difference.ts';

/** Where a version's slices lie, and what they should be. */
export type DiffedVersion = { readonly versionDir: string; readonly identity: Identity };

export type DiffSetup = { readonly before: DiffedVersion; readonly after: DiffedVersion; readonly samplesMax: number };

/** The slices of both that cover one range of hashes: one of the one side, one or more of the other. */
export type DiffTask = {
  readonly index: number;
  readonly beforeFrom: number;
  readonly beforeTo: number;
  readonly afterFrom: number;
  readonly afterTo: number;
};

export type DiffResult = { readonly index: number; readonly difference: Difference };

const { before, after, samplesMax } = workerData as DiffSetup;

serveTasks<DiffTask, DiffResult>(async (task) => {
  const difference = noDifference();
  let a: Side | undefined;
  let b: Side | undefined;
  const pairCount = Math.max(task.beforeTo - task.beforeFrom, task.afterTo - task.afterFrom);
  for (let pair = 0; pair < pairCount; pair++) {
    const [beforeIndex, afterIndex] = [
      Math.min(task.beforeFrom + pair, task.beforeTo - 1),
      Math.min(task.afterFrom + pair, task.afterTo - 1),
    ];
    if (isSameSlice(beforeIndex, afterIndex)) continue;
    if (a?.slice.header.sliceIndex !== beforeIndex) {
      // First let go of the one before.
      a = undefined;
      a = await load(before, beforeIndex);
    }
    if (b?.slice.header.sliceIndex !== afterIndex) {
      b = undefined;
      b = await load(after, afterIndex);
    }
    addDifference(a, b, difference, samplesMax);
  }
  return { result: { index: task.index, difference } };
});

/** The manifests say that both files are the same, byte for byte. */
function isSameSlice(beforeIndex: number, afterIndex: number): boolean {
  return before.identity.slices[beforeIndex]!.sha256 === after.identity.slices[afterIndex]!.sha256;
}

/** Throws `slice_malformed`. */
async function load({ versionDir, identity }: DiffedVersion, sliceIndex: number): Promise<Side> {
  const path = slicePath(versionDir, sliceIndex);
  try {
    const slice = await loadSlice(path, sliceIndex, identity.sliceCount, identity.slices[sliceIndex]!);
    return { slice, what: path };
  } catch (error) {
    if (error instanceof PavostoreError) throw error;
    throw new PavostoreError('slice_malformed', describe(error, path), { cause: error });
  }
}
