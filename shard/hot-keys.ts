// The hot keys of the last run: the hashes of what was in the record cache when the shard stopped, so that the next start fills it with
// the same. Hashes, not keys: 4 bytes each, and in their order they fall into slices as the records do. A hash that two keys share brings both.
//
//     "PAVOHOT1" | u32 count | u32 CRC-32 of the hashes | u32 hash, ascending
//
// The list is a hint, of any version: one that fails its check is not used, and nothing is lost.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { keyHash32, type SliceIndex, sliceIndexOf } from '../shared/key-hash.ts';
import type { RecordCache } from './record-cache.ts';

const magic = 'PAVOHOT1';
const headSize = 16;

/** Writes the hashes of all keys in the cache below `stateDir`, which is made. Throws the system's error. */
export function saveHotKeys(stateDir: string, cache: RecordCache): number {
  const hashes = new Uint32Array(cache.stats.entries);
  let count = 0;
  for (const { bytes, keyStart, keyEnd } of cache.residentKeys()) {
    if (count === hashes.length) break;
    hashes[count++] = keyHash32(bytes, keyStart, keyEnd);
  }
  const sorted = hashes.subarray(0, count).sort();
  const body = Buffer.from(sorted.buffer, sorted.byteOffset, sorted.byteLength);
  const head = Buffer.alloc(headSize);
  head.write(magic, 'latin1');
  head.writeUInt32LE(count, 8);
  head.writeUInt32LE(crc32(body), 12);
  mkdirSync(stateDir, { recursive: true });
  const path = pathIn(stateDir);
  writeFileSync(`${path}.tmp`, Buffer.concat([head, body]));
  renameSync(`${path}.tmp`, path);
  return count;
}

/** The hashes of the last run, ascending; undefined when there are none, or they fail their check. */
export function readHotKeys(stateDir: string): Uint32Array | undefined {
  let file: Buffer;
  try {
    file = readFileSync(pathIn(stateDir));
  } catch {
    return undefined;
  }
  const body = file.subarray(headSize);
  if (file.length < headSize || file.toString('latin1', 0, 8) !== magic) return undefined;
  if (file.readUInt32LE(8) * 4 !== body.length || file.readUInt32LE(12) !== crc32(body)) return undefined;
  const hashes = new Uint32Array(body.length / 4);
  Buffer.from(hashes.buffer).set(body);
  return hashes;
}

/** Those of the ascending hashes that belong to one slice: a copy, to be sent to another thread. */
export function hashesOfSlice(hashes: Uint32Array, sliceIndex: SliceIndex, sliceBits: number): Uint32Array {
  const start = firstNotBelow(hashes, sliceIndex, sliceBits);
  const end = firstNotBelow(hashes, sliceIndex + 1, sliceBits);
  return hashes.slice(start, end);
}

/** The position of the first hash whose slice is `sliceIndex` or a later one. */
function firstNotBelow(hashes: Uint32Array, sliceIndex: number, sliceBits: number): number {
  let low = 0;
  let high = hashes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sliceIndexOf(hashes[middle]!, sliceBits) < sliceIndex) low = middle + 1;
    else high = middle;
  }
  return low;
}

function pathIn(stateDir: string): string {
  return join(stateDir, 'hot-keys');
}
