// A member behind a slow link: it answers one batch after the other, each late, but never stands still.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { TestEngine } from './engine-harness.ts';
import { FakeShard, honestReply } from './fake-shard.ts';

const deadlineMs = 600;
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
