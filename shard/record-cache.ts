// Records outside the JavaScript heap, for a shard whose slices do not fit in memory: a hit saves a read from disk.
//
// Set-associative: a key's hash names one set, a piece of memory for about `setEntriesTarget` records of usual size, and all
// that happens to a key happens there. A set is packed like a page of a database:
//
//        0  entries, u32 each, in the order of their tags:  tag 11 bits | score 7 bits | where its record starts, 14 bits, in units
//        .  free
//        .  records, without gaps to the end:  varint key length, varint value length, key, value
//        .  ghosts, u32 each: the entries of keys that were evicted or not admitted, without a record; 0 is none
//
// Tags are random, so the place of one among the others is known but for a few steps. They only spare comparisons: the full key is
// compared, always. A lane turns some bits of the tag, so that one key in two lanes has two different tags: it is never taken for itself in the other. Beside the sets stand their heads, three numbers each. All zero is an empty set: memory is touched when it is used.
//
// Which record leaves: a score is the logarithm, in steps of 1/4 octave, of how often its record was asked for, where an access
// counts half as much after each half-life (D. Lee et al., "LRFU", IEEE Transactions on Computers 50/12, 2001). On that scale the
// passing of time moves the clock, and no score. A newcomer takes the place of the lowest score unless its own is lower; ghosts
// let it have a past. Three half-lives compete on a few sets each, and the one with the fewest misses rules the others (set
// dueling: M. Qureshi et al., ISCA 2007). docs/decisions/006-record-cache.md has the alternatives and the figures.

import assert from 'node:assert/strict';
import { recordSizeOf, writeRecordHead } from '../shared/slice-layout.ts';
import { readVarint, varintSize } from '../shared/varint.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Fewer: sets differ more in what is asked of them, and hits are lost. More: choosing a victim takes longer. */
const setEntriesTarget = 64;
const setSizeMin = 4 * KiB;
/** Holds the largest record. */
const setSizeMax = 32 * MiB;
/** A line of the processor's cache. */
const setSizeMultiple = 64;
/** One ArrayBuffer each: offsets in it are positive 32-bit integers. */
const segmentSizeMax = 1024 * MiB;

/** A UUID's, as text. */
const keySizeUsual = 36;

const ghostCount = 32;
const ghostsSize = 4 * ghostCount;

const tagShift = 21;
const tagBits = 32 - tagShift;
const tagMask = 2 ** tagBits - 1;
const scoreShift = 14;
const scoreMax = 0x7f;
const scoreMask = scoreMax << scoreShift;
const offsetMask = 2 ** scoreShift - 1;

/** Data sets that a cache can tell apart: a lane is a number below this. */
export const cacheLaneCount = 2 ** tagBits;

/** A head: number of entries, bytes of records, and the clock's step at which a score of 0 is one access. */
const headWords = 3;
const recordBytesAt = 1;
const zeroAt = 2;

const stepsPerOctave = 4;
/** The present on a set's scale lies between these: what is ten octaves colder is all the same, and thirteen octaves above are for the hottest. */
const nowMin = 40;
const nowMax = 72;
/** Of a record that nobody has asked for yet: what is asked for once takes its place. */
const preloadHeat = -2;

/** The half-lives that compete, in accesses per entry. */
const halfLives = [2.5, 10, 40] as const;
/** Each is four times the one before: so many ticks are one step of its clock. */
const ticksPerStep = [1, 4, 16] as const;
const ticksPerStepMax = 16;
/** Of this many sets one belongs to each contestant. */
const contestEvery = 32;
/** The sets that follow the winner are the group after the contestants'. */
const followers = halfLives.length;
const groupCount = followers + 1;
/** What a tick leaves of the misses that were counted before it: about six accesses per entry decide. */
const missesKept = 0.9;
/** A contestant must miss this much less: sets differ by so much from chance. */
const missesMargin = 0.02;
const accessesPerTickMin = 64;

export type RecordCacheOptions = {
  /** All the memory that the cache may take, in bytes; at least 4 KiB. */
  readonly bytes: number;
  /** What a record usually takes, key and value, in bytes: the size of a set follows from it. Records beyond 32 times of it are not cached. */
  readonly recordSize: number;
};

/** Where a value is. `bytes` is the cache's own memory: to be read before the next `put` or `preload`, never written. */
export type CacheMatch = { bytes: Buffer; valueStart: number; valueEnd: number };

/** A key that is resident, in the cache's own memory. `heat` is in octaves: 0 is asked for once just now, 3 as good as eight times. */
export type ResidentKey = { bytes: Buffer; keyStart: number; keyEnd: number; heat: number };

export type RecordCacheStats = {
  readonly hits: number;
  readonly misses: number;
  readonly puts: number;
  readonly evictions: number;
  /** Puts whose record was colder than what it would have displaced, or too large. */
  readonly rejected: number;
  readonly entries: number;
  /** Keys and values that are resident, in bytes. */
  readonly bytesUsed: number;
  /** The half-life that rules, in accesses per entry. */
  readonly halfLife: number;
  /** Sets that were forgotten because memory had changed. */
  readonly faults: number;
};

type Segment = { readonly bytes: Buffer; readonly words: Uint32Array };

export class RecordCache {
  /** What the cache takes, in bytes: at most what it was given. */
  readonly bytes: number;
  /** The largest record that is cached: its bytes in a slice. */
  readonly recordSizeMax: number;
  readonly #setSize: number;
  readonly #setCount: number;
  readonly #setsPerHash: number;
  readonly #setsPerSegmentBits: number;
  readonly #unitBits: number;
  /** Where in a set its records end and its ghosts begin. */
  readonly #recordsEnd: number;
  readonly #usualSize: number;
  readonly #segments: readonly Segment[];
  readonly #heads: Int32Array;
  readonly #clocks = new Clocks();
  #accessesToTick = 1;
  #dice = 0;

  // The set of the key in question, from `#select` on.
  #bytes: Buffer;
  #words: Uint32Array;
  #setAt = 0;
  #entriesAt = 0;
  #headAt = 0;
  #group = 0;
  #tag = 0;
  // The record that was read last.
  #keyAt = 0;
  #keySize = 0;
  #valueSize = 0;

  #hits = 0;
  #misses = 0;
  #puts = 0;
  #evictions = 0;
  #rejected = 0;
  #entries = 0;
  #bytesUsed = 0;
  #faults = 0;
  #prefetched = 0;

  constructor({ bytes, recordSize }: RecordCacheOptions) {
    assert(bytes >= setSizeMin && recordSize >= 1, 'a cache holds at least one set');
    // The key's length takes one byte, and so does that of a value of usual size.
    const recordSizeInSet = 1 + varintSize(Math.max(0, recordSize - keySizeUsual)) + recordSize;
    const setSizeWanted = Math.max(setSizeMin, setEntriesTarget * (4 + recordSizeInSet) + ghostsSize);
    const headSize = 4 * headWords;
    const setSize = Math.min(roundUp(setSizeWanted, setSizeMultiple), setSizeMax, roundDown(bytes - headSize, setSizeMultiple));
    const setCount = Math.floor(bytes / (setSize + headSize));
    this.bytes = setCount * (setSize + headSize);
    this.#setSize = setSize;
    this.#setCount = setCount;
    this.#setsPerHash = setCount / 2 ** 32;
    this.#setsPerSegmentBits = Math.floor(Math.log2(segmentSizeMax / setSize));
    this.#unitBits = Math.max(0, Math.ceil(Math.log2(setSize / (offsetMask + 1))));
    this.#recordsEnd = roundDown(setSize - ghostsSize, 1 << this.#unitBits);
    this.recordSizeMax = this.#recordsEnd >>> 1;
    this.#usualSize = recordSize;
    this.#segments = allocateSegments(setCount, 2 ** this.#setsPerSegmentBits, setSize);
    this.#heads = new Int32Array(headWords * setCount);
    this.#bytes = this.#segments[0]!.bytes;
    this.#words = this.#segments[0]!.words;
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
      halfLife: this.#clocks.halfLife,
      faults: this.#faults,
    };
  }

  /**
   * Looks up the key in `keyBytes` from `keyStart` to `keyEnd`, whose `keyHash32` is `hash`. On a hit `match` holds the place of
   * its value. A miss is an access too, so what is read from disk then should be `put`.
   */
  find(hash: number, keyBytes: Uint8Array, keyStart: number, keyEnd: number, match: CacheMatch, lane = 0): boolean {
    if (--this.#accessesToTick <= 0) this.#tick();
    this.#select(hash, lane);
    const entry = this.#findEntry(keyBytes, keyStart, keyEnd);
    if (entry < 0) {
      this.#misses++;
      this.#clocks.misses[this.#group]!++;
      return false;
    }
    this.#hits++;
    match.bytes = this.#bytes;
    match.valueStart = this.#keyAt + this.#keySize;
    match.valueEnd = match.valueStart + this.#valueSize;
    const word = this.#words[entry]!;
    const score = this.#raise(scoreOf(word), this.#keySize + this.#valueSize);
    // Most accesses to a hot record change nothing: its line of memory stays clean.
    if (score !== scoreOf(word)) this.#words[entry] = (word & ~scoreMask) | (score << scoreShift);
    return true;
  }

  /**
   * Has the processor fetch what `find` will read first for each of these hashes, side by side instead of one after the other:
   * worth a third of the time of a batch when the cache is far larger than the processor's. Changes nothing.
   */
  prefetch(hashes: Uint32Array, count: number): void {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      this.#select(hashes[i]!, 0);
      sum ^= this.#words[this.#guessOfTag()]!;
    }
    // Kept, or the compiler would see that nobody needs the words.
    this.#prefetched ^= sum;
  }

  /**
   * Offers a record that was missed: `source` holds the key from `keyStart` to `valueStart`, the value from there to `end`. Copies it, or
   * declines. A key that is resident gets the new value.
   */
  put(hash: number, source: Buffer, keyStart: number, valueStart: number, end: number, lane = 0): void {
    this.#puts++;
    this.#select(hash, lane);
    const size = this.#sizeInSet(valueStart - keyStart, end - valueStart);
    if (this.#replace(source, keyStart, valueStart, end)) return;
    const ghost = this.#findGhost();
    const score = this.#raise(ghost < 0 ? 0 : scoreOf(this.#words[ghost]!), end - keyStart);
    const offset = size > this.recordSizeMax ? -1 : this.#makeRoom(size, score);
    if (offset < 0) {
      this.#rejected++;
      this.#remember(ghost, this.#wordOf(score, 0));
      return;
    }
    if (ghost >= 0) this.#words[ghost] = 0;
    this.#addEntry(offset, size, score);
    this.#writeRecord(offset, source, keyStart, valueStart, end);
  }

  /**
   * Takes a record before anybody asks for it, as `put` does, if there is room without an eviction; answers whether there
   * was. `heat` is what `residentKeys` said of it at some other time.
   */
  preload(
    hash: number,
    source: Buffer,
    keyStart: number,
    valueStart: number,
    end: number,
    { heat = preloadHeat, lane = 0 }: { heat?: number | undefined; lane?: number } = {},
  ): boolean {
    this.#select(hash, lane);
    const size = this.#sizeInSet(valueStart - keyStart, end - valueStart);
    if (this.#replace(source, keyStart, valueStart, end)) return true;
    if (size > this.recordSizeMax || this.#free() < size) return false;
    const score = clamp(this.#now() + Math.round(heat * stepsPerOctave), 0, scoreMax);
    const offset = this.#recordsStart() - size;
    this.#addEntry(offset, size, score);
    this.#writeRecord(offset, source, keyStart, valueStart, end);
    return true;
  }

  /**
   * Compares what is resident of a key, if anything, with its record as it is on the disk: `source` holds that as for `put`. When they differ, memory
   * has changed: the whole set is forgotten, since after a wrong length nothing in it may be where it should. Not an access.
   */
  check(hash: number, source: Buffer, keyStart: number, valueStart: number, end: number, lane = 0): void {
    this.#select(hash, lane);
    if (this.#findEntry(source, keyStart, valueStart) < 0) return;
    const at = this.#keyAt + this.#keySize;
    if (this.#bytes.compare(source, valueStart, end, at, at + this.#valueSize) !== 0) this.#forgetSet();
  }

  /** Forgets every record; ghosts of them stay, and only tell how hot something was. */
  clear(): void {
    this.#heads.fill(0);
    this.#entries = 0;
    this.#bytesUsed = 0;
  }

  /**
   * All keys that are resident, in no order; always the same object, to be read before the next step. Puts between two steps are fine: what
   * they move may be left out, or come twice.
   */
  *residentKeys(): Generator<ResidentKey> {
    const resident: ResidentKey = { bytes: this.#bytes, keyStart: 0, keyEnd: 0, heat: 0 };
    for (let set = 0; set < this.#setCount; set++) {
      this.#selectSet(set);
      for (let entry = this.#entriesAt; entry < this.#entriesEnd(); entry++) {
        const word = this.#words[entry]!;
        this.#readRecord(word);
        resident.bytes = this.#bytes;
        resident.keyStart = this.#keyAt;
        resident.keyEnd = this.#keyAt + this.#keySize;
        resident.heat = (scoreOf(word) - this.#now()) / stepsPerOctave;
        yield resident;
        this.#selectSet(set);
      }
    }
  }

  #select(hash: number, lane: number): void {
    // The top bits of a hash choose the slice, and a shard holds some slices only: without a mix its keys would crowd in some sets.
    const mixed = mixHash(hash);
    this.#selectSet(Math.floor((mixed >>> 0) * this.#setsPerHash));
    this.#tag = (mixed ^ lane) & tagMask;
  }

  #selectSet(set: number): void {
    const segment = this.#segments[set >>> this.#setsPerSegmentBits]!;
    this.#bytes = segment.bytes;
    this.#words = segment.words;
    this.#setAt = (set & ((1 << this.#setsPerSegmentBits) - 1)) * this.#setSize;
    this.#entriesAt = this.#setAt >>> 2;
    this.#headAt = headWords * set;
    this.#group = Math.min(set % contestEvery, followers);
  }

  #entriesEnd(): number {
    return this.#entriesAt + this.#heads[this.#headAt]!;
  }

  /** Where an entry of the tag is to be expected, among as many random tags as there are. */
  #guessOfTag(): number {
    return this.#entriesAt + ((this.#tag * this.#heads[this.#headAt]!) >>> tagBits);
  }

  /** The key's entry, and its record as the one read last; or -1. */
  #findEntry(keyBytes: Uint8Array, keyStart: number, keyEnd: number): number {
    const words = this.#words;
    const tag = this.#tag;
    const end = this.#entriesEnd();
    if (!this.#isHeadPossible()) return this.#forgetSet();
    let entry = this.#guessOfTag();
    while (entry > this.#entriesAt && tagOf(words[entry - 1]!) >= tag) entry--;
    while (entry < end && tagOf(words[entry]!) < tag) entry++;
    for (; entry < end && tagOf(words[entry]!) === tag; entry++) {
      this.#readRecord(words[entry]!);
      if (this.#keySize !== keyEnd - keyStart || !isSame(this.#bytes, this.#keyAt, keyBytes, keyStart, keyEnd)) continue;
      return this.#isValuePossible() ? entry : this.#forgetSet();
    }
    return -1;
  }

  /** Its entries and its records have room in it: memory may have changed. */
  #isHeadPossible(): boolean {
    const count = this.#heads[this.#headAt]!;
    const recordBytes = this.#heads[this.#headAt + recordBytesAt]!;
    return (count | recordBytes) >= 0 && 4 * count + recordBytes <= this.#recordsEnd;
  }

  /** The value that was read last ends in its set. */
  #isValuePossible(): boolean {
    return this.#valueSize >= 0 && this.#keyAt + this.#keySize + this.#valueSize <= this.#setAt + this.#recordsEnd;
  }

  /** Memory has changed in this set: nothing in it is believed. The totals are right but for what the damage says of sizes. Answers -1, for no entry. */
  #forgetSet(): number {
    const count = clamp(this.#heads[this.#headAt]!, 0, this.#recordsEnd >> 2);
    for (let entry = this.#entriesAt; entry < this.#entriesAt + count; entry++) {
      this.#readRecord(this.#words[entry]!);
      if (this.#isValuePossible()) this.#bytesUsed -= this.#keySize + this.#valueSize;
    }
    this.#bytesUsed = Math.max(0, this.#bytesUsed);
    this.#entries = Math.max(0, this.#entries - count);
    this.#heads[this.#headAt] = 0;
    this.#heads[this.#headAt + recordBytesAt] = 0;
    this.#faults++;
    return -1;
  }

  #readRecord(word: number): void {
    const bytes = this.#bytes;
    const at = this.#setAt + this.#offsetOf(word);
    this.#keySize = readVarint(bytes, at, bytes.length);
    const valueSizeAt = at + varintSize(this.#keySize);
    this.#valueSize = readVarint(bytes, valueSizeAt, bytes.length);
    this.#keyAt = valueSizeAt + varintSize(this.#valueSize);
  }

  #offsetOf(word: number): number {
    return (word & offsetMask) << this.#unitBits;
  }

  /** Gives a resident key its value again, in place, and answers true; takes it out if its size is another. */
  #replace(source: Buffer, keyStart: number, valueStart: number, end: number): boolean {
    const entry = this.#findEntry(source, keyStart, valueStart);
    if (entry < 0) return false;
    if (this.#valueSize !== end - valueStart) {
      const offset = this.#offsetOf(this.#words[entry]!);
      const sizeFreed = this.#removeEntry(entry);
      if (sizeFreed > 0) this.#closeGap(offset, sizeFreed);
      return false;
    }
    source.copy(this.#bytes, this.#keyAt + this.#keySize, valueStart, end);
    return true;
  }

  /**
   * Where in the set a record of `size` bytes may be written, after evicting what it takes of the records that are not
   * hotter than `score`; -1 if that is not enough.
   */
  #makeRoom(size: number, score: number): number {
    while (this.#free() < size) {
      const victim = coldestOf(this.#words, this.#entriesAt, this.#entriesEnd());
      const word = this.#words[victim]!;
      if (scoreOf(word) > score) return -1;
      this.#evictions++;
      const sizeFreed = this.#removeEntry(victim);
      if (sizeFreed < 0) continue;
      this.#remember(-1, word & ~offsetMask);
      // Records of one size take each other's place: nothing moves.
      if (sizeFreed === size) return this.#offsetOf(word);
      this.#closeGap(this.#offsetOf(word), sizeFreed);
    }
    return this.#recordsStart() - size;
  }

  /** Room for a record, beside that for its entry. */
  #free(): number {
    return this.#recordsStart() - 4 * (this.#heads[this.#headAt]! + 1);
  }

  #recordsStart(): number {
    return this.#recordsEnd - this.#heads[this.#headAt + recordBytesAt]!;
  }

  #addEntry(offset: number, size: number, score: number): void {
    const words = this.#words;
    let entry = this.#entriesEnd();
    for (; entry > this.#entriesAt && tagOf(words[entry - 1]!) > this.#tag; entry--) words[entry] = words[entry - 1]!;
    words[entry] = this.#wordOf(score, offset);
    this.#heads[this.#headAt]! += 1;
    this.#heads[this.#headAt + recordBytesAt]! += size;
    this.#entries++;
  }

  #writeRecord(offset: number, source: Buffer, keyStart: number, valueStart: number, end: number): void {
    const keyAt = writeRecordHead(this.#bytes, this.#setAt + offset, valueStart - keyStart, end - valueStart);
    source.copy(this.#bytes, keyAt, keyStart, end);
    this.#bytesUsed += end - keyStart;
  }

  /** Takes an entry out and leaves a gap among the records, of the size that is answered; -1 when memory has changed, and the set is forgotten. */
  #removeEntry(entry: number): number {
    const words = this.#words;
    this.#readRecord(words[entry]!);
    const size = this.#sizeInSet(this.#keySize, this.#valueSize);
    if (this.#keySize < 1 || !this.#isValuePossible() || size > this.#heads[this.#headAt + recordBytesAt]!) return this.#forgetSet();
    const end = this.#entriesEnd() - 1;
    for (let i = entry; i < end; i++) words[i] = words[i + 1]!;
    this.#heads[this.#headAt]! -= 1;
    this.#heads[this.#headAt + recordBytesAt]! -= size;
    this.#entries--;
    this.#bytesUsed -= this.#keySize + this.#valueSize;
    return size;
  }

  /** Moves the records below a gap of `size` bytes up into it. */
  #closeGap(gapOffset: number, size: number): void {
    const words = this.#words;
    const end = this.#entriesEnd();
    const lowest = this.#setAt + this.#recordsStart() - size;
    this.#bytes.copyWithin(lowest + size, lowest, this.#setAt + gapOffset);
    const gapUnits = gapOffset >>> this.#unitBits;
    const sizeUnits = size >>> this.#unitBits;
    for (let i = this.#entriesAt; i < end; i++) if ((words[i]! & offsetMask) < gapUnits) words[i]! += sizeUnits;
  }

  #ghostsAt(): number {
    return (this.#setAt + this.#setSize - ghostsSize) >>> 2;
  }

  #findGhost(): number {
    const from = this.#ghostsAt();
    for (let i = from; i < from + ghostCount; i++) if (tagOf(this.#words[i]!) === this.#tag && this.#words[i] !== 0) return i;
    return -1;
  }

  /** Keeps an entry as a ghost: at `ghost` if it is one already, else in place of the coldest unless that is hotter. */
  #remember(ghost: number, word: number): void {
    const from = this.#ghostsAt();
    const at = ghost < 0 ? coldestOf(this.#words, from, from + ghostCount) : ghost;
    if (scoreOf(this.#words[at]!) <= scoreOf(word)) this.#words[at] = word;
  }

  #wordOf(score: number, offset: number): number {
    return (this.#tag << tagShift) | (score << scoreShift) | (offset >>> this.#unitBits);
  }

  /** The bytes that a record takes in a set. */
  #sizeInSet(keySize: number, valueSize: number): number {
    return roundUp(recordSizeOf(keySize, valueSize), 1 << this.#unitBits);
  }

  /**
   * The score after one more access now: the logarithm of the sum of both. An access to a larger record counts less, in
   * proportion, since what it occupies could hold several others. Steps are taken by chance, so that on average even the
   * smallest part of one counts.
   */
  #raise(score: number, size: number): number {
    const access = clamp(this.#now() + stepsBetween(size, this.#usualSize), 0, scoreMax);
    this.#dice = (this.#dice + 0x9e3779b9) | 0;
    return Math.min(scoreMax, access + ((sumSteps[score - access + scoreMax]! + (this.#dice >>> 24)) >>> 8));
  }

  /** The present on the scale of the set; moves the scale when it has left its bounds. */
  #now(): number {
    const clock = this.#clocks.steps[this.#group]!;
    const now = clock - this.#heads[this.#headAt + zeroAt]!;
    if (now >= nowMin && now <= nowMax) return now;
    this.#heads[this.#headAt + zeroAt] = clock - nowMin;
    lower(this.#words, this.#entriesAt, this.#entriesEnd(), now - nowMin);
    lower(this.#words, this.#ghostsAt(), this.#ghostsAt() + ghostCount, now - nowMin);
    return nowMin;
  }

  #tick(): void {
    // Before the cache has been turned over once, all contestants hold the same.
    this.#clocks.tick(this.#evictions + this.#rejected > this.#entries);
    this.#accessesToTick = Math.max(accessesPerTickMin, Math.round((this.#entries * halfLives[0]) / stepsPerOctave));
  }
}

/** The clock of each contestant and that of the followers, which goes as the winner's. */
class Clocks {
  readonly steps = new Int32Array(groupCount);
  readonly misses = new Float64Array(groupCount);
  #ticks = 0;
  #followersTicks = 0;
  #winner = 1;

  get halfLife(): number {
    return halfLives[this.#winner]!;
  }

  tick(isContest: boolean): void {
    this.#ticks++;
    this.#followersTicks += ticksPerStepMax / ticksPerStep[this.#winner]!;
    for (let i = 0; i < followers; i++) this.steps[i] = Math.floor(this.#ticks / ticksPerStep[i]!);
    this.steps[followers] = Math.floor(this.#followersTicks / ticksPerStepMax);
    if (isContest) this.#judge();
    else this.misses.fill(0);
  }

  #judge(): void {
    const { misses } = this;
    let best = 0;
    for (let i = 1; i < followers; i++) if (misses[i]! < misses[best]!) best = i;
    const doubt = missesMargin * misses[best]! + 2 * Math.sqrt(misses[best]!);
    if (misses[best]! + doubt < misses[this.#winner]!) this.#winner = best;
    for (let i = 0; i < groupCount; i++) misses[i]! *= missesKept;
  }
}

/** 4 log2(1 + 2^(d/4)) in 1/256 steps, for d from -127 to 127: how far the sum of two numbers d steps apart is above the lower one. */
const sumSteps = Uint16Array.from({ length: 2 * scoreMax + 1 }, (_, i) =>
  Math.round(256 * stepsPerOctave * Math.log2(1 + 2 ** ((i - scoreMax) / stepsPerOctave))),
);

function allocateSegments(setCount: number, setsPerSegment: number, setSize: number): Segment[] {
  const segments: Segment[] = [];
  for (let set = 0; set < setCount; set += setsPerSegment) {
    const memory = new ArrayBuffer(Math.min(setsPerSegment, setCount - set) * setSize);
    segments.push({ bytes: Buffer.from(memory), words: new Uint32Array(memory) });
  }
  return segments;
}

/** A bijection: its high bits choose the set, its low ones are the tag. */
function mixHash(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad);
  return mixed ^ (mixed >>> 15);
}

function tagOf(word: number): number {
  return word >>> tagShift;
}

function scoreOf(word: number): number {
  return (word >>> scoreShift) & scoreMax;
}

function isSame(bytes: Uint8Array, at: number, keyBytes: Uint8Array, keyStart: number, keyEnd: number): boolean {
  for (let i = keyStart, j = at; i < keyEnd; i++, j++) if (bytes[j] !== keyBytes[i]) return false;
  return true;
}

function coldestOf(words: Uint32Array, from: number, to: number): number {
  let coldest = from;
  let scoreLeast = scoreMax + 1;
  for (let i = from; i < to; i++) {
    const score = scoreOf(words[i]!);
    if (score < scoreLeast) {
      coldest = i;
      scoreLeast = score;
    }
  }
  return coldest;
}

function lower(words: Uint32Array, from: number, to: number, steps: number): void {
  for (let i = from; i < to; i++) {
    const score = clamp(scoreOf(words[i]!) - steps, 0, scoreMax);
    words[i] = (words[i]! & ~scoreMask) | (score << scoreShift);
  }
}

/** How many steps `b` is above `a`; straight between powers of two. */
function stepsBetween(a: number, b: number): number {
  return stepsOf(b) - stepsOf(a);
}

function stepsOf(size: number): number {
  const n = size | 4;
  const bits = 31 - Math.clz32(n);
  return stepsPerOctave * bits + ((n >>> (bits - 2)) & 3);
}

function clamp(n: number, min: number, max: number): number {
  return Math.max(min, Math.min(max, n));
}

function roundUp(n: number, multiple: number): number {
  return Math.ceil(n / multiple) * multiple;
}

function roundDown(n: number, multiple: number): number {
  return Math.floor(n / multiple) * multiple;
}
