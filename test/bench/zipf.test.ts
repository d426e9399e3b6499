import { describe, expect, test } from 'vitest';
import { randomNumbers, zipfRanks, zipfShare } from '../../bench/zipf.ts';

/** Each rank's probability, by the definition. */
function probabilitiesOf(n: number, exponent: number): number[] {
  const weights = Array.from({ length: n }, (_, i) => 1 / (i + 1) ** exponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

describe('ranks by Zipf’s law', () => {
  test.each([
    [1, 0.99],
    [2, 0.99],
    [10, 0],
    [300, 0.5],
    [300, 0.99],
    [300, 1],
    [300, 1.5],
  ])('come as often as the definition says: n %i, exponent %d', (n, exponent) => {
    const seed = 3;
    const draws = 300_000;
    const counts = new Array<number>(n).fill(0);
    const nextRank = zipfRanks({ n, exponent, seed });
    for (let i = 0; i < draws; i++) counts[nextRank() - 1]!++;
    const probabilities = probabilitiesOf(n, exponent);
    const chiSquare = probabilities.reduce((sum, p, i) => sum + (counts[i]! - draws * p) ** 2 / (draws * p), 0);
    // Its mean is n - 1, its variance twice that: five standard deviations.
    expect(chiSquare, `seed ${seed}`).toBeLessThanOrEqual(n - 1 + 5 * Math.sqrt(2 * (n - 1)));
  });

  test('among 100 million, the first ones and the upper fifth come as often as they should', () => {
    const seed = 4;
    const n = 100_000_000;
    const draws = 300_000;
    const nextRank = zipfRanks({ n, exponent: 0.99, seed });
    const tops = [1, 100, 1_000_000, n / 5, n];
    const counts = tops.map(() => 0);
    for (let i = 0; i < draws; i++) {
      const rank = nextRank();
      for (const [place, top] of tops.entries()) if (rank <= top) counts[place]!++;
    }
    for (const [place, top] of tops.entries()) {
      const share = zipfShare({ n, exponent: 0.99 }, top);
      expect(Math.abs(counts[place]! / draws - share), `top ${top}, seed ${seed}`).toBeLessThanOrEqual(
        5 * Math.sqrt((share * (1 - share)) / draws),
      );
    }
  });

  test('the share of the first ranks is the sum of their probabilities', () => {
    for (const exponent of [0, 0.5, 0.99, 1, 1.5]) {
      const probabilities = probabilitiesOf(30_000, exponent);
      const sumTo = (top: number): number => probabilities.slice(0, top).reduce((sum, p) => sum + p, 0);
      for (const top of [1, 999, 1_000, 1_001, 6_000, 30_000]) expect(zipfShare({ n: 30_000, exponent }, top)).toBeCloseTo(sumTo(top), 9);
    }
    expect(zipfShare({ n: 100_000_000, exponent: 0.99 }, 20_000_000)).toBeCloseTo(0.9078, 3);
  });

  test('a seed gives the same ranks each time, another seed gives others', () => {
    const ranksOf = (seed: number): number[] => Array.from({ length: 100 }, zipfRanks({ n: 1_000_000, exponent: 0.99, seed }));
    expect(ranksOf(1)).toEqual(ranksOf(1));
    expect(ranksOf(1)).not.toEqual(ranksOf(2));
    expect(ranksOf(1)).not.toEqual(ranksOf(1 + 2 ** 32));
  });
});

test('random numbers are even between 0 and 1', () => {
  const random = randomNumbers(9);
  const counts = new Array<number>(100).fill(0);
  for (let i = 0; i < 200_000; i++) counts[Math.floor(random() * 100)]!++;
  const chiSquare = counts.reduce((sum, count) => sum + (count - 2_000) ** 2 / 2_000, 0);
  expect(chiSquare).toBeLessThan(99 + 5 * Math.sqrt(2 * 99));
});
