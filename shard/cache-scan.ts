// Checks what the record cache has of one slice, while the scrub reads the slice's file: each record of a bucket whose CRC is right is compared with
// what is resident of its key. It costs a look-up in the cache for each record, and no read. What differs is a bit that flipped in memory, and is forgotten: the
// next one who asks reads it from the disk.
//
// A key that flipped is never found, since no other key is looked for in its place; it leaves the cache as any record that nobody asks for.

import { crc32 } from 'node:zlib';
import { keyHash32 } from '../shared/key-hash.ts';
import { readRecordPlace } from '../shared/slice-layout.ts';
import type { DiskSlice } from './disk-slice.ts';
import type { HeldVersion } from './held-version.ts';

/** Fed with all bytes of the slice's file in their order. */
export class CacheScan {
  readonly #version: Pick<HeldVersion, 'disk' | 'cacheLane'>;
  readonly #slice: DiskSlice;
  #size = 0;
  #bucket = 0;
  /** The beginning of a bucket that ends in a later piece. */
  #begun: Buffer[] = [];

  constructor(version: Pick<HeldVersion, 'disk' | 'cacheLane'>, slice: DiskSlice) {
    this.#version = version;
    this.#slice = slice;
  }

  /** `piece` may be changed afterwards. */
  feed(piece: Buffer): void {
    const { directory, header } = this.#slice;
    const pieceStart = this.#size - header.records.offset;
    const pieceEnd = pieceStart + piece.length;
    this.#size += piece.length;
    for (; this.#bucket < header.bucketCount && directory[this.#bucket + 1]! <= pieceEnd; this.#bucket++) {
      const rest = piece.subarray(
        Math.max(0, directory[this.#bucket]! - pieceStart),
        Math.max(0, directory[this.#bucket + 1]! - pieceStart),
      );
      this.#checkBucket(this.#begun.length === 0 ? rest : Buffer.concat([...this.#begun, rest]));
      this.#begun = [];
    }
    const start = directory[this.#bucket]!;
    if (this.#bucket < header.bucketCount && start < pieceEnd)
      this.#begun.push(Buffer.from(piece.subarray(Math.max(0, start - pieceStart))));
  }

  #checkBucket(bytes: Buffer): void {
    const { disk, cacheLane } = this.#version;
    // A bad bucket is for the check of the file: what is in the cache may well be right.
    if (!disk || crc32(bytes) !== this.#slice.bucketCrcs[this.#bucket]) return;
    for (let at = 0; at < bytes.length; ) {
      const place = readRecordPlace(bytes, at, bytes.length);
      if (!place) return;
      const { keyStart, valueStart, end } = place;
      disk.cache.check(keyHash32(bytes, keyStart, valueStart), bytes, keyStart, valueStart, end, cacheLane);
      at = end;
    }
  }
}
