// Two holders in trouble at a time: one that answers one batch after the other, each late; one that stands still while the other is late.

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import type { MemberLane } from '../../router/member-lane.ts';
import { limits } from '../../shared/limits.ts';
import { OwnLoop } from '../own-loop.ts';
import { changeLimits, neverMs } from './changed-limits.ts';
import { TestEngine } from './engine-harness.ts';
import { FakeShard, honestReply } from './fake-shard.ts';

const waiting = { timeout: 5_000, interval: 5 } as const;

let slow: FakeShard;
let fast: FakeShard;
let engine: TestEngine;

beforeEach(async () => {
  [slow, fast] = [await FakeShard.start({ name: 'slow' }), await FakeShard.start({ name: 'fast' })];
  for (const shard of [slow, fast]) shard.answer = (key) => Buffer.from(`value of ${key}`);
});
afterEach(async () => {
  await engine.close();
  await Promise.all([slow.close(), fast.close()]);
});

const laneOf = (shard: FakeShard): MemberLane => engine.engine.lanes.find(({ address }) => address === shard.address)!;

/** From now on the engine's clock stands still, but for what the function that is returned adds to it. */
function holdClock(): (ms: number) => void {
  let nowMs = performance.now();
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  onTestFinished(() => clock.mockRestore());
  return (ms) => {
    nowMs += ms;
  };
}

test('what a slow holder would answer too late goes to one that has room, and is not refused', async () => {
  const deadlineMs = 1_000;
  engine = new TestEngine([slow, fast], { deadlineMs });
  const replies: (() => void)[] = [];
  slow.reply = (good, response, request) => replies.push(() => honestReply(good, response, request));
  fast.kept = [];
  engine.follow();
  const pass = holdClock();
  /** When what is under way has been looked at, the engine knows how late it is. */
  const passed = async (ms: number): Promise<void> => {
    pass(ms);
    await vi.waitFor(() => expect(laneOf(slow).underWay.every(({ dueMs }) => dueMs > performance.now())).toBe(true), waiting);
  };
  const outcomes = Array.from({ length: 1_500 }, (_, i) => engine.lookUp(`key ${i}`));
  await slow.received(2);
  // The first two batches take it 0.7 of the time that there is; what waits behind them would be too late. The other one comes when it can be sent
  // nothing of these any more.
  await passed(0.35 * deadlineMs);
  replies[0]!();
  await outcomes[0];
  fast.kept = slow.kept;
  engine.follow();
  await passed(0.35 * deadlineMs);
  replies[1]!();
  const refused = (await Promise.all(outcomes)).filter((outcome) => outcome === 'overloaded');
  expect([refused, engine.engine.counts.overloaded]).toEqual([[], 0]);
  expect([engine.engine.counts.moved, engine.engine.counts.hedged]).toEqual([1_500 - limits.windowStartKeys, 0]);
});

test('what a member that stands still had to keep, since the other holder was late just then, goes there as soon as that answers', async () => {
  engine = new TestEngine([slow, fast], { deadlineMs: 10_000 });
  // It stays one that is asked when all are avoided.
  changeLimits({ memberGoneMs: neverMs });
  let late = Promise.withResolvers<void>();
  slow.reply = () => {};
  fast.reply = (good, response, request) => void late.promise.then(() => honestReply(good, response, request));
  // Each has something under way; then the one is ejected for its silence, and the other answers now and then, but is late.
  const outcomes: Promise<unknown>[] = [];
  let asked = 0;
  const ask = (): void => {
    for (let i = 0; i < 20; i++) outcomes.push(engine.lookUp(`key ${asked++}`));
  };
  ask();
  await vi.waitFor(
    () => {
      ask();
      late.resolve();
      late = Promise.withResolvers<void>();
      expect(laneOf(slow).health.isEjected).toBe(true);
    },
    { ...waiting, interval: 100 },
  );
  // The other one is late from now on, and never silent.
  changeLimits({ ejectSilenceMs: neverMs });
  // Now both are avoided, and keys come.
  ask();
  await vi.waitFor(() => expect(engine.engine.lanes.map(({ isAvoided }) => isAvoided)).toEqual([true, true]), waiting);
  for (let i = 0; i < 10; i++) ask();
  expect(laneOf(slow).waiting).toBeGreaterThan(0);
  fast.reply = honestReply;
  late.resolve();
  const own = new OwnLoop();
  const startedMs = performance.now();
  await Promise.all(outcomes);
  expect(own.tookSince(startedMs)).toBeLessThan(2_000);
  own.close();
  expect(outcomes.length).toBe(asked);
});
