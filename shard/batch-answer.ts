// A batch of keys against slices that are all in memory: bytes in, bytes out. The shard hashes each key itself and says `missing`
// only from a verified slice that it holds.

import { type BatchRequest, batchHeadSize, batchStatus, writeBatchHead } from '../shared/batch-wire.ts';
import { keyHash32, sliceIndexOf } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { headRoom, type Outgoing, takeBuffer } from '../shared/outgoing.ts';
import { findRecord, lookup, type Match } from '../shared/slice-layout.ts';
import { type HeldVersion, statusOfAbsent } from './held-version.ts';

/** How keys were answered since the start; grows only. */
export type AnswerCounts = { found: number; missing: number; notHeld: number; loading: number; corrupt: number; deferred: number };

export const noAnswers = (): AnswerCounts => ({ found: 0, missing: 0, notHeld: 0, loading: 0, corrupt: 0, deferred: 0 });

// Scratch of one batch at a time: an answer is made in one go, without waiting in between.
const match: Match = { valueStart: 0, valueEnd: 0 };
const statuses = new Uint8Array(limits.batchKeysMax);
const valueStarts = new Uint32Array(limits.batchKeysMax);
const valueEnds = new Uint32Array(limits.batchKeysMax);
const valueBytes: (Buffer | undefined)[] = new Array(limits.batchKeysMax);

/** The whole reply. `version` is the one that the request names, undefined when this shard does not hold it. */
export function answerBatch(version: HeldVersion | undefined, request: BatchRequest, counts: AnswerCounts): Outgoing {
  const replySize = version ? lookUpAll(version, request, counts) : holdNone(request, counts);
  return writeReply(request, replySize);
}

function lookUpAll(version: HeldVersion, request: BatchRequest, counts: AnswerCounts): number {
  const { bytes, keyStarts, count } = request;
  const { slices, sliceBits } = version;
  let replySize = batchHeadSize + count;
  let valuesTaken = 0;
  for (let i = 0; i < count; i++) {
    const keyStart = keyStarts[i]!;
    const keyEnd = keyStarts[i + 1]! - 2;
    const hash = keyHash32(bytes, keyStart, keyEnd);
    const sliceIndex = sliceIndexOf(hash, sliceBits);
    const slice = slices[sliceIndex] ?? version.askYielding(sliceIndex);
    if (!slice) {
      statuses[i] = statusOfAbsent(version.stateOf(sliceIndex));
      if (statuses[i] === batchStatus.loading) counts.loading++;
      else if (statuses[i] === batchStatus.corrupt) counts.corrupt++;
      else counts.notHeld++;
      continue;
    }
    const outcome = findRecord(slice, hash, bytes, keyStart, keyEnd, match);
    if (outcome === lookup.found) {
      const size = 4 + match.valueEnd - match.valueStart;
      // The first value is always taken: one alone may exceed the size of a reply.
      if (valuesTaken > 0 && replySize + size > limits.batchReplySizeMax) {
        statuses[i] = batchStatus.deferred;
        counts.deferred++;
        continue;
      }
      statuses[i] = batchStatus.found;
      valueStarts[i] = match.valueStart;
      valueEnds[i] = match.valueEnd;
      valueBytes[i] = slice.bytes;
      replySize += size;
      valuesTaken++;
      counts.found++;
    } else if (outcome === lookup.missing) {
      statuses[i] = batchStatus.missing;
      counts.missing++;
    } else {
      version.suspects.add(sliceIndex);
      statuses[i] = batchStatus.corrupt;
      counts.corrupt++;
    }
  }
  return replySize;
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
    if (statuses[i] !== batchStatus.found) continue;
    const start = valueStarts[i]!;
    const end = valueEnds[i]!;
    bytes.writeUInt32LE(end - start, at);
    valueBytes[i]!.copy(bytes, at + 4, start, end);
    valueBytes[i] = undefined;
    at += 4 + end - start;
  }
  return { buffer, start: headRoom, end: at };
}
