// A batch of keys when some of the slices are on disk: what is in memory or in the record cache is answered at once, the rest when its
// buckets have been read. Values are copied into an arena of the batch as they are found, since the cache may move its records meanwhile.

import { type BatchRequest, batchHeadSize, batchStatus, writeBatchHead } from '../shared/batch-wire.ts';
import { bucketIndexOf, keyHash32, sliceIndexOf } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { headRoom, type Outgoing, takeBuffer } from '../shared/outgoing.ts';
import { findInBucket, findRecord, lookup, type Match } from '../shared/slice-layout.ts';
import type { AnswerCounts } from './batch-answer.ts';
import type { DiskSlice } from './disk-slice.ts';
import type { DiskStore } from './disk-store.ts';
import { type HeldVersion, statusOfAbsent } from './held-version.ts';
import type { CacheMatch } from './record-cache.ts';

const match: Match = { valueStart: 0, valueEnd: 0 };
const cacheMatch: CacheMatch = { bytes: Buffer.alloc(0), valueStart: 0, valueEnd: 0 };
const arenaSizeMin = 16 * 1024;

/** A key that neither memory nor cache answered. */
type BucketKey = {
  readonly slice: DiskSlice;
  readonly hash: number;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly lane: number;
};

export class DiskBatch {
  readonly #store: DiskStore;
  readonly #request: BatchRequest;
  readonly #counts: AnswerCounts;
  readonly #onReply: (reply: Outgoing) => void;
  readonly #statuses: Uint8Array;
  readonly #valueStarts: Uint32Array;
  readonly #valueSizes: Uint32Array;
  #arena: Buffer;
  #arenaEnd = 0;
  #replySize: number;
  #valuesTaken = 0;
  #unsettled: number;

  constructor(store: DiskStore, request: BatchRequest, counts: AnswerCounts, onReply: (reply: Outgoing) => void) {
    this.#store = store;
    this.#request = request;
    this.#counts = counts;
    this.#onReply = onReply;
    this.#statuses = new Uint8Array(request.count);
    this.#valueStarts = new Uint32Array(request.count);
    this.#valueSizes = new Uint32Array(request.count);
    this.#arena = Buffer.allocUnsafe(arenaSizeMin);
    this.#replySize = batchHeadSize + request.count;
    this.#unsettled = request.count;
  }

  /** `onReply` is called once every key has a status: at once when nothing had to be read. */
  answer(version: HeldVersion): void {
    const { bytes, keyStarts, count } = this.#request;
    for (let i = 0; i < count; i++) {
      const keyStart = keyStarts[i]!;
      const keyEnd = keyStarts[i + 1]! - 2;
      const hash = keyHash32(bytes, keyStart, keyEnd);
      const sliceIndex = sliceIndexOf(hash, version.sliceBits);
      const slice = version.slices[sliceIndex] ?? version.askYielding(sliceIndex);
      const diskSlice = version.diskSlices[sliceIndex] ?? version.askYieldingOnDisk(sliceIndex);
      if (slice) {
        const outcome = findRecord(slice, hash, bytes, keyStart, keyEnd, match);
        if (outcome === lookup.corrupt) version.suspects.add(sliceIndex);
        this.#settle(i, outcome, slice.bytes, match.valueStart, match.valueEnd);
      } else if (!diskSlice) this.#settleStatus(i, statusOfAbsent(version.stateOf(sliceIndex)));
      else if (this.#store.cache.find(hash, bytes, keyStart, keyEnd, cacheMatch, version.cacheLane)) {
        this.#settle(i, lookup.found, cacheMatch.bytes, cacheMatch.valueStart, cacheMatch.valueEnd);
      } else this.#readBucket(i, { slice: diskSlice, hash, keyStart, keyEnd, lane: version.cacheLane });
    }
  }

  #readBucket(i: number, { slice, hash, keyStart, keyEnd, lane }: BucketKey): void {
    const { reader, cache } = this.#store;
    if (reader.pending >= limits.diskReadsQueueMax) return this.#settleStatus(i, batchStatus.deferred);
    reader.read(slice, bucketIndexOf(hash, slice.sliceBits, slice.bucketBits), (bucket) => {
      if (!bucket) return this.#settleStatus(i, batchStatus.corrupt);
      const outcome = findInBucket(bucket, 0, bucket.length, this.#request.bytes, keyStart, keyEnd, match);
      const { valueStart, valueEnd } = match;
      this.#settle(i, outcome, bucket, valueStart, valueEnd);
      if (outcome === lookup.found) cache.put(hash, bucket, valueStart - (keyEnd - keyStart), valueStart, valueEnd, lane);
    });
  }

  #settle(i: number, outcome: number, bytes: Buffer, valueStart: number, valueEnd: number): void {
    if (outcome === lookup.missing) return this.#settleStatus(i, batchStatus.missing);
    if (outcome === lookup.corrupt) return this.#settleStatus(i, batchStatus.corrupt);
    const size = valueEnd - valueStart;
    // The first value is always taken: one alone may exceed the size of a reply.
    if (this.#valuesTaken > 0 && this.#replySize + 4 + size > limits.batchReplySizeMax) return this.#settleStatus(i, batchStatus.deferred);
    this.#valuesTaken++;
    this.#replySize += 4 + size;
    this.#valueStarts[i] = this.#copy(bytes, valueStart, valueEnd);
    this.#valueSizes[i] = size;
    this.#settleStatus(i, batchStatus.found);
  }

  #settleStatus(i: number, status: number): void {
    this.#statuses[i] = status;
    count(this.#counts, status);
    if (--this.#unsettled === 0) this.#onReply(this.#writeReply());
  }

  /** Where the copy starts in the arena. */
  #copy(bytes: Buffer, start: number, end: number): number {
    const at = this.#arenaEnd;
    this.#arenaEnd += end - start;
    if (this.#arenaEnd > this.#arena.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#arena.length, this.#arenaEnd));
      this.#arena.copy(larger, 0, 0, at);
      this.#arena = larger;
    }
    bytes.copy(this.#arena, at, start, end);
    return at;
  }

  #writeReply(): Outgoing {
    const { count: keyCount, versionId } = this.#request;
    const buffer = takeBuffer(headRoom + this.#replySize);
    const { bytes } = buffer;
    writeBatchHead(bytes, headRoom, versionId, keyCount);
    let at = headRoom + batchHeadSize;
    for (let i = 0; i < keyCount; i++) {
      bytes[at++] = this.#statuses[i]!;
      if (this.#statuses[i] !== batchStatus.found) continue;
      const size = this.#valueSizes[i]!;
      bytes.writeUInt32LE(size, at);
      this.#arena.copy(bytes, at + 4, this.#valueStarts[i]!, this.#valueStarts[i]! + size);
      at += 4 + size;
    }
    return { buffer, start: headRoom, end: at };
  }
}

function count(counts: AnswerCounts, status: number): void {
  if (status === batchStatus.found) counts.found++;
  else if (status === batchStatus.missing) counts.missing++;
  else if (status === batchStatus.notHeld) counts.notHeld++;
  else if (status === batchStatus.loading) counts.loading++;
  else if (status === batchStatus.corrupt) counts.corrupt++;
  else counts.deferred++;
}
