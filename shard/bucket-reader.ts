// Reads buckets of slices on disk: one `pread` each, its CRC checked, those asked for while they are on their way shared, and
// only so many at once.

import { read } from 'node:fs';
import { crc32 } from 'node:zlib';
import { limits } from '../shared/limits.ts';
import { beginReading, type DiskSlice, endReading } from './disk-slice.ts';

/** `bytes` are the bucket's records, for everyone who asked and not to be changed; undefined when they failed their check. */
export type BucketCallback = (bytes: Buffer | undefined) => void;

type Reading = { readonly slice: DiskSlice; readonly bucket: number; readonly callbacks: BucketCallback[] };

export class BucketReader {
  /** By file descriptor and bucket. */
  readonly #readings = new Map<number, Reading>();
  #queue: Reading[] = [];
  #underway = 0;
  /** Since the start: for `/status`. */
  readonly counts = { reads: 0, shared: 0, failed: 0, bytes: 0 };
  readonly #onFailure: (slice: DiskSlice, reason: string) => void;

  constructor(onFailure: (slice: DiskSlice, reason: string) => void) {
    this.#onFailure = onFailure;
  }

  /** Buckets asked for and not read yet. */
  get pending(): number {
    return this.#readings.size;
  }

  /** Calls back later, never at once. */
  read(slice: DiskSlice, bucket: number, callback: BucketCallback): void {
    const id = slice.fd * 2 ** 32 + bucket;
    const underway = this.#readings.get(id);
    if (underway) {
      this.counts.shared++;
      underway.callbacks.push(callback);
      return;
    }
    const reading: Reading = { slice, bucket, callbacks: [callback] };
    this.#readings.set(id, reading);
    beginReading(slice);
    if (this.#underway < limits.diskReadsMax) this.#start(id, reading);
    else this.#queue.push(reading);
  }

  #start(id: number, reading: Reading): void {
    const { slice, bucket } = reading;
    const start = slice.directory[bucket]!;
    const end = slice.directory[bucket + 1]!;
    this.#underway++;
    this.counts.reads++;
    if (start > end || end > slice.header.records.length) {
      // The directory was right when it was loaded: memory changed.
      setImmediate(() => this.#settle(id, reading, `runs from ${start} to ${end} of ${slice.header.records.length} bytes of records`));
      return;
    }
    const size = end - start;
    const crcDue = slice.bucketCrcs[bucket]!;
    this.counts.bytes += size;
    const bytes = Buffer.allocUnsafeSlow(size);
    // An empty bucket is not read, but its CRC must be that of nothing: else its place in the directory is wrong, and records would seem missing.
    if (size === 0) setImmediate(() => this.#settle(id, reading, faultOf(null, 0, 0, bytes, crcDue), bytes));
    else {
      read(slice.fd, bytes, 0, size, slice.header.records.offset + start, (error, bytesRead) =>
        this.#settle(id, reading, faultOf(error, bytesRead, size, bytes, crcDue), bytes),
      );
    }
  }

  #settle(id: number, reading: Reading, fault: string | undefined, bytes?: Buffer): void {
    if (fault !== undefined) {
      this.counts.failed++;
      this.#onFailure(reading.slice, `${reading.slice.path}: bucket ${reading.bucket}: ${fault}`);
    }
    this.#end(id, reading, fault === undefined ? bytes : undefined);
  }

  #end(id: number, reading: Reading, bytes: Buffer | undefined): void {
    this.#underway--;
    this.#readings.delete(id);
    endReading(reading.slice);
    for (const callback of reading.callbacks) callback(bytes);
    while (this.#queue.length > 0 && this.#underway < limits.diskReadsMax) {
      // Taken from the front all at once when it is worth it: a shift of a long array is not free.
      const next = this.#queue.splice(0, limits.diskReadsMax - this.#underway);
      for (const waiting of next) this.#start(waiting.slice.fd * 2 ** 32 + waiting.bucket, waiting);
    }
  }
}

/** Why the bytes are not the bucket's; undefined when they are. */
function faultOf(error: Error | null, bytesRead: number, size: number, bytes: Buffer, crcDue: number): string | undefined {
  if (error) return error.message;
  if (bytesRead !== size) return `${bytesRead} of ${size} bytes could be read`;
  const crc = crc32(bytes);
  return crc === crcDue ? undefined : `its CRC is ${crc.toString(16)}, not ${crcDue.toString(16)}`;
}
