// The work of the second pass on one range of slices: gather their records from the spill files, put them in order, drop the
// duplicates, encode each slice and write it.

import { PavostoreError } from '../../shared/errors.ts';
import { bitsOf, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { ManifestSlice } from '../../shared/manifest.ts';
import { encodeSlice, type OrderedRecords, sliceSizeOf } from '../../shared/slice-layout.ts';
import type { DuplicatePolicy } from './line-rules.ts';
import { type Duplicate, RecordArena } from './record-arena.ts';
import { SliceWriter } from './slice-writer.ts';
import { listBlocks, type SpillBlock, type SpillFolder, spillBlockHeaderSize, withSpill } from './spill.ts';

/** Slices `sliceFrom` (inclusive) to `sliceTo` (exclusive), whose records are in the spill files `spillFrom` to `spillTo`. */
export type SealTask = {
  readonly sliceFrom: number;
  readonly sliceTo: number;
  readonly spillFrom: number;
  readonly spillTo: number;
  /** What the spill files have for these slices, duplicates included. */
  readonly spilledBytes: number;
  readonly spilledRecords: number;
};

export type SealSetup = {
  /** In the order of the input. */
  readonly folders: readonly SpillFolder[];
  readonly versionDir: string;
  readonly sliceCount: number;
  readonly duplicates: DuplicatePolicy;
  readonly sealMemoryMax: number;
  readonly sliceSizeMax: number;
  /** The slice count that would do, if a slice gets too large; undefined if none would. */
  readonly sliceCountNeeded: number | undefined;
};

export type SealReport = {
  readonly sliceFrom: number;
  readonly slices: readonly ManifestSlice[];
  /** Duplicates: how many, and the bytes of their keys and values. */
  readonly dropped: { readonly count: number; readonly keyBytes: number; readonly valueBytes: number };
  readonly firstDuplicate: Duplicate | undefined;
};

/** Memory that a record takes in the second pass beside its bytes: columns, the order, the columns in order. */
export const recordOverhead = 40;

/** Owns the memory of one thread of the second pass. */
export class SliceSealer {
  readonly #setup: SealSetup;
  readonly #arena: RecordArena;
  readonly #writer: SliceWriter;

  constructor(setup: SealSetup) {
    this.#setup = setup;
    this.#arena = new RecordArena(setup.duplicates);
    this.#writer = new SliceWriter(setup.versionDir);
  }

  /** Writes the slices of a task. Throws `slice_too_large`, `spill_malformed`, `disk_short`, `data_unwritable`. */
  async seal(task: SealTask): Promise<SealReport> {
    await this.#writer.room();
    this.#gather(task);
    const rows = this.#arena.survivors();
    const { dropped, firstDuplicate } = this.#arena;
    // A split that fails for its duplicates looks at all of them, but writes no more.
    const slices = firstDuplicate ? [] : this.#writeSlices(task, inOrder(this.#arena, rows), rows.length);
    return { sliceFrom: task.sliceFrom, slices, dropped, firstDuplicate };
  }

  /** Returns when all slices of this thread are on the disk. */
  async synced(): Promise<void> {
    await this.#writer.synced();
  }

  #gather(task: SealTask): void {
    const { folders, sliceCount, sealMemoryMax } = this.#setup;
    const spills = [];
    for (let index = task.spillFrom; index < task.spillTo; index++) {
      for (const folder of folders) spills.push({ folder, index, blocks: listBlocksOf(folder, index) });
    }
    const blocks = spills.flatMap((spill) => spill.blocks);
    // Room for one block whole, whatever of it is in range.
    const blockSizeMax = blocks.reduce((max, { length }) => Math.max(max, length + spillBlockHeaderSize), 0);
    const blockRecordsMax = blocks.reduce((max, { recordCount }) => Math.max(max, recordCount), 0);
    this.#arena.reset({
      size: Math.min(task.spilledBytes + spillBlockHeaderSize * blocks.length, sealMemoryMax) + blockSizeMax,
      recordCount: Math.min(task.spilledRecords, Math.floor(sealMemoryMax / recordOverhead)) + blockRecordsMax,
      assertSize: (recordsSize) => this.#assertSliceSize(task.sliceFrom, recordsSize / (task.sliceTo - task.sliceFrom)),
    });
    const hashesPerSlice = 2 ** (32 - bitsOf(sliceCount));
    const range = { first: task.sliceFrom * hashesPerSlice, last: task.sliceTo * hashesPerSlice - 1 };
    for (const { folder, index, blocks } of spills) {
      withSpill(folder, index, (targets) => {
        for (const block of blocks) this.#arena.addBlock(targets, index, block, range);
      });
    }
  }

  #writeSlices(task: SealTask, records: OrderedRecords, count: number): ManifestSlice[] {
    const { sliceCount } = this.#setup;
    const sliceBits = bitsOf(sliceCount);
    const slices: ManifestSlice[] = [];
    let from = 0;
    for (let sliceIndex = task.sliceFrom; sliceIndex < task.sliceTo; sliceIndex++) {
      let to = from;
      let recordsSize = 0;
      while (to < count && sliceIndexOf(records.hashes[to]!, sliceBits) === sliceIndex) {
        recordsSize += records.ends[to]! - records.starts[to]!;
        to++;
      }
      this.#assertSliceSize(sliceIndex, sliceSizeOf(to - from, recordsSize, sliceCount));
      const file = encodeSlice({ sliceIndex: sliceIndex as SliceIndex, sliceCount, records, from, to });
      slices.push(this.#writer.write(sliceIndex, to - from, file));
      from = to;
    }
    return slices;
  }

  #assertSliceSize(sliceIndex: number, size: number): void {
    const { sliceCount, sliceSizeMax, sliceCountNeeded } = this.#setup;
    if (size <= sliceSizeMax) return;
    const advice =
      sliceCountNeeded === undefined ? `even ${limits.sliceCountMax} slices would be too few` : `--slices ${sliceCountNeeded} is needed`;
    throw new PavostoreError(
      'slice_too_large',
      `slice ${sliceIndex} of ${sliceCount}: ${size} bytes or more, at most ${sliceSizeMax}; ${advice}`,
    );
  }
}

/** The blocks of a file, their chunks numbered as in the whole input. */
function listBlocksOf(folder: SpillFolder, index: number): SpillBlock[] {
  const blocks = withSpill(folder, index, (targets) => listBlocks(targets, index));
  return blocks.map((block) => ({ ...block, chunkOrdinal: folder.chunkOrdinalFrom + block.chunkOrdinal }));
}

/** The columns of the rows in their order. */
function inOrder({ bytes, hashes, starts, ends }: RecordArena, rows: Uint32Array): OrderedRecords {
  const pick = (column: Uint32Array): Uint32Array => {
    const picked = new Uint32Array(rows.length);
    for (let i = 0; i < rows.length; i++) picked[i] = column[rows[i]!]!;
    return picked;
  };
  return { bytes, hashes: pick(hashes), starts: pick(starts), ends: pick(ends) };
}
