// Batch, wire format 1: what a router asks a shard over `POST /batch`, and the reply; both directions on one page.
//
//     request   u8 protocol = 1 | version id, 16 bytes | u32 count | per key: u16 length, key
//     reply     u8 protocol = 1 | version id, 16 bytes | u32 count | per key, in order: u8 status, for `found`: u32 length, value
//
// Little endian. A reply is at most `batchReplySizeMax`, unless a single value exceeds it; keys whose value found no room
// are `deferred`: ask again. Only a 200 of this type, version and count is an answer; all else is a failed try.

import { limits } from './limits.ts';
import { bodyOf, headRoom, type Outgoing, takeBuffer } from './outgoing.ts';
import { copyWords, type WordBuffer } from './word-copy.ts';

export const batchContentType = 'application/vnd.pavostore.batch';
export const batchProtocol = 1;
export const batchHeadSize = 21;

/** The states of one key in a reply. */
export const batchStatus = { found: 0, missing: 1, notHeld: 2, loading: 3, corrupt: 4, deferred: 5 } as const;
export type BatchStatus = (typeof batchStatus)[keyof typeof batchStatus];

/** Some keys of a request, which write themselves. */
export type BatchEntry = {
  readonly keyCount: number;
  /** In bytes: of each key's length, a u16, and the key. */
  readonly wireSize: number;
  /** Writes its keys from `at` on with `writeKey` or `writeKeyBytes`; returns where they end. */
  readonly writeTo: (target: WordBuffer, at: number) => number;
};

/** The whole request for the keys of `entries`, at most `batchKeysMax`. */
export function encodeBatch(versionId: Buffer, entries: readonly BatchEntry[]): Outgoing {
  let size = headRoom + batchHeadSize;
  let count = 0;
  for (const entry of entries) {
    size += entry.wireSize;
    count += entry.keyCount;
  }
  const buffer = takeBuffer(size);
  writeBatchHead(buffer.bytes, headRoom, versionId, count);
  let end = headRoom + batchHeadSize;
  for (const entry of entries) end = entry.writeTo(buffer, end);
  return { buffer, start: headRoom, end };
}

/** The bytes of the same for keys as latin1 strings of 1 to `keySizeMax` characters. For tests and benchmarks. */
export function encodeBatchRequest(versionId: Buffer, keys: readonly { readonly key: string }[]): Buffer {
  const entries = keys.map(({ key }) => ({
    keyCount: 1,
    wireSize: 2 + key.length,
    writeTo: (target: WordBuffer, at: number) => writeKey(target, at, key),
  }));
  return bodyOf(encodeBatch(versionId, entries));
}

/** Below so many characters, to write them one by one costs less than the call of `Buffer.write`. */
const nativeWriteMin = 64;

/** A key as a latin1 string. */
export function writeKey({ bytes }: WordBuffer, at: number, key: string): number {
  const { length } = key;
  bytes[at] = length & 0xff;
  bytes[at + 1] = length >>> 8;
  if (length >= nativeWriteMin) bytes.write(key, at + 2, 'latin1');
  else for (let i = 0; i < length; i++) bytes[at + 2 + i] = key.charCodeAt(i);
  return at + 2 + length;
}

/** The key in `source` from `start` to `end`. */
export function writeKeyBytes(target: WordBuffer, at: number, source: WordBuffer, start: number, end: number): number {
  const size = end - start;
  target.bytes[at] = size & 0xff;
  target.bytes[at + 1] = size >>> 8;
  return copyWords(target, at + 2, source, start, end);
}

/** Protocol, version id (16 bytes) and count, where a request or a reply starts in `target`. */
export function writeBatchHead(target: Buffer, at: number, versionId: Buffer, count: number): void {
  target[at] = batchProtocol;
  versionId.copy(target, at + 1);
  target.writeUInt32LE(count, at + 17);
}

export type BatchRequest = {
  readonly versionId: Buffer;
  readonly count: number;
  /** Where each key starts in `bytes`, and after the last one where it ends: key i is from `keyStarts[i]` to `keyStarts[i + 1] - 2`. */
  readonly keyStarts: Uint32Array;
  readonly bytes: Buffer;
};

/** Reads and checks a request; undefined when it is malformed in any way. Keys are views into `bytes`. */
export function readBatchRequest(bytes: Buffer): BatchRequest | undefined {
  if (bytes.length < batchHeadSize || bytes[0] !== batchProtocol) return undefined;
  const count = bytes.readUInt32LE(17);
  if (count < 1 || count > limits.batchKeysMax) return undefined;
  const keyStarts = new Uint32Array(count + 1);
  let at = batchHeadSize;
  for (let i = 0; i < count; i++) {
    if (at + 2 > bytes.length) return undefined;
    const keySize = bytes[at]! | (bytes[at + 1]! << 8);
    if (keySize < 1 || keySize > limits.keySizeMax) return undefined;
    keyStarts[i] = at + 2;
    at += 2 + keySize;
    if (at > bytes.length) return undefined;
  }
  keyStarts[count] = at + 2;
  return at === bytes.length ? { versionId: bytes.subarray(1, 17), count, keyStarts, bytes } : undefined;
}

/** True when `reply` is a well-formed answer to a request of this version with `count` keys. Nothing may be taken from it before. */
export function isBatchReply(reply: Buffer, versionId: Buffer, count: number): boolean {
  if (reply.length < batchHeadSize || reply[0] !== batchProtocol) return false;
  if (reply.compare(versionId, 0, 16, 1, 17) !== 0 || reply.readUInt32LE(17) !== count) return false;
  let at = batchHeadSize;
  for (let i = 0; i < count; i++) {
    if (at >= reply.length) return false;
    const status = reply[at++]!;
    if (status > batchStatus.deferred) return false;
    if (status !== batchStatus.found) continue;
    if (at + 4 > reply.length) return false;
    const valueSize = readU32(reply, at);
    if (valueSize > limits.valueSizeMax) return false;
    at += 4 + valueSize;
  }
  return at === reply.length;
}

/** One key's part of a reply, as `readBatchReply` hands it out: for `found`, the value is from `start` to `end` in the reply. */
export type BatchAnswer = (keyIndex: number, status: BatchStatus, start: number, end: number) => void;

/** Hands out each key's status in order. `reply` must have passed `isBatchReply`. */
export function readBatchReply(reply: Buffer, answer: BatchAnswer): void {
  const count = reply.readUInt32LE(17);
  const cursor = new ReplyCursor(reply);
  for (let i = 0; i < count; i++) {
    cursor.next();
    answer(i, cursor.status, cursor.start, cursor.end);
  }
}

/** Walks through the keys of a reply that has passed `isBatchReply`, one `next` for each of them. */
export class ReplyCursor {
  readonly reply: Buffer;
  status: BatchStatus = batchStatus.deferred;
  /** For `found`, the value is from `start` to `end` in the reply; 0 otherwise. */
  start = 0;
  end = 0;
  deferredCount = 0;
  #at = batchHeadSize;

  constructor(reply: Buffer) {
    this.reply = reply;
  }

  next(): void {
    this.status = this.reply[this.#at++]! as BatchStatus;
    if (this.status === batchStatus.found) {
      this.start = this.#at + 4;
      this.end = this.start + readU32(this.reply, this.#at);
      this.#at = this.end;
    } else {
      this.start = 0;
      this.end = 0;
      if (this.status === batchStatus.deferred) this.deferredCount++;
    }
  }
}

/** In bounds by the caller's check. */
function readU32(bytes: Buffer, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
