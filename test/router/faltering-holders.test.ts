// Two holders that falter by turns, so that what waits for one is given to the other, now and then for several times, until one of them is gone.

import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { bitsOf, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { TestEngine } from './engine-harness.ts';
import { type FakeReply, FakeShard, honestReply } from './fake-shard.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the delays of faltering-holders.test.ts: TEST_SEED=${seed}`);

test('a key that was moved between holders often is answered by the one that is left when the other is lost', async () => {
  const random = randomFrom(seed);
  const shards = await Promise.all(['a', 'b'].map((name) => FakeShard.start({ name, sliceCount: 16 })));
  const [first, second] = shards as [FakeShard, FakeShard];
  const slowly: FakeReply = (good, response, request) => setTimeout(() => honestReply(good, response, request), random() % 120);
  for (const shard of shards) {
    shard.answer = (key) => Buffer.from(key);
    shard.reply = slowly;
  }
  const engine = new TestEngine(shards, { deadlineMs: 30_000 });
  const asked: Promise<unknown>[] = [];
  for (let turn = 0; turn < 14; turn++) {
    for (let i = 0; i < 2_000; i++) asked.push(engine.lookUp(`key ${turn} ${i}`));
    await pause(random() % 40);
    if (turn === 10) second.reply = (_good, response) => response.socket!.destroy();
  }
  first.reply = honestReply;
  const failed = (await Promise.all(asked)).filter((outcome) => typeof outcome === 'string');
  console.log(`${engine.engine.counts.moved} times moved, ${engine.engine.counts.retries} retries`);
  expect(failed).toEqual([]);
  expect(engine.engine.pending).toBe(0);
  await engine.close();
  for (const shard of shards) await shard.close();
}, 60_000);

describe('a key that one holder failed to answer, in the queue of another that stands still,', () => {
  let shards: readonly [FakeShard, FakeShard];
  let engine: TestEngine;
  let held: (() => void)[];
  let asked: Promise<unknown>;
  const key = 'the one of both';

  afterEach(async () => {
    for (const answer of held) answer();
    await engine.close();
    for (const shard of shards) await shard.close();
  });

  /** The first one keeps as many batches as may be under way, and the key waits behind them after the second one has failed it. */
  async function start(): Promise<void> {
    shards = await Promise.all([FakeShard.start({ name: 'a' }), FakeShard.start({ name: 'b' })]);
    const [first, second] = shards;
    held = [];
    for (const shard of shards) shard.answer = (each) => Buffer.from(each);
    first.reply = (good, response, request) => held.push(() => honestReply(good, response, request));
    second.reply = (_good, response) => response.socket!.destroy();
    engine = new TestEngine(shards, { deadlineMs: 30_000 });
    const keys = Array.from({ length: 4_000 }, (_, i) => `key ${i}`);
    const slice = sliceOf(key);
    second.kept = [[slice, slice]];
    engine.follow();
    const others = keys.filter((each) => sliceOf(each) !== slice);
    for (let i = 1; i <= limits.batchesInFlightMax; i++) {
      // Enough for a batch that does not wait for more, and in all for the second one to be asked first.
      for (let n = 0; n < limits.batchKeysWorth; n++) void engine.lookUp(others.pop()!);
      await first.received(i);
    }
    asked = engine.lookUp(key);
    await second.received(1);
  }

  const sliceOf = (each: string): number => sliceIndexOf(keyHash32OfLatin1(each), bitsOf(shards[0].sliceCount));

  test('waits there as long as that one is only late', async () => {
    await start();
    const [first, second] = shards;
    await vi.waitFor(() => expect(engine.engine.laneTo(first.address).isAvoided).toBe(true), waiting);
    first.reply = honestReply;
    for (const answer of held.splice(0)) answer();
    expect(await asked).toEqual({ found: Buffer.from(key) });
    expect(second.batches).toEqual([[key]]);
  });

  test('goes back when that one is ejected: who has failed once may do better', async () => {
    await start();
    const [first, second] = shards;
    second.reply = honestReply;
    expect(await asked).toEqual({ found: Buffer.from(key) });
    expect(engine.engine.laneTo(first.address).health.ejectedFor).toBe('silence');
    expect(second.batches).toEqual([[key], [key]]);
  });
});
