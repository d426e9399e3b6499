// The hot keys of the last run: the hashes of what was in the record cache when the shard stopped, and how hot each was, so that the next
// start fills it with the same. Hashes, not keys: in their order they fall into slices as the records do. A hash that two keys share brings both.
//
//     "PAVOHOT2" | u32 count | u32 CRC-32 of what follows | u32 hash, ascending | i8 heat of each, in quarters of an octave
//
// The list is a hint, of any version: one that fails its check is not used, and nothing is lost.

import { readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { keyHash32, type SliceIndex, sliceIndexOf } from '../shared/key-hash.ts';
import type { RecordCache } from './record-cache.ts';

const magic = 'PAVOHOT2';
const headSize = 16;
const heatsPerOctave = 4;
/** One hash and its heat in a number that orders them: heats are -128 to 127. */
const heatSpan = 256;

/** Ascending hashes, and for each what `ResidentKey.heat` was, in quarters of an octave. */
export type HotKeys = { readonly hashes: Uint32Array; readonly heats: Int8Array };

/** Hashes that are gathered or put in order without a pause: a millisecond or two. */
const hashesATurn = 10_000;
const binBits = 8;

/**
 * Writes the hashes of all keys in the cache below `stateDir`, which is made; resolves to how many. A few thousand at a turn, since the shard
 * still serves: 16 million take some seconds. Rejects with the system's error.
 */
export async function saveHotKeys(stateDir: string, cache: RecordCache): Promise<number> {
  const bins = await gatherKeys(cache);
  const count = bins.reduce((sum, { length }) => sum + length, 0);
  const { hashes, heats } = { hashes: new Uint32Array(count), heats: new Int8Array(count) } satisfies HotKeys;
  let at = 0;
  for (const bin of bins) {
    for (const packed of bin.sort()) {
      hashes[at] = Math.floor(packed / heatSpan);
      heats[at++] = (packed % heatSpan) - heatSpan / 2;
    }
    await nextTurn();
  }
  const head = Buffer.alloc(headSize);
  head.write(magic, 'latin1');
  head.writeUInt32LE(count, 8);
  head.writeUInt32LE(crc32(heats, crc32(bytesOf(hashes))), 12);
  await mkdir(stateDir, { recursive: true });
  const path = pathIn(stateDir);
  try {
    await writeFile(`${path}.tmp`, [head, bytesOf(hashes), heats]);
    await rename(`${path}.tmp`, path);
  } catch (error) {
    // What was written of it would keep a full disk full.
    await rm(`${path}.tmp`, { force: true });
    throw error;
  }
  return count;
}

/** Hash and heat of each key, in bins by the top bits: to order all at once would hold up what is being served. */
async function gatherKeys(cache: RecordCache): Promise<Float64Array[]> {
  const { entries } = cache.stats;
  const bins = Array.from({ length: 2 ** binBits }, () => new Float64Array(64 + Math.ceil((1.1 * entries) / 2 ** binBits)));
  const counts = new Uint32Array(bins.length);
  let gathered = 0;
  for (const { bytes, keyStart, keyEnd, heat } of cache.residentKeys()) {
    const hash = keyHash32(bytes, keyStart, keyEnd);
    const at = hash >>> (32 - binBits);
    // The slices of a shard are some ranges of all hashes: its bins differ.
    if (counts[at] === bins[at]!.length) {
      const larger = new Float64Array(2 * bins[at]!.length);
      larger.set(bins[at]!);
      bins[at] = larger;
    }
    const heatByte = Math.max(-128, Math.min(127, Math.round(heatsPerOctave * heat)));
    bins[at]![counts[at]!++] = hash * heatSpan + heatByte + heatSpan / 2;
    if (++gathered % hashesATurn === 0) await nextTurn();
  }
  return bins.map((bin, at) => bin.subarray(0, counts[at]));
}

function bytesOf(hashes: Uint32Array): Buffer {
  return Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength);
}

/** Those of the last run; undefined when there are none, or they fail their check. */
export function readHotKeys(stateDir: string): HotKeys | undefined {
  let file: Buffer;
  try {
    file = readFileSync(pathIn(stateDir));
  } catch {
    return undefined;
  }
  if (file.length < headSize || file.toString('latin1', 0, magic.length) !== magic) return undefined;
  const count = file.readUInt32LE(8);
  const body = file.subarray(headSize);
  if (body.length !== 5 * count || file.readUInt32LE(12) !== crc32(body)) return undefined;
  // Copies: the numbers are read in the machine's way, at its alignment.
  const hashes = new Uint32Array(count);
  const heats = new Int8Array(count);
  bytesOf(hashes).set(body.subarray(0, 4 * count));
  heats.set(body.subarray(4 * count));
  return { hashes, heats };
}

/** Those of the keys that belong to one slice: copies, to be sent to another thread. */
export function hotKeysOfSlice({ hashes, heats }: HotKeys, sliceIndex: SliceIndex, sliceBits: number): HotKeys {
  const start = firstNotBelow(hashes, sliceIndex, sliceBits);
  const end = firstNotBelow(hashes, sliceIndex + 1, sliceBits);
  return { hashes: hashes.slice(start, end), heats: heats.slice(start, end) };
}

/** How hot the record with this hash was, in octaves; undefined when it is none of them. `from`: no hash before it is asked for any more. */
export function findHeat(
  { hashes, heats }: HotKeys,
  hash: number,
  from: number,
): { readonly at: number; readonly heat: number | undefined } {
  let at = from;
  while (at < hashes.length && hashes[at]! < hash) at++;
  return { at, heat: hashes[at] === hash ? heats[at]! / heatsPerOctave : undefined };
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
