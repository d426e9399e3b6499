// Checks a slice piece by piece, as it lies on the disk or in memory, without holding it: the SHA-256 of its header against the manifest, then the CRC-32 of
// each section against the header. That covers every byte, at a tenth of what the SHA-256 of the whole would cost; what comes from elsewhere is checked by that.

import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { readSliceHeader, type Section, type SliceHeader, sliceHeaderSize } from '../shared/slice-layout.ts';
import type { DiskSlice } from './disk-slice.ts';
import type { WantedSlice } from './slice-source.ts';

/** Fed with all bytes of one slice in their order. */
export class SliceScan {
  readonly #wanted: WantedSlice;
  readonly #head = Buffer.alloc(sliceHeaderSize);
  #size = 0;
  #sections: readonly (Section & { readonly name: string })[] = [];
  #crcs: number[] = [0, 0, 0];
  #fault: string | undefined;

  constructor(wanted: WantedSlice) {
    this.#wanted = wanted;
  }

  feed(piece: Buffer): void {
    const start = this.#size;
    this.#size += piece.length;
    if (start < sliceHeaderSize) {
      piece.copy(this.#head, start);
      if (this.#size >= sliceHeaderSize) this.#readHeader();
    }
    for (const [i, { offset, length }] of this.#sections.entries()) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, this.#size);
      if (from < to) this.#crcs[i] = crc32(piece.subarray(from - start, to - start), this.#crcs[i]);
    }
  }

  /** Why the bytes are not the slice, once all have been fed; undefined when they are. */
  findFault(): string | undefined {
    const { bytes } = this.#wanted.expected;
    if (this.#fault !== undefined) return this.#fault;
    if (this.#size !== bytes) return `${this.#size} bytes, the manifest says ${bytes}`;
    const bad = this.#sections.find(({ crc32: crcDue }, i) => this.#crcs[i] !== crcDue);
    return bad && `the CRC of its ${bad.name} is not what its header says`;
  }

  #readHeader(): void {
    const { expected, sliceIndex } = this.#wanted;
    if (hash('sha256', this.#head) !== expected.headerSha256) {
      this.#fault = 'its header is not the one that the manifest names';
      return;
    }
    const header = readSliceHeader(this.#head, expected.bytes, `slice ${sliceIndex}`);
    this.#sections = (['directory', 'bucketCrcs', 'records'] as const).map((name) => ({ name, ...header[name] }));
  }
}

/** Why the directory and the bucket CRCs that a slice on disk keeps in memory are not those of its file; undefined when they are. */
export function findIndexFault({ header, directory, bucketCrcs }: DiskSlice): string | undefined {
  const parts: readonly (readonly [keyof SliceHeader & ('directory' | 'bucketCrcs'), Uint32Array])[] = [
    ['directory', directory],
    ['bucketCrcs', bucketCrcs],
  ];
  const bad = parts.find(([name, words]) => crc32(new Uint8Array(words.buffer, words.byteOffset, words.byteLength)) !== header[name].crc32);
  return bad && `the CRC of its ${bad[0]} in memory is not what its header says`;
}
