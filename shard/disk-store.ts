// What the slices on disk of one shard share: the record cache and the reader of buckets.

import { BucketReader } from './bucket-reader.ts';
import type { DiskSlice } from './disk-slice.ts';
import { RecordCache } from './record-cache.ts';

export class DiskStore {
  readonly cache: RecordCache;
  readonly reader: BucketReader;

  /** `cacheSize` in bytes; `recordSize`: the mean of key and value. `onFailure`: a bucket failed its check. */
  constructor(options: { cacheSize: number; recordSize: number; onFailure: (slice: DiskSlice, reason: string) => void }) {
    this.cache = new RecordCache({ bytes: options.cacheSize, recordSize: options.recordSize });
    this.reader = new BucketReader(options.onFailure);
  }

  status(): Readonly<Record<string, unknown>> {
    return { ...this.cache.stats, disk: this.reader.counts };
  }
}
