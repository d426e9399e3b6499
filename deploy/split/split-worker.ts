// A thread of the split: spills chunks in the first pass, seals slices in the second.

import { workerData } from 'node:worker_threads';
import { type Reply, serveTasks } from '../worker-pool.ts';
import { type ChunkReport, ChunkSpiller, type SpillSetup } from './chunk-spiller.ts';
import type { Chunk } from './chunks.ts';
import { type SealReport, type SealSetup, type SealTask, SliceSealer } from './slice-sealer.ts';

export type SplitTask =
  | { readonly kind: 'spill'; readonly chunk: Chunk }
  | { readonly kind: 'seal'; readonly task: SealTask; readonly setup: SealSetup }
  | { readonly kind: 'sync' };

export type SplitResult =
  /** `buffer`: what came with the chunk, for the next one. */
  | { readonly kind: 'spilled'; readonly report: ChunkReport; readonly buffer: ArrayBuffer | undefined }
  | { readonly kind: 'sealed'; readonly report: SealReport }
  | { readonly kind: 'synced' };

const setup = workerData as SpillSetup;
let spiller: ChunkSpiller | undefined;
let sealer: SliceSealer | undefined;

serveTasks<SplitTask, SplitResult>(async (task) => {
  if (task.kind === 'spill') return spill(task.chunk);
  spiller = undefined;
  if (task.kind === 'sync') {
    await sealer?.synced();
    return { result: { kind: 'synced' } };
  }
  sealer ??= new SliceSealer(task.setup);
  return { result: { kind: 'sealed', report: await sealer.seal(task.task) } };
});

function spill(chunk: Chunk): Reply<SplitResult> {
  spiller ??= new ChunkSpiller(setup);
  const report = spiller.spill(chunk);
  const buffer = chunk.kind === 'range' ? undefined : (chunk.bytes.buffer as ArrayBuffer);
  return { result: { kind: 'spilled', report, buffer }, transfer: buffer ? [buffer] : [] };
}
