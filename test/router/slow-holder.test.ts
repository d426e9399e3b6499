// Two holders in trouble at a time: one behind a slow link, which answers one batch after the other, each late; one that stands still while the other is late.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { MemberLane } from '../../router/member-lane.ts';
import { OwnLoop } from '../own-loop.ts';
import { TestEngine } from './engine-harness.ts';
import { FakeShard, honestReply } from './fake-shard.ts';

const deadlineMs = 600;
const waiting = { timeout: 5_000, interval: 5 } as const;
const keyMs = 0.5;

let slow: FakeShard;
let fast: FakeShard;
let engine: TestEngine;

beforeEach(async () => {
  [slow, fast] = [await FakeShard.start({ name: 'slow' }), await FakeShard.start({ name: 'fast' })];
  for (const shard of [slow, fast]) shard.answer = (key) => Buffer.from(`value of ${key}`);
  let freeMs = 0;
  slow.reply = (good, response, request) => {
    freeMs = Math.max(freeMs, performance.now()) + keyMs * slow.batches.at(-1)!.length;
    setTimeout(() => honestReply(good, response, request), freeMs - performance.now());
  };
  engine = new TestEngine([slow, fast], { deadlineMs });
});
afterEach(async () => {
  await engine.close();
  await Promise.all([slow.close(), fast.close()]);
});

test('what a slow holder would answer too late goes to one that has room, and is not refused', async () => {
  fast.kept = [];
  engine.follow();
  // The first two batches take it half a second; what waits behind them would be too late.
  const outcomes = Array.from({ length: 1_500 }, (_, i) => engine.lookUp(`key ${i}`));
  await slow.received(2);
  fast.kept = slow.kept;
  engine.follow();
  const refused = (await Promise.all(outcomes)).filter((outcome) => outcome === 'overloaded');
  expect([refused, engine.engine.counts.overloaded]).toEqual([[], 0]);
  expect(engine.engine.counts.moved).toBeGreaterThan(100);
});

test('what a member that stands still had to keep, since the other holder was late just then, goes there as soon as that answers', async () => {
  await engine.close();
  engine = new TestEngine([slow, fast], { deadlineMs: 10_000 });
  let late = Promise.withResolvers<void>();
  slow.reply = () => {};
  fast.reply = (good, response, request) => void late.promise.then(() => honestReply(good, response, request));
  const laneOf = (shard: FakeShard): MemberLane => engine.engine.lanes.find(({ address }) => address === shard.address)!;
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
