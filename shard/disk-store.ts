// What the slices on disk of one shard share, whatever version they are of: the record cache and the reader of buckets.
//
// Each version has a lane of the cache to itself: the same key of two versions is two records, of which neither is ever taken for the other. A lane
// is used again only after the cache has been emptied since its last version was opened; of the lanes between, some hundreds of versions were.

import type { BucketReader } from './bucket-reader.ts';
import { cacheLaneCount, RecordCache } from './record-cache.ts';

export class DiskStore {
  readonly cache: RecordCache;
  readonly reader: BucketReader;

  #laneNext = 0;
  #laneWrapped = false;

  /** `cacheSize` in bytes; `recordSize`: the mean of key and value. The reader is the shard's: it outlives the store. */
  constructor(options: { cacheSize: number; recordSize: number; reader: BucketReader }) {
    this.cache = new RecordCache({ bytes: options.cacheSize, recordSize: options.recordSize });
    this.reader = options.reader;
  }

  /** A lane for a version that is opened. At most two versions are open at a time: so those that are have lanes of the last half. */
  openLane(): number {
    const lane = this.#laneNext;
    if (lane === cacheLaneCount / 2 || (lane === 0 && this.#laneWrapped)) this.cache.clear();
    this.#laneNext = (lane + 1) % cacheLaneCount;
    this.#laneWrapped ||= this.#laneNext === 0;
    return lane;
  }

  status(): Readonly<Record<string, unknown>> {
    return { bytes: this.cache.bytes, ...this.cache.stats, disk: this.reader.counts };
  }
}
