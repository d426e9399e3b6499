// Reads back what has just been written, before it is published: each slice's header by its SHA-256 against the manifest, each section by the CRC-32 in that
// header. That covers every byte at a tenth of the cost of `pavostore verify`, which takes the SHA-256 of everything and looks at each record: whoever made the
// slices has done that a moment ago. It is what shards do when they load them; a slice that fails here would be 503 there.

import { closeSync, constants, openSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { SliceScan } from '../../shard/slice-scan.ts';
import type { WantedSlice } from '../../shard/slice-source.ts';
import { slicePath } from '../../shared/data-set.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { WorkerPool } from '../worker-pool.ts';
import { describe } from './slice-check.ts';

export type ReadBackTask = { readonly path: string; readonly wanted: WantedSlice };

/** `problem` names the file and what is wrong; undefined when nothing is. */
export type ReadBackReport = { readonly sliceIndex: number; readonly problem: string | undefined };

/** What is wrong with the slices of a version folder, in their order. Throws the signal's reason. */
export async function readBack(
  versionDir: string,
  { id, identity, totals }: Manifest,
  signal?: AbortSignal | undefined,
): Promise<string[]> {
  const { sliceCount, slices } = identity;
  const tasks = slices.map((expected, i): { task: ReadBackTask } => ({
    task: { path: slicePath(versionDir, i), wanted: { versionId: id, sliceIndex: i as SliceIndex, sliceCount, expected } },
  }));
  if (totals.sliceBytes <= limits.readBackHereMax) return problemsOf(tasks.map(({ task }) => readBackSlice(task)));
  const pool = new WorkerPool<ReadBackTask, ReadBackReport>({
    script: new URL('./read-back-worker.ts', import.meta.url),
    size: Math.min(availableParallelism(), sliceCount),
    setupOf: () => undefined,
  });
  const reports: ReadBackReport[] = [];
  try {
    await pool.runAll(tasks, (report) => {
      signal?.throwIfAborted();
      reports.push(report);
      return undefined;
    });
  } finally {
    await pool.close();
  }
  return problemsOf(reports);
}

/** Reads one slice file to its end, without another turn. Damage is a value, not an error. */
export function readBackSlice({ path, wanted }: ReadBackTask): ReadBackReport {
  const { sliceIndex } = wanted;
  try {
    const fault = findFault(path, wanted);
    return { sliceIndex, problem: fault && `${path}: ${fault}` };
  } catch (error) {
    return { sliceIndex, problem: describe(error, path) };
  }
}

/** Of this thread, for one slice after the other: new memory for each would take as long as reading it. */
let piece: Buffer | undefined;

function findFault(path: string, wanted: WantedSlice): string | undefined {
  const scan = new SliceScan(wanted);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    piece ??= Buffer.allocUnsafe(limits.readBackPieceSize);
    for (let size = readSync(fd, piece); size > 0; size = readSync(fd, piece)) scan.feed(piece.subarray(0, size));
    return scan.findFault();
  } finally {
    closeSync(fd);
  }
}

function problemsOf(reports: readonly ReadBackReport[]): string[] {
  return reports.toSorted((a, b) => a.sliceIndex - b.sliceIndex).flatMap(({ problem }) => problem ?? []);
}
