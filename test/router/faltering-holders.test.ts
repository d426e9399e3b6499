// Two holders that falter by turns, so that what waits for one is given to the other, now and then for several times, until one of them is gone.

import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
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
