// The latency that `hedgeQuantile` of a member's batches stay below: a histogram with logarithmic buckets, a few operations a batch, right
// to a tenth. Old samples fade: whenever enough have come, all counts are halved.

import { limits } from '../shared/limits.ts';

const bucketsPerOctave = 8;
const smallestMs = 0.25;
/** 17 octaves: up to 32 s, and all that is beyond. */
const bucketCount = 17 * bucketsPerOctave;
/** Samples between two readings of the histogram. */
const readingInterval = 32;

export class LatencyQuantile {
  readonly #counts = new Uint32Array(bucketCount);
  #total = 0;
  #unread = 0;
  #estimateMs: number | undefined;

  /** Undefined as long as too few samples have come. Never below the quantile of the samples by more than the last `readingInterval` of them. */
  get estimateMs(): number | undefined {
    return this.#estimateMs;
  }

  note(latencyMs: number): void {
    const bucket = Math.floor(bucketsPerOctave * Math.log2(latencyMs / smallestMs));
    this.#counts[Math.min(bucketCount - 1, Math.max(0, bucket))]!++;
    this.#total++;
    if (++this.#unread < readingInterval || this.#total < limits.latencySamplesMin) return;
    this.#unread = 0;
    this.#estimateMs = this.#read();
    if (this.#total >= limits.latencySamplesMax) this.#fade();
  }

  /** The upper bound of the bucket that the quantile lies in. */
  #read(): number {
    let below = 0;
    let bucket = 0;
    while (bucket < bucketCount - 1) {
      below += this.#counts[bucket]!;
      if (below >= limits.hedgeQuantile * this.#total) break;
      bucket++;
    }
    return smallestMs * 2 ** ((bucket + 1) / bucketsPerOctave);
  }

  #fade(): void {
    this.#total = 0;
    for (let i = 0; i < bucketCount; i++) {
      this.#counts[i]! >>>= 1;
      this.#total += this.#counts[i]!;
    }
  }
}
