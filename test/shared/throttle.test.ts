import { expect, test } from 'vitest';
import { Throttle } from '../../shared/throttle.ts';

function virtualClock(): { now: () => number; sleep: (ms: number) => Promise<void>; advance: (ms: number) => void } {
  let nowMs = 1_000;
  const advance = (ms: number): void => {
    nowMs += ms;
  };
  return { now: () => nowMs, sleep: async (ms) => advance(ms), advance };
}

test('a throttle lets no more through than its rate, whatever the pieces', async () => {
  for (const piece of [1, 100, 4_096, 100_000]) {
    const clock = virtualClock();
    const throttle = new Throttle(100_000, clock);
    const startedMs = clock.now();
    for (let sent = 0; sent < 1_000_000; sent += piece) await throttle.take(piece);
    const tookMs = clock.now() - startedMs;
    expect(tookMs).toBeGreaterThanOrEqual(9_899);
    expect(tookMs).toBeLessThan(10_100 + piece / 100);
  }
});

test('a throttle saves up a tenth of a second of a pause, not all of it', async () => {
  const clock = virtualClock();
  const throttle = new Throttle(100_000, clock);
  clock.advance(60_000);
  const startedMs = clock.now();
  await throttle.take(10_000);
  expect(clock.now()).toBe(startedMs);
  await throttle.take(100_000);
  expect(clock.now() - startedMs).toBe(1_000);
});

test('a throttle ends its wait with the reason of an aborted signal', async () => {
  const throttle = new Throttle(1);
  const controller = new AbortController();
  const wait = throttle.take(1_000, controller.signal);
  controller.abort(new Error('told to end'));
  await expect(wait).rejects.toThrow('told to end');
});
