import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MemberHealth } from '../../router/member-health.ts';
import { limits } from '../../shared/limits.ts';

const { ejectFailures, ejectSilenceMs, memberGoneMs, probeDelayMaxMs, probeDelayMinMs, probeForgiveMs, probeJitter } = limits;
const isUsual = { latencyMs: 1, isProbe: false };
const isFailure = { isSilence: false, isProbe: false };

/** Without jitter. */
const newHealth = (): MemberHealth => new MemberHealth(() => 0.5);

function failInRow(health: MemberHealth, count: number, nowMs: number): boolean {
  let isEjected = false;
  for (let i = 0; i < count; i++) {
    health.sent(nowMs);
    isEjected = health.failed(nowMs, isFailure);
  }
  return isEjected;
}

/** Sends at `nowMs`, and looks again after the silence that ejects. */
function ejectForSilence(health: MemberHealth, nowMs: number): number {
  health.sent(nowMs);
  expect(health.checkSilence(nowMs + ejectSilenceMs)).toBe(true);
  return nowMs + ejectSilenceMs;
}

describe('a member is ejected', () => {
  test('after so many failures in a row, not before', () => {
    const health = newHealth();
    expect(failInRow(health, ejectFailures - 1, 0)).toBe(false);
    expect(failInRow(health, 1, 0)).toBe(true);
    expect([health.ejectedFor, health.counts.ejections]).toEqual(['failures', 1]);
    expect(failInRow(health, 10, 0)).toBe(false);
    expect(health.counts.ejections).toBe(1);
  });

  test('not when an answer lies between the failures', () => {
    const health = newHealth();
    for (let i = 0; i < 10; i++) {
      failInRow(health, ejectFailures - 1, i);
      health.sent(i);
      health.answered(i, isUsual);
    }
    expect(health.isEjected).toBe(false);
  });

  test('after silence while something is under way, from the moment on that it was sent', () => {
    const health = newHealth();
    health.sent(0);
    health.answered(1, isUsual);
    expect(health.checkSilence(99_000)).toBe(false);
    health.sent(100_000);
    expect(health.checkSilence(100_000 + ejectSilenceMs - 1)).toBe(false);
    expect(health.checkSilence(100_000 + ejectSilenceMs)).toBe(true);
    expect(health.ejectedFor).toBe('silence');
  });

  test('not for one slow batch among others that are answered', () => {
    const health = newHealth();
    health.sent(0);
    for (let nowMs = 0; nowMs < 5_000; nowMs += 100) {
      health.sent(nowMs);
      health.answered(nowMs + 90, isUsual);
      expect(health.checkSilence(nowMs + 99)).toBe(false);
    }
  });
});

describe('a member that is silent', () => {
  test('is gone after a while, and is not any more with its first answer', () => {
    const health = newHealth();
    ejectForSilence(health, 0);
    expect([health.isGone(memberGoneMs - 1), health.isGone(memberGoneMs)]).toEqual([false, true]);
    health.answered(memberGoneMs + 1, { latencyMs: memberGoneMs, isProbe: false });
    expect(health.isGone(memberGoneMs + 9_999)).toBe(false);
  });

  test('stays gone when the sockets of its last batches have been given up', () => {
    const health = newHealth();
    ejectForSilence(health, 0);
    health.failed(limits.socketSilentMs, { isSilence: true, isProbe: false });
    expect(health.isGone(limits.socketSilentMs)).toBe(true);
    health.sent(limits.socketSilentMs + 1);
    expect(health.isGone(limits.socketSilentMs + 2)).toBe(true);
  });

  test('is not silent any more when its connection ends', () => {
    const health = newHealth();
    ejectForSilence(health, 0);
    health.failed(memberGoneMs + 1, isFailure);
    expect(health.isGone(99_999)).toBe(false);
  });
});

describe('an ejected member', () => {
  test('comes back by one answered probe', () => {
    const health = newHealth();
    const ejectedMs = ejectForSilence(health, 0);
    expect(health.isProbeDue(ejectedMs + probeDelayMinMs - 1)).toBe(false);
    expect(health.isProbeDue(ejectedMs + probeDelayMinMs)).toBe(true);
    health.probeSent();
    health.sent(ejectedMs + probeDelayMinMs);
    expect(health.isProbeDue(999_999)).toBe(false);
    health.answered(ejectedMs + probeDelayMinMs + 1, { latencyMs: 1, isProbe: true });
    expect([health.isEjected, health.counts.probes, health.isProbeDue(999_999)]).toEqual([false, 1, false]);
  });

  test('does not come back by a late answer before its first probe is due, but does by one after', () => {
    const health = newHealth();
    const ejectedMs = ejectForSilence(health, 0);
    health.sent(ejectedMs);
    health.answered(ejectedMs + 10, isUsual);
    expect(health.isEjected).toBe(true);
    health.answered(ejectedMs + probeDelayMinMs, isUsual);
    expect(health.isEjected).toBe(false);
  });

  test('is probed after twice as long each time, up to a bound', () => {
    const health = newHealth();
    let nowMs = ejectForSilence(health, 0);
    const delaysMs: number[] = [];
    for (let i = 0; i < 8; i++) {
      delaysMs.push(health.probeDueMs - nowMs);
      nowMs = health.probeDueMs;
      health.probeSent();
      health.sent(nowMs);
      health.probeFailed(nowMs);
    }
    expect(delaysMs).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  test('is probed at once when the polls hear of it again', () => {
    const health = newHealth();
    ejectForSilence(health, 0);
    health.cameBack(700);
    expect(health.isProbeDue(700)).toBe(true);
    health.probeSent();
    health.cameBack(800);
    expect(health.isProbeDue(99_999)).toBe(false);
  });

  test('waits longer when it fails again soon after its return, not when it was well for long', () => {
    const health = newHealth();
    const comeBack = (nowMs: number): void => {
      health.probeSent();
      health.sent(nowMs);
      health.answered(nowMs, { latencyMs: 1, isProbe: true });
    };
    failInRow(health, ejectFailures, 0);
    comeBack(1_000);
    failInRow(health, ejectFailures, 2_000);
    expect(health.probeDueMs).toBe(2_000 + 2 * probeDelayMinMs);
    comeBack(4_000);
    failInRow(health, ejectFailures, 4_000 + probeForgiveMs);
    expect(health.probeDueMs).toBe(4_000 + probeForgiveMs + probeDelayMinMs);
  });
});

describe('the hedge delay', () => {
  test('is never below its least, and never above the silence that ejects', () => {
    const health = newHealth();
    expect(health.hedgeDelayMs).toBe(limits.hedgeDelayUnknownMs);
    const answer = (latencyMs: number): void => {
      health.sent(0);
      health.answered(0, { latencyMs, isProbe: false });
    };
    for (let i = 0; i < 100; i++) answer(0.5);
    expect(health.hedgeDelayMs).toBe(limits.hedgeDelayMinMs);
    for (let i = 0; i < 1_000; i++) answer(60);
    expect(health.hedgeDelayMs).toBeGreaterThanOrEqual(60);
    expect(health.hedgeDelayMs).toBeLessThan(70);
    for (let i = 0; i < 1_000; i++) answer(4_000);
    expect(health.hedgeDelayMs).toBe(ejectSilenceMs);
  });
});

describe('whatever happens to a member', () => {
  const anyStep = fc.record({
    kind: fc.constantFrom('send', 'send', 'answer', 'fail', 'silence', 'look', 'probe', 'poll'),
    pauseMs: fc.oneof(fc.nat(20), fc.nat(2_000)),
  });

  test('its life can be told, and in the end it comes back', () => {
    fc.assert(
      fc.property(
        fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
        fc.array(anyStep, { maxLength: 200 }),
        (chance, steps) => {
          const health = new MemberHealth(() => chance.next().value as number);
          let nowMs = 1_000;
          let inFlight = 0;
          let answerMs = Number.NEGATIVE_INFINITY;
          let firstUnderWayMs = nowMs;
          let isProbing = false;
          const wasProbe = (): boolean => {
            const was = isProbing && inFlight === 0;
            if (was) isProbing = false;
            return was;
          };
          for (const { kind, pauseMs } of steps) {
            nowMs += pauseMs;
            const before = { isEjected: health.isEjected, ejections: health.counts.ejections };
            if (kind === 'send') {
              if (inFlight++ === 0) firstUnderWayMs = nowMs;
              health.sent(nowMs);
            } else if (kind === 'probe') {
              if (!health.isProbeDue(nowMs)) continue;
              health.probeSent();
              if (inFlight++ === 0) firstUnderWayMs = nowMs;
              health.sent(nowMs);
              isProbing = true;
            } else if (kind === 'look') {
              health.checkSilence(nowMs);
            } else if (kind === 'poll') {
              health.cameBack(nowMs);
            } else if (inFlight > 0) {
              inFlight--;
              if (kind === 'answer') health.answered(nowMs, { latencyMs: pauseMs, isProbe: wasProbe() });
              else health.failed(nowMs, { isSilence: kind === 'silence', isProbe: wasProbe() });
              if (kind !== 'silence') answerMs = nowMs;
            }
            if (!before.isEjected && health.isEjected) {
              expect(health.counts.ejections).toBe(before.ejections + 1);
              if (health.ejectedFor === 'silence')
                expect(nowMs - Math.max(answerMs, firstUnderWayMs)).toBeGreaterThanOrEqual(ejectSilenceMs);
              expect(health.probeDueMs - nowMs).toBeGreaterThanOrEqual(probeDelayMinMs * (1 - probeJitter));
            }
            if (health.isGone(nowMs)) expect([health.isEjected, nowMs - answerMs >= memberGoneMs]).toEqual([true, true]);
            if (health.probeDueMs !== Number.POSITIVE_INFINITY) {
              expect(health.isEjected).toBe(true);
              expect(health.probeDueMs - nowMs).toBeLessThanOrEqual(probeDelayMaxMs * (1 + probeJitter));
            } else if (health.isEjected) {
              expect(isProbing).toBe(true);
            }
          }
          health.sent(nowMs);
          health.answered(nowMs + 2 * probeDelayMaxMs, { latencyMs: 1, isProbe: true });
          expect([health.isEjected, health.isGone(nowMs + 9 * probeDelayMaxMs)]).toEqual([false, false]);
        },
      ),
      { numRuns: 500 },
    );
  });
});
