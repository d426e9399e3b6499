// One version as this shard holds it: its manifest, and for each slice what is true of it here. At most two of these live
// in a shard. A slice is in memory, outside the JavaScript heap, or on disk with its directory in memory; nothing is kept per entry.

import { type BatchStatus, batchStatus } from '../shared/batch-wire.ts';
import { type VersionHeaders, versionHeadersOf } from '../shared/get-response.ts';
import { bitsOf, type SliceIndex } from '../shared/key-hash.ts';
import type { Manifest } from '../shared/manifest.ts';
import type { Slice } from '../shared/slice-layout.ts';
import { rangesOf } from '../shared/slice-ranges.ts';
import type { VersionReport } from '../shared/status-report.ts';
import { closeDiskSlice, type DiskSlice, indexSizeOf } from './disk-slice.ts';
import type { DiskStore } from './disk-store.ts';

/**
 * `absent`: not here, and not on its way. `queued`: to be loaded, after others; for everybody else that is `loading`. The other states are those
 * that the status report names.
 */
export type SliceState = 'absent' | 'queued' | 'loading' | 'kept' | 'corrupt';

export class HeldVersion {
  readonly id: string;
  /** The id as it stands in a batch, 16 bytes. */
  readonly idBytes: Buffer;
  readonly sequence: number;
  readonly manifest: Manifest;
  readonly sliceCount: number;
  readonly sliceBits: number;
  readonly headers: VersionHeaders;
  readonly #states: SliceState[];
  /** The slices that are served from memory, by index: the table of the hot path. */
  readonly slices: (Slice | undefined)[];
  /** Those that are served from disk. */
  readonly diskSlices: (DiskSlice | undefined)[];
  /** What the slices on disk share; undefined as long as all are in memory. */
  disk: DiskStore | undefined = undefined;

  constructor(manifest: Manifest, sequence: number) {
    this.id = manifest.id;
    this.idBytes = Buffer.from(manifest.id, 'hex');
    this.sequence = sequence;
    this.manifest = manifest;
    this.sliceCount = manifest.identity.sliceCount;
    this.sliceBits = bitsOf(this.sliceCount);
    this.headers = versionHeadersOf(manifest.id);
    this.#states = new Array<SliceState>(this.sliceCount).fill('absent');
    this.slices = new Array<Slice | undefined>(this.sliceCount).fill(undefined);
    this.diskSlices = new Array<DiskSlice | undefined>(this.sliceCount).fill(undefined);
  }

  stateOf(sliceIndex: SliceIndex): SliceState {
    return this.#states[sliceIndex]!;
  }

  /** These are to be loaded, and no others: what was queued before and is not among them is absent again. */
  queue(sliceIndices: readonly SliceIndex[]): void {
    for (let i = 0; i < this.sliceCount; i++) if (this.#states[i] === 'queued') this.#states[i] = 'absent';
    for (const sliceIndex of sliceIndices) this.#states[sliceIndex] = 'queued';
  }

  markLoading(sliceIndex: SliceIndex): void {
    this.#states[sliceIndex] = 'loading';
  }

  /** Takes the slice over and serves it from now on. */
  keep(sliceIndex: SliceIndex, slice: Slice): void {
    this.slices[sliceIndex] = slice;
    this.#states[sliceIndex] = 'kept';
  }

  /** Takes the slice over and serves it from disk from now on; `disk` must be there. */
  keepOnDisk(sliceIndex: SliceIndex, slice: DiskSlice): void {
    this.diskSlices[sliceIndex] = slice;
    this.#states[sliceIndex] = 'kept';
  }

  /** The slice failed its check: it is not served, the others are. */
  markCorrupt(sliceIndex: SliceIndex): void {
    this.slices[sliceIndex] = undefined;
    this.#states[sliceIndex] = 'corrupt';
  }

  report(): VersionReport {
    const having = (...states: readonly SliceState[]) => rangesOf(this.sliceCount, (i) => states.includes(this.#states[i]!));
    return {
      id: this.id,
      sequence: this.sequence,
      sliceCount: this.sliceCount,
      slices: { kept: having('kept'), loading: having('queued', 'loading'), yielding: [], corrupt: having('corrupt') },
    };
  }

  /** Bytes of slices, or of their directories, in memory; the record cache is not among them. */
  get bytesInMemory(): number {
    const whole = this.slices.reduce((sum, slice) => sum + (slice?.bytes.length ?? 0), 0);
    return this.diskSlices.reduce((sum, slice) => sum + (slice ? indexSizeOf(slice.header.bucketCount) : 0), whole);
  }

  close(): void {
    for (const slice of this.diskSlices) if (slice) closeDiskSlice(slice);
  }
}

/** What a batch says of a key whose slice is not served. */
export function statusOfAbsent(state: SliceState): BatchStatus {
  return state === 'loading' || state === 'queued' ? batchStatus.loading : state === 'corrupt' ? batchStatus.corrupt : batchStatus.notHeld;
}
