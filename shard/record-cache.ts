// Records outside the JavaScript heap, for a shard whose slices do not fit in memory: a hit saves a read from disk.
//
// Set-associative: a key's hash names one set, a piece of memory for about `setEntriesTarget` records of usual size, and
// all that happens to a key happens there. A set is packed like a page of a database:
//
//        0  entries, u32 each, in the order of their tags:  tag 11 bits | score 7 bits | start of the record 14 bits, in units
//        .  free
//        .  records, without gaps to the end:  varint key length, varint value length, key, value
//        .  ghosts, u32 each: entries, without a record, of what was evicted or not admitted; 0 is none
//
// Tags are random, so where one stands is known but for a few places. They only spare comparisons: the full key is compared,
// always. Beside the sets, three numbers for each: its entries, the bytes of its records, and the zero of its scores. All zero is an empty
// set, so that memory is touched only when it is used.
//
// Which record leaves: a score is the logarithm, in steps of 1/4 octave, of how often its record was asked for, where an access
// counts half as much after each half-life (Lee et al., "LRFU", IEEE Transactions on Computers 50/12, 2001). On that scale passing time
// moves the clock and no score. A newcomer takes the place of the lowest score unless its own is lower; ghosts let it
// have a past. Three half-lives compete on a few sets each, and the one with the fewest misses rules all others (set dueling:
// Qureshi et al., ISCA 2007). docs/decisions/006-record-cache.md has the alternatives and the figures.

import assert from 'node:assert/strict';
import { recordSizeOf, writeRecordHead } from '../shared/slice-layout.ts';
import { readVarint, varintSize } from '../shared/varint.ts';

const MiB = 1024 * 1024;

const setEntriesTarget = Number(process.env.SE ?? 64);
const setSizeMin = 4096;
/** Room for the largest record, twice. */
const setSizeMax = 32 * MiB;
const setSizeMultiple = 64;
/** One ArrayBuffer each: offsets in it are positive 32-bit integers. */
const segmentSizeMax = 1024 * MiB;

const ghostCount = Number(process.env.GH ?? 32);
const ghostsSize = 4 * ghostCount;

const tagShift = 21;
const tagBits = 32 - tagShift;
const scoreShift = 14;
const scoreMax = 0x7f;
const offsetMax = 0x3fff;

const stepsPerOctave = 4;
/** Scores of a set are moved down before the present reaches `nowMax`: ten octaves above it are room for the hottest, */
const nowMax = 72;
/** and so many below it for the coldest. */
const nowMin = 40;

/** Half-lives of the three contestants, in accesses per entry: 2.5, 10 and 40; each a power of two ticks a step. */
const halfLifeMin = 2.5;
const stepTicksBits = [0, 2, 4] as const;
const followers = 3;
const contestantEvery = 32;
const missesKept = 0.9;

export type RecordCacheOptions = {
  /** All memory that the cache may take, in bytes. */
  readonly bytes: number;
  /** Mean size of a record, key and value, in bytes: decides the size of the sets. */
  readonly recordSize?: number;
};

/** Where a value is. `bytes` belongs to the cache: it is to be read at once, before the next call that writes. */
export type CacheMatch = { bytes: Buffer; valueStart: number; valueEnd: number };

export type RecordCacheStats = {
  readonly hits: number;
  readonly misses: number;
  readonly puts: number;
  readonly evictions: number;
  /** Puts whose record was colder than all that it would have displaced, or too large. */
  readonly rejected: number;
  readonly entries: number;
  /** Bytes of keys and values that are resident. */
  readonly bytesUsed: number;
};

type Segment = { readonly bytes: Buffer; readonly words: Uint32Array };

/** What one access adds to a score that stands `i - 128` steps above it: 4 log2(1 + 2^(d/4)), in 1/256 steps. */
const raised = Uint16Array.from({ length: 256 }, (_, i) =>
  Math.min(0xffff, Math.round(256 * stepsPerOctave * Math.log2(1 + 2 ** ((i - 128) / stepsPerOctave)))),
);

export class RecordCache {
  readonly bytes: number;
  readonly recordSizeMax: number;
  readonly #setSize: number;
  readonly #setCount: number;
  readonly #setsPerHash: number;
  readonly #segmentBits: number;
  readonly #segmentMask: number;
  readonly #segments: Segment[];
  readonly #unitBits: number;
  readonly #recordsEnd: number;
  readonly #typicalLog: number;
  /** Per set: entries, record bytes, base */
  readonly #heads: Int32Array;
  readonly #clocks = new Int32Array(4);
  readonly #missesOf = new Float64Array(4);
  #ticks = 0;
  #followerTicks = 0;
  #winner = 1;
  #untilTick = 1;
  #dice = 0;
  #hits = 0;
  #misses = 0;
  #puts = 0;
  #evictions = 0;
  #rejected = 0;
  #entries = 0;
  #bytesUsed = 0;

  constructor({ bytes, recordSize = 128 }: RecordCacheOptions) {
    assert(bytes >= setSizeMin, 'a cache holds at least one set');
    const wanted = setEntriesTarget * (recordSizeOf(0, recordSize) + 5) + ghostsSize;
    const bounded = Math.min(setSizeMax, Math.max(setSizeMin, wanted), bytes);
    this.#setSize = bounded - (bounded % setSizeMultiple);
    this.#setCount = Math.floor(bytes / (this.#setSize + 12));
    this.#setsPerHash = this.#setCount / 2 ** 32;
    this.#segmentBits = Math.floor(Math.log2(segmentSizeMax / this.#setSize));
    this.#segmentMask = 2 ** this.#segmentBits - 1;
    this.#segments = segmentsOf(this.#setCount, 2 ** this.#segmentBits, this.#setSize);
    this.#heads = new Int32Array(this.#setCount * 3);
    this.#unitBits = Math.max(0, Math.ceil(Math.log2(this.#setSize / (offsetMax + 1))));
    const unit = 2 ** this.#unitBits;
    this.#recordsEnd = this.#setSize - ghostsSize - ((this.#setSize - ghostsSize) % unit);
    this.recordSizeMax = Math.floor(this.#recordsEnd / 2);
    this.#typicalLog = logSteps(recordSize);
    this.bytes = this.#setCount * (this.#setSize + 12);
  }

  get stats(): RecordCacheStats {
    return {
      hits: this.#hits,
      misses: this.#misses,
      puts: this.#puts,
      evictions: this.#evictions,
      rejected: this.#rejected,
      entries: this.#entries,
      bytesUsed: this.#bytesUsed,
    };
  }

  get winner(): number {
    return this.#winner;
  }

  #sink = 0;
  warm(hashes: Uint32Array, count: number): void {
    let s = 0;
    for (let i = 0; i < count; i++) {
      const mixed = mixHash(hashes[i]!);
      const set = Math.floor((mixed >>> 0) * this.#setsPerHash);
      const { words } = this.#segments[set >>> this.#segmentBits]!;
      const tag = mixed & 0x7ff;
      s ^= words[(((set & this.#segmentMask) * this.#setSize) >>> 2) + ((tag * this.#heads[set * 3]!) >>> tagBits)]!;
    }
    this.#sink ^= s;
  }

  /**
   * Looks up the key in `keyBytes` from `keyStart` to `keyEnd`, whose `keyHash32` is `hash`. On a hit `match` holds the value's
   * place. Counts as an access.
   */
  find(hash: number, keyBytes: Uint8Array, keyStart: number, keyEnd: number, match: CacheMatch): boolean {
    if (--this.#untilTick <= 0) this.#tick();
    const mixed = mixHash(hash);
    const set = Math.floor((mixed >>> 0) * this.#setsPerHash);
    const { bytes, words } = this.#segments[set >>> this.#segmentBits]!;
    const setAt = (set & this.#segmentMask) * this.#setSize;
    const entriesAt = setAt >>> 2;
    const count = this.#heads[set * 3]!;
    const tag = mixed & 0x7ff;
    const entriesEnd = entriesAt + count;
    for (let i = firstOfTag(words, entriesAt, count, tag); i < entriesEnd; i++) {
      const word = words[i]!;
      if (word >>> tagShift !== tag) break;
      const recordAt = setAt + ((word & offsetMax) << this.#unitBits);
      const keySize = readVarint(bytes, recordAt, bytes.length);
      if (keySize !== keyEnd - keyStart) continue;
      const valueSizeAt = recordAt + varintSize(keySize);
      const valueSize = readVarint(bytes, valueSizeAt, bytes.length);
      const keyAt = valueSizeAt + varintSize(valueSize);
      let j = 0;
      while (j < keySize && bytes[keyAt + j] === keyBytes[keyStart + j]) j++;
      if (j < keySize) continue;
      match.bytes = bytes;
      match.valueStart = keyAt + keySize;
      match.valueEnd = keyAt + keySize + valueSize;
      this.#hits++;
      const now = this.#nowOf(words, set, setAt);
      const score = (word >>> scoreShift) & scoreMax;
      const next = this.#raise(score, now, keySize + valueSize);
      if (next !== score) words[i] = (word & ~(scoreMax << scoreShift)) | (next << scoreShift);
      return true;
    }
    this.#misses++;
    const group = set & (contestantEvery - 1);
    if (group < followers) this.#missesOf[group]!++;
    return false;
  }

  #raise(score: number, now: number, size: number): number {
    const access = Math.max(0, now + this.#typicalLog - logSteps(size));
    this.#dice = (this.#dice + 0x9e3779b9) | 0;
    return Math.min(scoreMax, access + ((raised[score - access + 128]! + (this.#dice >>> 24)) >>> 8));
  }

  /** The present on the scale of a set, after moving the scale if need be. */
  #nowOf(words: Uint32Array, set: number, setAt: number): number {
    const group = set & (contestantEvery - 1);
    const clock = this.#clocks[group < followers ? group : followers]!;
    const now = clock - this.#heads[set * 3 + 2]!;
    if (now <= nowMax && now >= nowMin) return now;
    this.#rebase(words, set, setAt, now - nowMin);
    this.#heads[set * 3 + 2] = clock - nowMin;
    return nowMin;
  }

  #rebase(words: Uint32Array, set: number, setAt: number, down: number): void {
    const entriesAt = setAt >>> 2;
    lower(words, entriesAt, entriesAt + this.#heads[set * 3]!, down);
    const ghostsAt = (setAt + this.#setSize - ghostsSize) >>> 2;
    lower(words, ghostsAt, ghostsAt + ghostCount, down);
  }

  put(hash: number, source: Buffer, keyStart: number, valueStart: number, end: number): void {
    this.#puts++;
    const keySize = valueStart - keyStart;
    const valueSize = end - valueStart;
    const unit = 1 << this.#unitBits;
    const size = (recordSizeOf(keySize, valueSize) + unit - 1) & -unit;
    if (size > this.recordSizeMax) {
      this.#rejected++;
      return;
    }
    const mixed = mixHash(hash);
    const set = Math.floor((mixed >>> 0) * this.#setsPerHash);
    const { bytes, words } = this.#segments[set >>> this.#segmentBits]!;
    const setAt = (set & this.#segmentMask) * this.#setSize;
    const heads = this.#heads;
    const headAt = set * 3;
    const entriesAt = setAt >>> 2;
    const tag = mixed & 0x7ff;
    const now = this.#nowOf(words, set, setAt);

    // resident already?
    const entriesEnd = entriesAt + heads[headAt]!;
    for (let i = firstOfTag(words, entriesAt, heads[headAt]!, tag); i < entriesEnd; i++) {
      if (words[i]! >>> tagShift !== tag) break;
      const recordAt = setAt + ((words[i]! & offsetMax) << this.#unitBits);
      const k = readVarint(bytes, recordAt, bytes.length);
      if (k !== keySize) continue;
      const v = readVarint(bytes, recordAt + varintSize(k), bytes.length);
      const keyAt = recordAt + varintSize(k) + varintSize(v);
      let j = 0;
      while (j < k && bytes[keyAt + j] === source[keyStart + j]) j++;
      if (j < k) continue;
      if (v === valueSize) {
        source.copy(bytes, keyAt + k, valueStart, end);
        return;
      }
      this.#remove(bytes, words, set, setAt, i);
      break;
    }
    const ghostsAt = (setAt + this.#setSize - ghostsSize) >>> 2;
    let ghost = -1;
    let score = 0;
    for (let i = ghostsAt; i < ghostsAt + ghostCount; i++) {
      if (words[i]! >>> tagShift === tag && words[i] !== 0) {
        ghost = i;
        score = (words[i]! >>> scoreShift) & scoreMax;
        break;
      }
    }
    score = this.#raise(score, now, keySize + valueSize);
    for (;;) {
      const free = this.#recordsEnd - heads[headAt + 1]! - 4 * heads[headAt]!;
      if (free >= size + 4) break;
      const victim = lowest(words, entriesAt, entriesAt + heads[headAt]!);
      const word = words[victim]!;
      if (((word >>> scoreShift) & scoreMax) > score) {
        this.#rejected++;
        const g = (score << scoreShift) | (tag << tagShift);
        if (ghost >= 0) words[ghost] = g;
        else remember(words, ghostsAt, g);
        return;
      }
      if (ghost >= 0) {
        words[ghost] = 0;
        ghost = -1;
      }
      remember(words, ghostsAt, word & ~offsetMax);
      this.#evictions++;
      const recordAt = setAt + ((word & offsetMax) << this.#unitBits);
      const k = readVarint(bytes, recordAt, bytes.length);
      const v = readVarint(bytes, recordAt + varintSize(k), bytes.length);
      const oldSize = (recordSizeOf(k, v) + unit - 1) & -unit;
      if (oldSize === size) {
        const n = (tag << tagShift) | (score << scoreShift) | (word & offsetMax);
        let i = victim;
        for (; i > entriesAt && words[i - 1]! >>> tagShift > tag; i--) words[i] = words[i - 1]!;
        for (; i + 1 < entriesAt + heads[headAt]! && words[i + 1]! >>> tagShift < tag; i++) words[i] = words[i + 1]!;
        words[i] = n;
        this.#bytesUsed += end - keyStart - k - v;
        const keyAt = writeRecordHead(bytes, recordAt, keySize, valueSize);
        source.copy(bytes, keyAt, keyStart, end);
        return;
      }
      this.#remove(bytes, words, set, setAt, victim);
    }
    if (ghost >= 0) words[ghost] = 0;
    heads[headAt + 1]! += size;
    const offset = this.#recordsEnd - heads[headAt + 1]!;
    let i = entriesAt + heads[headAt]!;
    for (; i > entriesAt && words[i - 1]! >>> tagShift > tag; i--) words[i] = words[i - 1]!;
    words[i] = (offset >>> this.#unitBits) | (score << scoreShift) | (tag << tagShift);
    heads[headAt]!++;
    const keyAt = writeRecordHead(bytes, setAt + offset, keySize, valueSize);
    source.copy(bytes, keyAt, keyStart, end);
    this.#entries++;
    this.#bytesUsed += end - keyStart;
  }

  #remove(bytes: Buffer, words: Uint32Array, set: number, setAt: number, i: number): void {
    const headAt = set * 3;
    const heads = this.#heads;
    const entriesAt = setAt >>> 2;
    const last = entriesAt + heads[headAt]! - 1;
    const units = words[i]! & offsetMax;
    const offset = units << this.#unitBits;
    const k = readVarint(bytes, setAt + offset, bytes.length);
    const v = readVarint(bytes, setAt + offset + varintSize(k), bytes.length);
    const unit = 1 << this.#unitBits;
    const size = (recordSizeOf(k, v) + unit - 1) & -unit;
    const low = this.#recordsEnd - heads[headAt + 1]!;
    bytes.copyWithin(setAt + low + size, setAt + low, setAt + offset);
    const up = size >>> this.#unitBits;
    for (let j = i; j < last; j++) words[j] = words[j + 1]!;
    for (let j = entriesAt; j < last; j++) if ((words[j]! & offsetMax) < units) words[j]! += up;
    heads[headAt]!--;
    heads[headAt + 1]! -= size;
    this.#entries--;
    this.#bytesUsed -= k + v;
  }

  #tick(): void {
    this.#ticks++;
    const clocks = this.#clocks;
    for (let i = 0; i < followers; i++) clocks[i] = this.#ticks >> stepTicksBits[i]!;
    this.#followerTicks += 16 >> stepTicksBits[this.#winner]!;
    clocks[followers] = this.#followerTicks >> 4;
    this.#duel();
    this.#untilTick = Math.max(64, Math.round((this.#entries * halfLifeMin) / stepsPerOctave));
  }

  #duel(): void {
    const misses = this.#missesOf;
    let best = 0;
    for (let i = 1; i < followers; i++) if (misses[i]! < misses[best]!) best = i;
    if (misses[best]! + Number(process.env.SIG ?? 1) * Math.sqrt(misses[best]!) < misses[this.#winner]!) this.#winner = best;
    for (let i = 0; i < followers; i++) misses[i]! *= Number(process.env.KEPT ?? missesKept);
  }
}

function segmentsOf(setCount: number, setsPerSegment: number, setSize: number): Segment[] {
  const segments: Segment[] = [];
  for (let from = 0; from < setCount; from += setsPerSegment) {
    const memory = new ArrayBuffer(Math.min(setsPerSegment, setCount - from) * setSize);
    segments.push({ bytes: Buffer.from(memory), words: new Uint32Array(memory) });
  }
  return segments;
}

function firstOfTag(words: Uint32Array, entriesAt: number, count: number, tag: number): number {
  let i = entriesAt + ((tag * count) >>> tagBits);
  while (i > entriesAt && words[i - 1]! >>> tagShift >= tag) i--;
  const end = entriesAt + count;
  while (i < end && words[i]! >>> tagShift < tag) i++;
  return i;
}

function mixHash(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad);
  return mixed ^ (mixed >>> 15);
}

/** 4 log2(n), piecewise linear. */
function logSteps(n: number): number {
  const bits = 31 - Math.clz32(n | 4);
  return (bits << 2) + (((n | 4) >>> (bits - 2)) & 3);
}

function lowest(words: Uint32Array, from: number, to: number): number {
  let low = from;
  let lowScore = scoreMax + 1;
  for (let i = from; i < to; i++) {
    const score = (words[i]! >>> scoreShift) & scoreMax;
    if (score < lowScore) {
      low = i;
      lowScore = score;
    }
  }
  return low;
}

function remember(words: Uint32Array, ghostsAt: number, ghost: number): void {
  const at = lowest(words, ghostsAt, ghostsAt + ghostCount);
  if (((words[at]! >>> scoreShift) & scoreMax) <= ((ghost >>> scoreShift) & scoreMax)) words[at] = ghost;
}

function lower(words: Uint32Array, from: number, to: number, down: number): void {
  for (let i = from; i < to; i++) {
    const score = (words[i]! >>> scoreShift) & scoreMax;
    words[i] = (words[i]! & ~(scoreMax << scoreShift)) | (Math.min(scoreMax, Math.max(0, score - down)) << scoreShift);
  }
}
