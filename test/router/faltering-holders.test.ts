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
  const key = 'the one of all';
  let shards: FakeShard[];
  let engine: TestEngine;
  let held: (() => void)[];

  const sliceOf = (each: string): number => sliceIndexOf(keyHash32OfLatin1(each), bitsOf(shards[0]!.sliceCount));
  const laneTo = (shard: FakeShard) => engine.engine.laneTo(shard.address);
  const hold: FakeReply = (good, response, request) => held.push(() => honestReply(good, response, request));
  const found = { found: Buffer.from(key) };

  afterEach(async () => {
    for (const answer of held) answer();
    await engine.close();
    for (const shard of shards) await shard.close();
  });

  /** The last one holds everything, the others only the slice of the key. */
  async function start(names: readonly string[]): Promise<void> {
    shards = await Promise.all(names.map((name) => FakeShard.start({ name })));
    held = [];
    for (const shard of shards) shard.answer = (each) => Buffer.from(each);
    engine = new TestEngine(shards, { deadlineMs: 30_000 });
    for (const shard of shards.slice(0, -1)) shard.kept = [[sliceOf(key), sliceOf(key)]];
    engine.follow();
  }

  /** It has as many batches as may be under way, and answers none of them. */
  async function keepBusy(shard: FakeShard): Promise<void> {
    shard.reply = hold;
    const others = Array.from({ length: 4_000 }, (_, i) => `key ${i}`).filter((each) => sliceOf(each) !== sliceOf(key));
    const before = shard.batches.length;
    for (let i = 1; i <= limits.batchesInFlightMax; i++) {
      // Enough for a batch that does not wait for more, and in all for others to be asked first.
      for (let n = 0; n < limits.batchKeysWorth; n++) void engine.lookUp(others.pop()!);
      await shard.received(before + i);
    }
  }

  /** Answers what it holds, and all that comes, once it is found late. */
  async function answerWhenLate(shard: FakeShard): Promise<void> {
    await vi.waitFor(() => expect(laneTo(shard).isAvoided).toBe(true), waiting);
    shard.reply = honestReply;
    for (const answer of held.splice(0)) answer();
  }

  /** One fails the key by the end of its connection; then it waits for the other one, which is busy. */
  async function failFirst(): Promise<{ failing: FakeShard; late: FakeShard; asked: Promise<unknown> }> {
    await start(['failing', 'late']);
    const [failing, late] = shards as [FakeShard, FakeShard];
    failing.reply = (_good, response) => response.socket!.destroy();
    await keepBusy(late);
    const asked = engine.lookUp(key);
    await failing.received(1);
    return { failing, late, asked };
  }

  test('waits there as long as that one is only late', async () => {
    const { failing, late, asked } = await failFirst();
    await answerWhenLate(late);
    expect(await asked).toEqual(found);
    expect(failing.batches).toEqual([[key]]);
  });

  test('goes back when that one is ejected: who has failed once may do better', async () => {
    const { failing, late, asked } = await failFirst();
    failing.reply = honestReply;
    expect(await asked).toEqual(found);
    expect(laneTo(late).health.ejectedFor).toBe('silence');
    expect(failing.batches).toEqual([[key], [key]]);
  });

  test('waits there too when it was the probe that failed it', async () => {
    await start(['failing', 'late']);
    const [failing, late] = shards as [FakeShard, FakeShard];
    failing.reply = (_good, response) => response.socket!.destroy();
    // Asked one by one, all go to the one that fails first, until it is ejected.
    for (let i = 0; !laneTo(failing).health.isEjected; i++) {
      await keepBusy(late);
      const asked = engine.lookUp(key);
      await failing.received(i + 1);
      late.reply = honestReply;
      for (const answer of held.splice(0)) answer();
      expect(await asked).toEqual(found);
    }
    failing.reply = honestReply;
    failing.answer = () => 'loading';
    await vi.waitFor(() => expect(laneTo(failing).isProbeDue).toBe(true), waiting);
    const before = failing.batches.length;
    await keepBusy(late);
    const asked = engine.lookUp(key);
    await failing.received(before + 1);
    await answerWhenLate(late);
    expect(await asked).toEqual(found);
    expect(failing.batches.length).toBe(before + 1);
  });

  test('waits there too when a third one could not be reached in between', async () => {
    await start(['one', 'another', 'late']);
    const late = shards[2]!;
    const [failing, gone] = engine.preferenceOf(key).filter((shard) => shard !== late) as [FakeShard, FakeShard];
    const { address } = gone;
    failing.answer = () => 'loading';
    await gone.close();
    await keepBusy(late);
    const asked = engine.lookUp(key);
    await failing.received(1);
    await answerWhenLate(late);
    expect(await asked).toEqual(found);
    expect(failing.batches).toEqual([[key]]);
    expect(engine.refused).toContain(address);
  });
});
