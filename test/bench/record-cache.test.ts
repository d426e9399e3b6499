import { expect, test } from 'vitest';
import { benchRecordCache } from '../../bench/record-cache.ts';
import { expectTable } from './expect-table.ts';

test('the benchmark of the record cache runs in a small size, beats LRU and stays near perfect', async () => {
  const lines: string[] = [];
  const result = await benchRecordCache({
    records: 50_000,
    asks: 600_000,
    timedBytes: 2_000_000,
    log: (line) => lines.push(line),
  });
  const { even, uneven, costs } = result;
  expectTable('record-cache', result);
  for (const { hitRatio, lruCacheHitRatio, perfectHitRatio } of [even, uneven]) {
    expect(hitRatio).toBeGreaterThan(perfectHitRatio - 0.035);
    expect(hitRatio).toBeLessThan(perfectHitRatio + 0.01);
    if (lruCacheHitRatio !== undefined) expect(hitRatio).toBeGreaterThan(lruCacheHitRatio + 0.015);
  }
  expect(even.utilisation).toBeGreaterThan(0.93);
  for (const ns of [costs.hitNs, costs.hitPrefetchedNs, costs.missNs, costs.putNs]) expect(ns).toBeGreaterThan(0);
  expect(lines.length).toBeGreaterThanOrEqual(3);
});
