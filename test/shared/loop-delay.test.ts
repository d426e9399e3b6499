import { expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { LoopDelay } from '../../shared/loop-delay.ts';

test('a loop that was kept busy is told of when its window has passed, and forgotten with the next', async () => {
  const loopDelay = new LoopDelay(1_000);
  expect(loopDelay.report()).toEqual({ windowSeconds: 1, delayP99Ms: null, delayMaxMs: null });
  loopDelay.start();
  // It must have come round once to be late afterwards.
  await new Promise((resolve) => setTimeout(resolve, 3 * limits.loopDelayResolutionMs));
  const endMs = performance.now() + 300;
  while (performance.now() < endMs);
  const waiting = { timeout: 5_000, interval: 50 };
  await vi.waitFor(() => expect(loopDelay.report().delayMaxMs).toBeGreaterThan(250), waiting);
  await vi.waitFor(() => expect(loopDelay.report().delayMaxMs).toBeLessThan(250), waiting);
  loopDelay.close();
});
