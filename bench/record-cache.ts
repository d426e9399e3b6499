// The record cache of a shard: what share of requests it answers, against `lru-cache` on the same trace and bytes and against a
// perfect cache, which knows what is asked for how often; and what a look-up and a put cost. Zipf 0.99, the budget a fifth of the bytes
// of all keys and values. Every hit is compared with what was put.
//
// Costs are CPU time of this thread, so that other processes on the machine count for little.

import { type CacheMatch, RecordCache } from '../shard/record-cache.ts';
import { keyHash32 } from '../shared/key-hash.ts';
import { randomNumbers, zipfRanks } from './zipf.ts';

export type RecordCacheBenchOptions = {
  readonly records: number;
  /** How many look-ups a trace has; the last fifth is counted. */
  readonly asks: number;
  /** Size of the cache whose costs are measured. */
  readonly timedBytes: number;
  readonly log: (line: string) => void;
};

/** Hit ratios over the last fifth of a trace. */
export type HitRatios = {
  readonly records: number;
  readonly asks: number;
  readonly budget: number;
  readonly hitRatio: number;
  /** Undefined when it is not installed. */
  readonly lruCacheHitRatio: number | undefined;
  readonly perfectHitRatio: number;
  /** Bytes of keys and values in the cache at the end, of the budget. */
  readonly utilisation: number;
  readonly halfLife: number;
};

/** Nanoseconds of CPU. */
export type CacheCosts = {
  readonly bytes: number;
  readonly hitNs: number;
  /** After a `prefetch` for each 64 keys, its own cost included. */
  readonly hitPrefetchedNs: number;
  readonly missNs: number;
  readonly putNs: number;
};

export type RecordCacheBenchResult = { readonly even: HitRatios; readonly uneven: HitRatios; readonly costs: CacheCosts };

const seed = 1;
const exponent = 0.99;
const budgetShare = 0.2;
const keySize = 36;
const recordSize = 128;
const unevenSizeMax = 16_384;
const costSamples = 2_000_000;
/** Keys that are made at a time, between two looks at the clock; few enough to stay in the processor's cache. */
const chunkKeys = 1024;
const batchKeys = 64;

export async function benchRecordCache({ records, asks, timedBytes, log }: RecordCacheBenchOptions): Promise<RecordCacheBenchResult> {
  const LRUCache = await importLruCache();
  if (!LRUCache) log('record-cache: lru-cache is not installed, no comparison with it');
  const even = replay(new Uint32Array(records).fill(recordSize), asks, LRUCache);
  log(`record-cache: ${describe(even)}, all records of ${recordSize} bytes`);
  const uneven = replay(unevenSizes(records), asks, LRUCache);
  log(`record-cache: ${describe(uneven)}, records of uneven sizes`);
  const costs = measureCosts(timedBytes);
  log(`record-cache: hit ${costs.hitNs} ns, after a prefetch ${costs.hitPrefetchedNs}; miss ${costs.missNs}; put ${costs.putNs}`);
  return { even, uneven, costs };
}

/** Both caches on one trace. `sizes` are those of the records by rank, key and value. */
function replay(sizes: Uint32Array, asks: number, LRUCache: LruCacheClass | undefined): HitRatios {
  const bytesOfAll = sizes.reduce((sum, size) => sum + size, 0);
  const budget = Math.floor(budgetShare * bytesOfAll);
  const cache = new RecordCache({ bytes: budget, recordSize: Math.round(bytesOfAll / sizes.length) });
  const lru = LRUCache && new LRUCache({ maxSize: budget, sizeCalculation: (size) => size });
  const nextRank = zipfRanks({ n: sizes.length, exponent, seed });
  const record = Buffer.alloc(Math.max(recordSize, unevenSizeMax));
  const match: CacheMatch = { bytes: record, valueStart: 0, valueEnd: 0 };
  const countedFrom = Math.floor(0.8 * asks);
  let hits = 0;
  let lruHits = 0;
  for (let i = 0; i < asks; i++) {
    const rank = nextRank();
    const size = sizes[rank - 1]!;
    const hash = writeRecord(record, 0, rank);
    const isHit = cache.find(hash, record, 0, keySize, match);
    if (isHit) expectValue(match, rank, size);
    else cache.put(hash, record, 0, keySize, size);
    const isLruHit = lru?.get(rank) !== undefined;
    if (!isLruHit) lru?.set(rank, size);
    if (i < countedFrom) continue;
    if (isHit) hits++;
    if (isLruHit) lruHits++;
  }
  return {
    records: sizes.length,
    asks,
    budget,
    hitRatio: hits / (asks - countedFrom),
    lruCacheHitRatio: lru && lruHits / (asks - countedFrom),
    perfectHitRatio: perfectHitRatio(sizes, budget),
    utilisation: cache.stats.bytesUsed / budget,
    halfLife: cache.stats.halfLife,
  };
}

/** The record of a number, its value marked with it; returns the key's hash. */
function writeRecord(target: Buffer, at: number, n: number): number {
  target.writeUInt32LE(n, at);
  target.writeUInt32LE(Math.imul(n, 0x9e3779b9) >>> 0, at + keySize - 4);
  target.writeUInt32LE(n, at + keySize);
  return keyHash32(target, at, at + keySize);
}

function expectValue({ bytes, valueStart, valueEnd }: CacheMatch, rank: number, size: number): void {
  if (valueEnd - valueStart === size - keySize && bytes.readUInt32LE(valueStart) === rank) return;
  throw new Error(`the cache gave a wrong value for record ${rank}`);
}

/** Log-normal values, a mean of 92 bytes and many far from it, no larger than 16 KiB together with their keys. */
function unevenSizes(count: number): Uint32Array {
  const random = randomNumbers(seed);
  return Uint32Array.from({ length: count }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.min(unevenSizeMax, keySize + 4 + Math.floor((recordSize - keySize - 4) * Math.exp(normal - 0.5)));
  });
}

/** Of a cache that always holds what is asked for most often for its bytes. */
function perfectHitRatio(sizes: Uint32Array, budget: number): number {
  const weights = Float64Array.from(sizes, (_, i) => (i + 1) ** -exponent);
  const order = Uint32Array.from(sizes, (_, i) => i);
  // By rank alone they are in order already when all sizes are the same.
  if (sizes.some((size) => size !== sizes[0])) order.sort((a, b) => weights[b]! / sizes[b]! - weights[a]! / sizes[a]!);
  let left = budget;
  let hits = 0;
  for (const i of order) {
    if (sizes[i]! > left) break;
    left -= sizes[i]!;
    hits += weights[i]!;
  }
  return hits / weights.reduce((sum, weight) => sum + weight, 0);
}

/** In a full cache of `bytes`, with keys by Zipf among those that are resident, and even among those that are not. */
function measureCosts(bytes: number): CacheCosts {
  const cache = new RecordCache({ bytes, recordSize });
  const chunk = Buffer.alloc(chunkKeys * recordSize);
  const hashes = new Uint32Array(chunkKeys);
  const match: CacheMatch = { bytes: chunk, valueStart: 0, valueEnd: 0 };
  // Six in seven of what has room: hardly a set is so full that it would have to evict.
  const resident = Math.floor((0.8 * bytes) / recordSize);
  for (let n = 1; n <= resident; n++) cache.put(writeRecord(chunk, 0, n), chunk, 0, keySize, recordSize);

  const nextRank = zipfRanks({ n: resident, exponent, seed });
  const random = randomNumbers(seed);
  // Ranks are spread over what was put: what is hot does not stand together.
  const hot = (): number => 1 + ((nextRank() * 7_368_787) % resident);
  const absent = (): number => resident + 1 + Math.floor(random() * resident);
  const find = (i: number): unknown => cache.find(hashes[i]!, chunk, i * recordSize, i * recordSize + keySize, match);
  const put = (i: number): unknown => cache.put(hashes[i]!, chunk, i * recordSize, i * recordSize + keySize, (i + 1) * recordSize);
  const costOf = (pick: () => number, call: (i: number) => unknown): number => {
    let us = 0;
    for (let done = 0; done < costSamples; done += chunkKeys) {
      for (let i = 0; i < chunkKeys; i++) hashes[i] = writeRecord(chunk, i * recordSize, pick());
      const before = process.threadCpuUsage();
      for (let i = 0; i < chunkKeys; i++) call(i);
      const { user, system } = process.threadCpuUsage(before);
      us += user + system;
    }
    return Math.round((1000 * us) / costSamples);
  };

  // Each once before it counts, to be compiled and to let the hot records be known as such.
  costOf(hot, find);
  const hitNs = costOf(hot, find);
  const hitPrefetchedNs = costOf(hot, (i) => {
    if (i % batchKeys === 0) cache.prefetch(hashes.subarray(i, i + batchKeys), batchKeys);
    return find(i);
  });
  const missNs = costOf(absent, find);
  // Until the room that was left is taken.
  costOf(absent, put);
  const putNs = costOf(absent, put);
  return { bytes, hitNs, hitPrefetchedNs, missNs, putNs };
}

function describe({ records, hitRatio, lruCacheHitRatio, perfectHitRatio: perfect, utilisation }: HitRatios): string {
  const percent = (ratio: number | undefined): string => (ratio === undefined ? '-' : `${(100 * ratio).toFixed(2)} %`);
  return `${records} records: ${percent(hitRatio)} hits, lru-cache ${percent(lruCacheHitRatio)}, perfect ${percent(perfect)}; ${percent(utilisation)} of the bytes used`;
}

type LruCacheClass = new (options: {
  maxSize: number;
  sizeCalculation: (size: number) => number;
}) => {
  get(key: number): number | undefined;
  set(key: number, value: number): void;
};

/** The rival, if it is there: nothing but this comparison needs it. */
async function importLruCache(): Promise<LruCacheClass | undefined> {
  const name = 'lru-cache';
  try {
    return ((await import(name)) as { LRUCache: LruCacheClass }).LRUCache;
  } catch {
    return undefined;
  }
}
