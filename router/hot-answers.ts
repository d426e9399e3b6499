// A small cache of hot answers of the version that is served: values and misses alike. It can never be stale: a version does not
// change, and another version starts with an empty cache.
//
// A key is taken in when it is asked for the second time within the last some ten thousand: one that is asked once would only cost what it
// takes to put it in and to push another out, which under uniform load is as much as the rest of the look-up.
//
// Replacement is SIEVE: a hit only marks the entry; the hand walks from the oldest to the newest, passes marked entries once
// and takes the first unmarked one. Source: Zhang et al., SIEVE is Simpler than LRU (NSDI 2024).

import { limits } from '../shared/limits.ts';

/** A value as a latin1 string; null when the key is missing. */
export type HotAnswer = string | null;

type Entry = {
  readonly key: string;
  readonly answer: HotAnswer;
  isMarked: boolean;
  older: Entry | undefined;
  newer: Entry | undefined;
};

/** Keys met once are remembered by 32 bits each, one for each value of 16 bits of their hash: 256 KiB. */
const metOnceBits = 16;

/** What an entry takes besides key and value: the entry, its place in the map, two string headers. Estimated, in bytes. */
const entryOverhead = 160;

export class HotAnswers {
  readonly #sizeMax: number;
  #versionId = '';
  #entries = new Map<string, Entry>();
  readonly #metOnce = new Uint32Array(2 ** metOnceBits);
  #size = 0;
  #newest: Entry | undefined;
  #oldest: Entry | undefined;
  #hand: Entry | undefined;
  /** Since the start: for `/status`. */
  readonly counts = { hits: 0, misses: 0 };

  /** `sizeMax` in bytes; 0 turns the cache off. */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  get isOn(): boolean {
    return this.#sizeMax > 0;
  }

  get size(): number {
    return this.#size;
  }

  get entryCount(): number {
    return this.#entries.size;
  }

  /** Undefined when it is not here. */
  find(versionId: string, key: string): HotAnswer | undefined {
    const entry = versionId === this.#versionId ? this.#entries.get(key) : undefined;
    if (!entry) {
      this.counts.misses++;
      return undefined;
    }
    this.counts.hits++;
    entry.isMarked = true;
    return entry.answer;
  }

  /**
   * An answer that was not found here: `reply[start, end)`, or null. It is taken in when its key is met for the second time; large values
   * are not worth their room. `keyHash32`: of the key, unsigned.
   */
  meet(versionId: string, key: string, keyHash32: number, reply: Buffer | null, start: number, end: number): void {
    if (this.#sizeMax === 0 || versionId !== this.#versionId || this.#isFirstMet(keyHash32) || this.#entries.has(key)) return;
    if (end - start <= limits.oneWriteSizeMax) this.#put(key, reply?.toString('latin1', start, end) ?? null);
  }

  #put(key: string, answer: HotAnswer): void {
    const entry: Entry = { key: ownCopyOf(key), answer, isMarked: false, older: this.#newest, newer: undefined };
    const size = sizeOf(entry);
    if (size > this.#sizeMax / limits.hotAnswersMin) return;
    while (this.#size + size > this.#sizeMax) this.#evict();
    entry.older = this.#newest;
    if (this.#newest) this.#newest.newer = entry;
    this.#newest = entry;
    this.#oldest ??= entry;
    this.#entries.set(entry.key, entry);
    this.#size += size;
  }

  /** From now on only answers of this version are kept; those of another go. */
  serve(versionId: string): void {
    if (versionId === this.#versionId) return;
    this.#versionId = versionId;
    this.#entries = new Map();
    this.#size = 0;
    this.#newest = undefined;
    this.#oldest = undefined;
    this.#hand = undefined;
  }

  #isFirstMet(keyHash32: number): boolean {
    const place = keyHash32 & (this.#metOnce.length - 1);
    if (this.#metOnce[place] === keyHash32) return false;
    this.#metOnce[place] = keyHash32;
    return true;
  }

  #evict(): void {
    let victim = this.#hand ?? this.#oldest!;
    while (victim.isMarked) {
      victim.isMarked = false;
      victim = victim.newer ?? this.#oldest!;
    }
    this.#hand = victim.newer;
    if (victim.older) victim.older.newer = victim.newer;
    else this.#oldest = victim.newer;
    if (victim.newer) victim.newer.older = victim.older;
    else this.#newest = victim.older;
    this.#entries.delete(victim.key);
    this.#size -= sizeOf(victim);
  }
}

/** A key is a part of its request's text, and would keep the whole of it. */
function ownCopyOf(key: string): string {
  return Buffer.from(key, 'latin1').toString('latin1');
}

function sizeOf({ key, answer }: Entry): number {
  return entryOverhead + key.length + (answer?.length ?? 0);
}
