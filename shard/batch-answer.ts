// A batch of keys against slices that are all in memory: bytes in, bytes out. The shard hashes each key itself and says `missing`
// only from a verified slice that it holds.

import { type BatchRequest, type BatchStatus, batchHeadSize, batchStatus, writeBatchHead } from '../shared/batch-wire.ts';
import { keyHash32, sliceIndexOf } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { headRoom, type Outgoing, takeBuffer } from '../shared/outgoing.ts';
import { type BucketPlace, findBucket, findInBucket, lookup, type Match, type Slice } from '../shared/slice-layout.ts';
import { copyWords } from '../shared/word-copy.ts';
import { type HeldVersion, statusOfAbsent } from './held-version.ts';

/** How keys were answered since the start; grows only. */
export type AnswerCounts = { found: number; missing: number; notHeld: number; loading: number; corrupt: number; deferred: number };

export const noAnswers = (): AnswerCounts => ({ found: 0, missing: 0, notHeld: 0, loading: 0, corrupt: 0, deferred: 0 });

// Scratch of one batch at a time: an answer is made in one go, without waiting in between.
const match: Match = { valueStart: 0, valueEnd: 0 };
const place: BucketPlace = { start: 0, end: 0 };
const statuses = new Uint8Array(limits.batchKeysMax);
const hashes = new Uint32Array(limits.batchKeysMax);
/** Of the key that is still to be looked for: its bucket; then of its value, in `sliceOf`. */
const starts = new Uint32Array(limits.batchKeysMax);
const ends = new Uint32Array(limits.batchKeysMax);
const sliceOf: (Slice | undefined)[] = new Array(limits.batchKeysMax).fill(undefined);
/** In place of a status, as long as there is none. */
const unsearched = 0xff;
/** What `touchBuckets` read: kept, so that reading it is no idle work for the compiler to leave out. */
const touched = { sum: 0 };

/** The whole reply. `version` is the one that the request names, undefined when this shard does not hold it. */
export function answerBatch(version: HeldVersion | undefined, request: BatchRequest, counts: AnswerCounts): Outgoing {
  const replySize = version ? lookUpAll(version, request, counts) : holdNone(request, counts);
  return writeReply(request, replySize);
}

/**
 * In passes, each over the whole batch, so that the processor waits for the memory of many keys at once, not of one after the other: choose the
 * slices, find the buckets, touch them, search them.
 */
function lookUpAll(version: HeldVersion, request: BatchRequest, counts: AnswerCounts): number {
  chooseSlices(version, request, counts);
  findBuckets(version, request.count, counts);
  touchBuckets(request.count);
  return searchBuckets(version, request, counts);
}

function chooseSlices(version: HeldVersion, { bytes, keyStarts, count }: BatchRequest, counts: AnswerCounts): void {
  const { slices, sliceBits } = version;
  for (let i = 0; i < count; i++) {
    const hash = keyHash32(bytes, keyStarts[i]!, keyStarts[i + 1]! - 2);
    const sliceIndex = sliceIndexOf(hash, sliceBits);
    const slice = slices[sliceIndex] ?? version.askYielding(sliceIndex);
    hashes[i] = hash;
    sliceOf[i] = slice;
    statuses[i] = slice ? unsearched : countAbsent(statusOfAbsent(version.stateOf(sliceIndex)), counts);
  }
}

function findBuckets(version: HeldVersion, count: number, counts: AnswerCounts): void {
  for (let i = 0; i < count; i++) {
    if (statuses[i] !== unsearched) continue;
    const slice = sliceOf[i]!;
    if (findBucket(slice, hashes[i]!, place)) {
      starts[i] = place.start;
      ends[i] = place.end;
    } else statuses[i] = suspect(version, slice, counts);
  }
}

/** Reads a byte of each line of the processor's cache that a bucket begins with. */
function touchBuckets(count: number): void {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    if (statuses[i] !== unsearched) continue;
    const { bytes } = sliceOf[i]!;
    const end = Math.min(ends[i]!, starts[i]! + limits.bucketTouchSize);
    for (let at = starts[i]!; at < end; at += cacheLineSize) sum += bytes[at]!;
  }
  touched.sum = sum;
}

const cacheLineSize = 64;

function searchBuckets(version: HeldVersion, { bytes, keyStarts, count }: BatchRequest, counts: AnswerCounts): number {
  let replySize = batchHeadSize + count;
  let valuesTaken = 0;
  for (let i = 0; i < count; i++) {
    if (statuses[i] !== unsearched) continue;
    const outcome = findInBucket(sliceOf[i]!.bytes, starts[i]!, ends[i]!, bytes, keyStarts[i]!, keyStarts[i + 1]! - 2, match);
    if (outcome === lookup.missing) {
      statuses[i] = batchStatus.missing;
      counts.missing++;
      continue;
    }
    if (outcome === lookup.corrupt) {
      statuses[i] = suspect(version, sliceOf[i]!, counts);
      continue;
    }
    const size = 4 + match.valueEnd - match.valueStart;
    // The first value is always taken: one alone may exceed the size of a reply.
    if (valuesTaken > 0 && replySize + size > limits.batchReplySizeMax) {
      statuses[i] = batchStatus.deferred;
      counts.deferred++;
      continue;
    }
    statuses[i] = batchStatus.found;
    starts[i] = match.valueStart;
    ends[i] = match.valueEnd;
    replySize += size;
    valuesTaken++;
    counts.found++;
  }
  return replySize;
}

/** A slice that was verified makes no sense any more: it is to be looked at. */
function suspect(version: HeldVersion, { header }: Slice, counts: AnswerCounts): BatchStatus {
  version.suspects.add(header.sliceIndex);
  return countAbsent(batchStatus.corrupt, counts);
}

/** Counts a key whose slice cannot be looked into. */
function countAbsent(status: BatchStatus, counts: AnswerCounts): BatchStatus {
  if (status === batchStatus.loading) counts.loading++;
  else if (status === batchStatus.corrupt) counts.corrupt++;
  else counts.notHeld++;
  return status;
}

function holdNone(request: BatchRequest, counts: AnswerCounts): number {
  statuses.fill(batchStatus.notHeld, 0, request.count);
  counts.notHeld += request.count;
  return batchHeadSize + request.count;
}

function writeReply(request: BatchRequest, size: number): Outgoing {
  const buffer = takeBuffer(headRoom + size);
  const { bytes } = buffer;
  writeBatchHead(bytes, headRoom, request.versionId, request.count);
  let at = headRoom + batchHeadSize;
  for (let i = 0; i < request.count; i++) {
    bytes[at++] = statuses[i]!;
    if (statuses[i] === batchStatus.found) {
      bytes.writeUInt32LE(ends[i]! - starts[i]!, at);
      at = copyWords(buffer, at + 4, sliceOf[i]!.words, starts[i]!, ends[i]!);
    }
    // A slice that is given up must not be kept by this.
    sliceOf[i] = undefined;
  }
  return { buffer, start: headRoom, end: at };
}
