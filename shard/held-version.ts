// One version as this shard holds it: its manifest, and for each slice what is true of it here. At most two of these live
// in a shard. The slices' bytes lie outside the JavaScript heap; nothing is kept per entry.

import { type VersionHeaders, versionHeadersOf } from '../shared/get-response.ts';
import { bitsOf, type SliceIndex } from '../shared/key-hash.ts';
import type { Manifest } from '../shared/manifest.ts';
import type { Slice } from '../shared/slice-layout.ts';
import { rangesOf } from '../shared/slice-ranges.ts';
import type { VersionReport } from '../shared/status-report.ts';

/** `absent`: not here, and not on its way. The other states are those that the status report names. */
export type SliceState = 'absent' | 'loading' | 'kept' | 'corrupt';

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
  /** The slices that are served, by index: the table of the hot path. */
  readonly slices: (Slice | undefined)[];

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
  }

  stateOf(sliceIndex: SliceIndex): SliceState {
    return this.#states[sliceIndex]!;
  }

  markLoading(sliceIndex: SliceIndex): void {
    this.#states[sliceIndex] = 'loading';
  }

  /** Takes the slice over and serves it from now on. */
  keep(sliceIndex: SliceIndex, slice: Slice): void {
    this.slices[sliceIndex] = slice;
    this.#states[sliceIndex] = 'kept';
  }

  /** The slice failed its check: it is not served, the others are. */
  markCorrupt(sliceIndex: SliceIndex): void {
    this.slices[sliceIndex] = undefined;
    this.#states[sliceIndex] = 'corrupt';
  }

  report(): VersionReport {
    const having = (state: SliceState) => rangesOf(this.sliceCount, (i) => this.#states[i] === state);
    return {
      id: this.id,
      sequence: this.sequence,
      sliceCount: this.sliceCount,
      slices: { kept: having('kept'), loading: having('loading'), yielding: [], corrupt: having('corrupt') },
    };
  }

  /** Bytes of the slices that are held. */
  get bytesHeld(): number {
    return this.slices.reduce((sum, slice) => sum + (slice?.bytes.length ?? 0), 0);
  }
}
