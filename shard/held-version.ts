// One version as this shard holds it: its manifest, and for each slice what is true of it here. At most two of these live
// in a shard. A slice is in memory, outside the JavaScript heap, or on disk with its directory in memory; nothing is kept per entry.
// A yielding slice stands apart from the table of the hot path: only those who find nothing there look for it, and are noted. A whole version that
// ends stays in that table, and is merely reported as yielding.

import assert from 'node:assert/strict';
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
export type SliceState = 'absent' | 'queued' | 'loading' | 'kept' | 'yielding' | 'corrupt';

type Yielding = { readonly slice: Slice | undefined; readonly diskSlice: DiskSlice | undefined; askedMs: number | undefined };

export class HeldVersion {
  readonly id: string;
  /** The id as it stands in a batch, 16 bytes. */
  readonly idBytes: Buffer;
  /** Grows when the same content is published again. */
  sequence: number;
  readonly manifest: Manifest;
  readonly sliceCount: number;
  readonly sliceBits: number;
  readonly headers: VersionHeaders;
  readonly #states: SliceState[];
  /** The slices that are served from memory, by index: the table of the hot path. */
  readonly slices: (Slice | undefined)[];
  /** Those that are served from disk. */
  readonly diskSlices: (DiskSlice | undefined)[];
  readonly #yielding = new Map<SliceIndex, Yielding>();
  /** Slices in memory in which a look-up found a contradiction: for whoever checks them. */
  readonly suspects = new Set<SliceIndex>();
  /** What the slices on disk share, those of another version too; undefined as long as all are in memory. */
  disk: DiskStore | undefined = undefined;
  /** Its own part of the record cache. */
  cacheLane = 0;
  /** The counter of the first report that shows it as yielding; undefined: none does. */
  endsFromReport: number | undefined = undefined;
  /** Every slice that placement gives this shard is kept. */
  isSettled = false;
  /** It was given up: what is still being loaded for it is not to be kept. */
  isDropped = false;

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

  /** Serves a kept slice from disk instead of from memory; its memory goes with `collectDroppedSlices`. Takes `diskSlice` over. */
  moveToDisk(sliceIndex: SliceIndex, diskSlice: DiskSlice): void {
    this.slices[sliceIndex] = undefined;
    this.diskSlices[sliceIndex] = diskSlice;
  }

  /** Serves a kept slice from memory instead of from disk; returns what its caller closes, when nobody reads from it any more. */
  moveToMemory(sliceIndex: SliceIndex, slice: Slice): DiskSlice | undefined {
    const diskSlice = this.diskSlices[sliceIndex];
    this.diskSlices[sliceIndex] = undefined;
    this.slices[sliceIndex] = slice;
    return diskSlice;
  }

  /** Some slice is on disk, also one that yields. */
  get isOnDisk(): boolean {
    return this.diskSlices.some((slice) => slice) || [...this.#yielding.values()].some(({ diskSlice }) => diskSlice);
  }

  /** Those of its slices that are kept in memory, or on disk. */
  slicesKept(where: 'memory' | 'disk'): SliceIndex[] {
    const table: readonly unknown[] = where === 'memory' ? this.slices : this.diskSlices;
    return table.flatMap((slice, i) => (slice ? (i as SliceIndex) : []));
  }

  /** The slice failed its check, when it was loaded or later: it is not served, the others are. Its memory goes with `collectDroppedSlices`. */
  markCorrupt(sliceIndex: SliceIndex): void {
    const diskSlice = this.diskSliceOf(sliceIndex);
    if (diskSlice) closeDiskSlice(diskSlice);
    this.slices[sliceIndex] = undefined;
    this.diskSlices[sliceIndex] = undefined;
    this.#yielding.delete(sliceIndex);
    this.#states[sliceIndex] = 'corrupt';
  }

  /** What was corrupt, or could not be loaded, can be loaded now, if it is still to be. */
  letLoad(sliceIndex: SliceIndex): void {
    const state = this.#states[sliceIndex];
    assert(state === 'corrupt' || state === 'loading', `slice ${sliceIndex} is ${state}: only one that is not there can be loaded`);
    this.#states[sliceIndex] = 'absent';
  }

  /** Still answers from the slice, but says that it will be gone. */
  yield(sliceIndex: SliceIndex): void {
    assert(this.#states[sliceIndex] === 'kept', `slice ${sliceIndex} is ${this.#states[sliceIndex]}: only a kept one can yield`);
    this.#yielding.set(sliceIndex, { slice: this.slices[sliceIndex], diskSlice: this.diskSlices[sliceIndex], askedMs: undefined });
    this.slices[sliceIndex] = undefined;
    this.diskSlices[sliceIndex] = undefined;
    this.#states[sliceIndex] = 'yielding';
  }

  /** Back from yielding. */
  keepAgain(sliceIndex: SliceIndex): void {
    const { slice, diskSlice } = this.#yielding.get(sliceIndex)!;
    this.#yielding.delete(sliceIndex);
    this.slices[sliceIndex] = slice;
    this.diskSlices[sliceIndex] = diskSlice;
    this.#states[sliceIndex] = 'kept';
  }

  /** The slice in memory, kept or yielding; not a request for it. */
  sliceOf(sliceIndex: SliceIndex): Slice | undefined {
    return this.slices[sliceIndex] ?? this.#yielding.get(sliceIndex)?.slice;
  }

  /** The slice on disk, kept or yielding; not a request for it. */
  diskSliceOf(sliceIndex: SliceIndex): DiskSlice | undefined {
    return this.diskSlices[sliceIndex] ?? this.#yielding.get(sliceIndex)?.diskSlice;
  }

  /** A slice that yields, for somebody who asks it all the same. */
  askYielding(sliceIndex: SliceIndex): Slice | undefined {
    return this.#noteAsked(sliceIndex)?.slice;
  }

  askYieldingOnDisk(sliceIndex: SliceIndex): DiskSlice | undefined {
    return this.#noteAsked(sliceIndex)?.diskSlice;
  }

  /** When a yielding slice was last asked for, by `performance.now()`; undefined: not since it yields. */
  lastAskedMs(sliceIndex: SliceIndex): number | undefined {
    return this.#yielding.get(sliceIndex)?.askedMs;
  }

  /** Drops a yielding slice, whose memory goes with `collectDroppedSlices`, or closes its file; one that is just being read counts as asked for, and stays. */
  free(sliceIndex: SliceIndex): void {
    const { diskSlice } = this.#yielding.get(sliceIndex) ?? {};
    if (diskSlice && diskSlice.readers > 0) {
      this.#noteAsked(sliceIndex);
      return;
    }
    assert(this.#states[sliceIndex] === 'yielding' || this.#states[sliceIndex] === 'corrupt', `slice ${sliceIndex} is not to be freed`);
    if (diskSlice) closeDiskSlice(diskSlice);
    this.#yielding.delete(sliceIndex);
    this.#states[sliceIndex] = 'absent';
  }

  #noteAsked(sliceIndex: SliceIndex): Yielding | undefined {
    const yielding = this.#yielding.get(sliceIndex);
    if (yielding) yielding.askedMs = performance.now();
    return yielding;
  }

  /** `inUse`: routers serve it. */
  report({ inUse = false }: { inUse?: boolean } = {}): VersionReport {
    return reportOf(this, inUse);
  }

  /** Bytes of slices, or of their directories, in memory; the record cache is not among them. */
  get bytesInMemory(): number {
    const yielding = [...this.#yielding.values()];
    const slices = [...this.slices, ...yielding.map(({ slice }) => slice)];
    const diskSlices = [...this.diskSlices, ...yielding.map(({ diskSlice }) => diskSlice)];
    const whole = slices.reduce((sum, slice) => sum + (slice?.bytes.length ?? 0), 0);
    return diskSlices.reduce((sum, slice) => sum + (slice ? indexSizeOf(slice.header.bucketCount) : 0), whole);
  }

  /** Lets go of everything; returns the slices on disk, for the caller to close when nobody reads from them any more. */
  drop(): DiskSlice[] {
    this.isDropped = true;
    const yielding = [...this.#yielding.values()].flatMap(({ diskSlice }) => diskSlice ?? []);
    const diskSlices = [...this.diskSlices.flatMap((diskSlice) => diskSlice ?? []), ...yielding];
    this.slices.fill(undefined);
    this.diskSlices.fill(undefined);
    this.#yielding.clear();
    this.#states.fill('absent');
    return diskSlices;
  }
}

/** What a batch says of a key whose slice is not served. */
export function statusOfAbsent(state: SliceState): BatchStatus {
  return state === 'loading' || state === 'queued' ? batchStatus.loading : state === 'corrupt' ? batchStatus.corrupt : batchStatus.notHeld;
}

/** What a report reads of a version. */
export type ReportedVersion = Pick<HeldVersion, 'id' | 'sequence' | 'sliceCount' | 'stateOf' | 'endsFromReport' | 'isSettled'>;

/** A version that ends is answered from, and counts for nobody. `inUse`: routers serve it. */
export function reportOf(version: ReportedVersion, inUse: boolean): VersionReport {
  const { id, sequence, sliceCount, isSettled } = version;
  const having = (...states: readonly SliceState[]) => rangesOf(sliceCount, (i) => states.includes(version.stateOf(i as SliceIndex)));
  const isEnding = version.endsFromReport !== undefined;
  return {
    id,
    sequence,
    sliceCount,
    slices: {
      kept: isEnding ? [] : having('kept'),
      loading: isEnding ? [] : having('queued', 'loading'),
      yielding: isEnding ? having('kept', 'yielding') : having('yielding'),
      corrupt: having('corrupt'),
    },
    settled: isSettled && !isEnding,
    inUse,
  };
}
