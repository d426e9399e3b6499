import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RetryBudget } from '../../router/retry-budget.ts';
import { limits } from '../../shared/limits.ts';

const { retryReserveKeys, retryShare, retryWindowMs, retryWindowParts } = limits;
const partMs = retryWindowMs / retryWindowParts;

/** How many of `wanted` keys may be sent twice at this moment. */
function takeUpTo(budget: RetryBudget, wanted: number, nowMs: number): number {
  let taken = 0;
  while (taken < wanted && budget.take(nowMs)) taken++;
  return taken;
}

describe('the retry budget', () => {
  test('has its reserve before anything was sent', () => {
    expect(takeUpTo(new RetryBudget(5_000), 1_000, 5_000)).toBe(retryReserveKeys);
  });

  test('grows by a tenth of what is sent', () => {
    const budget = new RetryBudget(0);
    budget.sent(10_000, 0);
    expect(budget.allowance(0)).toBe(retryReserveKeys + 1_000);
  });

  test('forgets what was sent and what was taken after its window', () => {
    const budget = new RetryBudget(0);
    budget.sent(1_000, 0);
    expect(takeUpTo(budget, 1_000, 0)).toBeGreaterThan(retryReserveKeys);
    expect(budget.allowance(retryWindowMs - 1)).toBe(0);
    expect(budget.allowance(retryWindowMs)).toBe(retryReserveKeys);
  });

  test('lets a probe through even when nothing is left, and counts it', () => {
    const budget = new RetryBudget(0);
    takeUpTo(budget, 1_000, 0);
    budget.spend(0);
    budget.spend(0, 5);
    expect([budget.allowance(0), budget.total]).toEqual([0, retryReserveKeys + 6]);
  });

  test('does not let what is sent twice pay for more', () => {
    const budget = new RetryBudget(0);
    for (let i = 0; i < 100; i++) budget.sent(takeUpTo(budget, 1_000, 0), 0);
    expect(budget.total).toBe(retryReserveKeys);
  });

  test('never gives more than a plain list of all that happened allows', () => {
    const anyStep = fc.record({
      pauseMs: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 30_000 })),
      sent: fc.nat(5_000),
      wanted: fc.nat(800),
    });
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.array(anyStep, { maxLength: 60 }), (startMs, steps) => {
        const budget = new RetryBudget(startMs);
        const events: { part: number; sent: number; taken: number }[] = [];
        let nowMs = startMs;
        for (const { pauseMs, sent, wanted } of steps) {
          nowMs += pauseMs;
          budget.sent(sent, nowMs);
          const taken = takeUpTo(budget, wanted, nowMs);
          const part = Math.floor(nowMs / partMs);
          events.push({ part, sent, taken });
          const inWindow = events.filter((event) => event.part > part - retryWindowParts);
          const sentSum = inWindow.reduce((sum, event) => sum + event.sent, 0);
          const takenSum = inWindow.reduce((sum, event) => sum + event.taken, 0);
          const allowed = retryReserveKeys + retryShare * Math.max(0, sentSum - takenSum);
          // What was sent may leave the window before what was taken for it: then nothing more is given.
          if (taken > 0) expect(takenSum).toBeLessThanOrEqual(allowed + 1);
          // Nor less: it stops only where the next one would be too many.
          if (taken < wanted) expect(takenSum + 1).toBeGreaterThan(allowed - 1);
        }
      }),
    );
  });
});
