import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LatencyQuantile } from '../../router/latency-quantile.ts';
import { limits } from '../../shared/limits.ts';

describe('the quantile of latency', () => {
  test('says nothing before enough samples have come', () => {
    const quantile = new LatencyQuantile();
    for (let i = 1; i < limits.latencySamplesMin; i++) quantile.note(3);
    expect(quantile.estimateMs).toBeUndefined();
    quantile.note(3);
    expect(quantile.estimateMs).toBeGreaterThanOrEqual(3);
  });

  test('lies within a tenth above the sorted list of the samples', () => {
    const anyLatencies = fc.array(fc.double({ min: 0.3, max: 20_000, noNaN: true }), { minLength: 64, maxLength: 64 });
    fc.assert(
      fc.property(anyLatencies, (latencies) => {
        const quantile = new LatencyQuantile();
        for (const latencyMs of latencies) quantile.note(latencyMs);
        const exactMs = latencies.toSorted((a, b) => a - b)[Math.ceil(limits.hedgeQuantile * latencies.length) - 1]!;
        expect(quantile.estimateMs).toBeGreaterThanOrEqual(exactMs * 0.999);
        expect(quantile.estimateMs).toBeLessThanOrEqual(exactMs * 1.1);
      }),
    );
  });

  test('follows a member that became slow, and one that became fast again', () => {
    const quantile = new LatencyQuantile();
    for (let i = 0; i < 1_000; i++) quantile.note(1);
    expect(quantile.estimateMs).toBeLessThan(1.2);
    for (let i = 0; i < 100; i++) quantile.note(80);
    expect(quantile.estimateMs).toBeGreaterThan(79);
    for (let i = 0; i < 5_000; i++) quantile.note(1);
    expect(quantile.estimateMs).toBeLessThan(1.2);
  });

  test.each([0, -1, 1e-9, 1e9, Number.POSITIVE_INFINITY])('takes a clock that says %d', (latencyMs) => {
    const quantile = new LatencyQuantile();
    for (let i = 0; i < 100; i++) quantile.note(latencyMs);
    expect(quantile.estimateMs).toBeGreaterThan(0);
  });
});
