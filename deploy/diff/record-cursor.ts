// Goes through the records of one range of hashes in a slice, in their order, and checks what a wrong answer could come of: the directory's
// bounds, each record's lengths, the order, and that each key belongs to the range. Nothing is allocated for a record.
//
// A range is the records whose hash begins with some bits. Where a bucket is wider than that, the records before and after are skipped.

import { PavostoreError } from '../../shared/errors.ts';
import { keyHash32, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Slice } from '../../shared/slice-layout.ts';
import { readVarint, varintSize } from '../../shared/varint.ts';

export class RecordCursor {
  readonly bytes: Buffer;
  readonly #slice: Slice;
  readonly #what: string;
  #rangeBits = 0;
  #range = 0;
  /** The buckets of the range hold nothing else. */
  isExact = true;
  /** Where the rest of the range lies in `bytes`. */
  at = 0;
  spanEnd = 0;
  /** Of the record: key from `keyStart` to `valueStart`, value from there to `end`. */
  hash = 0;
  keyStart = 0;
  valueStart = 0;
  end = 0;

  /** `what` names the slice in messages. */
  constructor(slice: Slice, what: string) {
    this.bytes = slice.bytes;
    this.#slice = slice;
    this.#what = what;
  }

  /** How many bits of a hash lead to a bucket of this slice. */
  get bucketHashBits(): number {
    return this.#slice.sliceBits + this.#slice.bucketBits;
  }

  /** Goes to the records whose hash begins with the `rangeBits` bits `range`, which lie in this slice. Throws `slice_malformed`. */
  open(rangeBits: number, range: number): void {
    const { header, directory, sliceBits, bucketBits } = this.#slice;
    const localBits = rangeBits - sliceBits;
    const local = range - header.sliceIndex * 2 ** localBits;
    this.isExact = bucketBits >= localBits;
    const bucketsPerRange = 2 ** (bucketBits - localBits);
    const first = Math.floor(local * bucketsPerRange);
    const last = this.isExact ? first + bucketsPerRange : first + 1;
    const start = directory[first]!;
    const end = directory[last]!;
    if (start > end || end > header.records.length) {
      throw this.#refuse(`buckets ${first} to ${last - 1} run from ${start} to ${end}, out of order or beyond the records`);
    }
    this.#rangeBits = rangeBits;
    this.#range = range;
    this.at = header.records.offset + start;
    this.spanEnd = header.records.offset + end;
    this.hash = 0;
    this.keyStart = 0;
    this.valueStart = 0;
  }

  /** Goes to the next record; false when there is none. Throws `slice_malformed`. */
  next(): boolean {
    while (this.at < this.spanEnd) {
      this.#read();
      const range = sliceIndexOf(this.hash, this.#rangeBits);
      if (range === this.#range) return true;
      if (this.isExact) throw this.#refuse(`the record that ends at ${this.end} is not in the bucket of its key`);
      if (range > this.#range) this.at = this.spanEnd;
    }
    return false;
  }

  #read(): void {
    const { bytes, at, spanEnd } = this;
    const keySize = readVarint(bytes, at, spanEnd);
    if (keySize < 1 || keySize > limits.keySizeMax) throw this.#refuse(`the record at ${at} is malformed`);
    const valueSizeAt = at + varintSize(keySize);
    const valueSize = readVarint(bytes, valueSizeAt, spanEnd);
    if (valueSize < 0 || valueSize > limits.valueSizeMax) throw this.#refuse(`the record at ${at} is malformed`);
    const keyStart = valueSizeAt + varintSize(valueSize);
    const valueStart = keyStart + keySize;
    const end = valueStart + valueSize;
    if (end > spanEnd) throw this.#refuse(`the record at ${at} ends at ${end}, its bucket at ${spanEnd}`);
    const hash = keyHash32(bytes, keyStart, valueStart);
    if (hash < this.hash || (hash === this.hash && this.keyStart > 0 && this.#compareKey(keyStart, valueStart) <= 0)) {
      throw this.#refuse(`the record at ${at} is not greater than the one before it in the order (hash, key)`);
    }
    this.hash = hash;
    this.keyStart = keyStart;
    this.valueStart = valueStart;
    this.end = end;
    this.at = end;
  }

  /** Positive when the key at `keyStart` is greater than that of the record. */
  #compareKey(keyStart: number, keyEnd: number): number {
    return this.bytes.compare(this.bytes, this.keyStart, this.valueStart, keyStart, keyEnd);
  }

  #refuse(reason: string): PavostoreError {
    return new PavostoreError('slice_malformed', `${this.#what}: ${reason}`);
  }
}
