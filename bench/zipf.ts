// Ranks by Zipf's law: rank r of n, from 1, comes with probability proportional to 1 / r^exponent. Exact, without a table, in constant time
// and space for any n: rejection-inversion (W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates from monotone
// discrete distributions", ACM TOMACS 6/3, 1996). A seed gives the same ranks, always.

export type ZipfOptions = {
  readonly n: number;
  /** Any number from 0 (every rank alike); 0.99 is what YCSB and the literature on caches take. */
  readonly exponent: number;
};

/** A source of ranks from 1 to `n`; about 100 ns each. */
export function zipfRanks({ n, exponent, seed }: ZipfOptions & { readonly seed: number }): () => number {
  const random = randomNumbers(seed);
  // The histogram of the ranks is covered by the area under x^-exponent from 1.5 - (1 for rank 1 itself) to n + 0.5.
  const areaStart = areaTo(1.5, exponent) - 1;
  const areaEnd = areaTo(n + 0.5, exponent);
  const sureBelow = 2 - pointOfArea(areaTo(2.5, exponent) - densityAt(2, exponent), exponent);
  return () => {
    for (;;) {
      const area = areaEnd + random() * (areaStart - areaEnd);
      const point = pointOfArea(area, exponent);
      const rank = Math.min(n, Math.max(1, Math.round(point)));
      if (rank - point <= sureBelow || area >= areaTo(rank + 0.5, exponent) - densityAt(rank, exponent)) return rank;
    }
  };
}

/** What share of all requests asks for ranks 1 to `top`: the hit ratio of a cache that always holds exactly these. */
export function zipfShare({ n, exponent }: ZipfOptions, top: number): number {
  return harmonic(top, exponent) / harmonic(n, exponent);
}

/** Uniform numbers from 0 to below 1, 53 bits each: sfc32 (C. Doty-Humphrey, PractRand), two words a number. */
export function randomNumbers(seed: number): () => number {
  const word = randomWords(seed);
  return () => ((word() >>> 5) * 2 ** 26 + (word() >>> 6)) / 2 ** 53;
}

function randomWords(seed: number): () => number {
  let a = seed >>> 0;
  let b = Math.floor(seed / 2 ** 32) >>> 0;
  let c = 0x9e3779b9;
  let counter = 1;
  const next = (): number => {
    const word = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + word;
    return word >>> 0;
  };
  // As its author has it: the first words still show the seed.
  for (let i = 0; i < 12; i++) next();
  return next;
}

/** The integral of x^-exponent, but for a constant: (x^(1 - exponent) - 1) / (1 - exponent), also where the exponent is 1. */
function areaTo(x: number, exponent: number): number {
  const log = Math.log(x);
  return expm1Over((1 - exponent) * log) * log;
}

/** The inverse of `areaTo`. */
function pointOfArea(area: number, exponent: number): number {
  const t = Math.max(-1, area * (1 - exponent));
  return Math.exp(log1pOver(t) * area);
}

function densityAt(x: number, exponent: number): number {
  return Math.exp(-exponent * Math.log(x));
}

/** (e^x - 1) / x, which is 1 at 0. */
function expm1Over(x: number): number {
  return Math.abs(x) > 1e-8 ? Math.expm1(x) / x : 1 + x / 2;
}

/** log(1 + x) / x, which is 1 at 0. */
function log1pOver(x: number): number {
  return Math.abs(x) > 1e-8 ? Math.log1p(x) / x : 1 - x / 2;
}

/** The sum of 1 / r^exponent for r from 1 to n: the first terms one by one, the rest by Euler and Maclaurin's formula. */
function harmonic(n: number, exponent: number): number {
  const summed = Math.min(n, 1_000);
  let sum = 0;
  for (let rank = summed; rank >= 1; rank--) sum += densityAt(rank, exponent);
  if (summed === n) return sum;
  const slope = (x: number): number => -exponent * x ** (-exponent - 1);
  const ends = (densityAt(n, exponent) - densityAt(summed, exponent)) / 2 + (slope(n) - slope(summed)) / 12;
  return sum + areaTo(n, exponent) - areaTo(summed, exponent) + ends;
}
