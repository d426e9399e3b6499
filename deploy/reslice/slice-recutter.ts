// The work of one task of reslice: load the source slices, check all of them, lay their records end to end, and encode each target
// slice from its run of them. The records come in the order (hash, key) and go in that order, so nothing is sorted.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { loadSlice, slicePath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { bitsOf, keyHash32, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';
import type { Identity, ManifestSlice } from '../../shared/manifest.ts';
import { encodeSlice, type OrderedRecords, recordsOf, type Slice } from '../../shared/slice-layout.ts';
import { SliceWriter } from '../split/slice-writer.ts';
import { describe } from '../verify/slice-check.ts';
import type { ResliceTask } from './reslice-plan.ts';

export type ResliceSetup = {
  /** The version that is resliced: its folder and what its manifest says of its slices. */
  readonly sourceDir: string;
  readonly source: Identity;
  readonly targetDir: string;
  readonly targetCount: number;
};

/** Owns the slice writer of a thread. */
export class SliceRecutter {
  readonly #setup: ResliceSetup;
  readonly #writer: SliceWriter;

  constructor(setup: ResliceSetup) {
    this.#setup = setup;
    this.#writer = new SliceWriter(setup.targetDir);
  }

  /** Writes the target slices of a task. Throws `slice_malformed`, `disk_short`, `data_unwritable`. */
  async recut(task: ResliceTask): Promise<ManifestSlice[]> {
    const { targetCount } = this.#setup;
    await this.#writer.room();
    const records = await this.#gather(task);
    const sliceBits = bitsOf(targetCount);
    const slices: ManifestSlice[] = [];
    let from = 0;
    for (let sliceIndex = task.targetFrom; sliceIndex < task.targetTo; sliceIndex++) {
      let to = from;
      while (to < task.entryCount && sliceIndexOf(records.hashes[to]!, sliceBits) === sliceIndex) to++;
      const file = encodeSlice({ sliceIndex: sliceIndex as SliceIndex, sliceCount: targetCount, records, from, to });
      slices.push(this.#writer.write(sliceIndex, to - from, file));
      from = to;
    }
    assert(from === task.entryCount, 'every record is in one of the slices');
    return slices;
  }

  /** Returns when all slices of this thread are on the disk. */
  async synced(): Promise<void> {
    await this.#writer.synced();
  }

  /** The records of the source slices. A single one is used where it was read; several are copied together. */
  async #gather({ sourceFrom, sourceTo, recordsSize, entryCount }: ResliceTask): Promise<OrderedRecords> {
    const isAlone = sourceTo === sourceFrom + 1;
    let bytes: Buffer = Buffer.allocUnsafeSlow(isAlone ? 0 : recordsSize);
    const hashes = new Uint32Array(entryCount);
    const starts = new Uint32Array(entryCount);
    const ends = new Uint32Array(entryCount);
    let count = 0;
    let size = 0;
    for (let sliceIndex = sourceFrom; sliceIndex < sourceTo; sliceIndex++) {
      const { slice, path } = await this.#loadSource(sliceIndex);
      const { offset, length } = slice.header.records;
      if (isAlone) bytes = slice.bytes;
      else slice.bytes.copy(bytes, size, offset, offset + length);
      const shift = isAlone ? 0 : size - offset;
      let start = offset;
      // `recordsOf` proves order, place and count of what it gives, and that it ends where the section does.
      for (const { keyStart, valueStart, end } of recordsOf(slice, path)) {
        hashes[count] = keyHash32(slice.bytes, keyStart, valueStart);
        starts[count] = start + shift;
        ends[count] = end + shift;
        start = end;
        count++;
      }
      size += length;
    }
    return { bytes, hashes, starts, ends };
  }

  /** A source slice, checked against the manifest to its last byte. Throws `slice_malformed`. */
  async #loadSource(sliceIndex: number): Promise<{ slice: Slice; path: string }> {
    const { sourceDir, source } = this.#setup;
    const expected = source.slices[sliceIndex]!;
    const path = slicePath(sourceDir, sliceIndex);
    try {
      const slice = await loadSlice(path, sliceIndex, source.sliceCount, expected);
      const sha256 = hash('sha256', slice.bytes);
      if (sha256 === expected.sha256) return { slice, path };
      throw new PavostoreError('slice_malformed', `${path}: SHA-256 is ${sha256}, the manifest says ${expected.sha256}`);
    } catch (error) {
      if (error instanceof PavostoreError) throw error;
      throw new PavostoreError('slice_malformed', describe(error, path), { cause: error });
    }
  }
}
