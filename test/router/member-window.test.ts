import { describe, expect, test } from 'vitest';
import { MemberWindow } from '../../router/member-window.ts';
import { limits } from '../../shared/limits.ts';

const deadlineMs = 1_000;

/** A member that answers keys one after the other, so many in a millisecond, and a queue before it that never ends. */
function saturate(window: MemberWindow, keysPerMs: number, forMs: number): { answered: number; slowestMs: number } {
  const underWay: { keyCount: number; sentMs: number; doneMs: number }[] = [];
  let answered = 0;
  let slowestMs = 0;
  let freeAtMs = 0;
  for (let nowMs = 0; nowMs < forMs; nowMs++) {
    while (underWay[0] && underWay[0].doneMs <= nowMs) {
      const batch = underWay.shift()!;
      window.answered(batch, nowMs);
      answered += batch.keyCount;
      if (nowMs > forMs / 2) slowestMs = Math.max(slowestMs, nowMs - batch.sentMs);
    }
    const keysInFlight = (): number => underWay.reduce((sum, { keyCount }) => sum + keyCount, 0);
    while (underWay.length < limits.batchesInFlightMax && window.hasRoom(keysInFlight())) {
      const keyCount = window.batchMax;
      freeAtMs = Math.max(freeAtMs, nowMs) + keyCount / keysPerMs;
      underWay.push({ keyCount, sentMs: nowMs, doneMs: freeAtMs });
    }
    window.usedUp();
  }
  return { answered, slowestMs };
}

describe('the keys that one member is given at a time', () => {
  test('are as many as ever for a fast one', () => {
    const window = new MemberWindow(deadlineMs);
    const { answered } = saturate(window, 500, 100);
    expect(window.batchMax).toBe(limits.batchKeysMax);
    expect(window.waitingMax).toBe(limits.memberQueueMax);
    expect(answered).toBeGreaterThan(100 * 500 * 0.8);
  });

  test.each([0.5, 2, 10])(
    'are what a slow one of %f keys a millisecond answers in a quarter of the deadline, and it is never idle',
    (keysPerMs) => {
      const window = new MemberWindow(deadlineMs);
      const { answered, slowestMs } = saturate(window, keysPerMs, 60_000);
      expect(slowestMs).toBeLessThanOrEqual(Math.max(deadlineMs * limits.windowSlowShare + 1, limits.windowKeysMin / keysPerMs));
      // It was given too much at first.
      expect(answered).toBeGreaterThan(60_000 * keysPerMs * 0.9);
      expect(window.waitingMax).toBeLessThanOrEqual(Math.max(limits.windowWaitingMin, 3 * deadlineMs * limits.windowSlowShare * keysPerMs));
    },
  );

  test('are many again soon after it was slow for a while', () => {
    const window = new MemberWindow(deadlineMs);
    saturate(window, 0.1, 100_000);
    expect(window.batchMax).toBeLessThan(100);
    saturate(window, 500, 200);
    expect(window.batchMax).toBe(limits.batchKeysMax);
    expect(window.waitingMax).toBe(limits.memberQueueMax);
  });

  test('shrink once for all batches that were under way in one long pause', () => {
    const window = new MemberWindow(deadlineMs);
    saturate(window, 500, 100);
    for (let i = 0; i < 4; i++) window.answered({ keyCount: 100, sentMs: 100 }, 600 + i);
    expect(window.batchMax).toBe(limits.batchKeysMax);
    for (let i = 0; i < 20; i++) window.answered({ keyCount: 100, sentMs: 1_000 + i }, 4_000 + i);
    expect(2 * window.batchMax).toBeGreaterThan(100);
  });

  test('are never so few that a member which was silent for long is not asked any more', () => {
    const window = new MemberWindow(50);
    for (let i = 0; i < 100; i++) window.answered({ keyCount: 1, sentMs: 10_000 * i }, 10_000 * i + 9_000);
    expect(window.hasRoom(0)).toBe(true);
    expect(2 * window.batchMax).toBe(limits.windowKeysMin);
    expect(window.timeNeededMs).toBe(25);
  });
});
