// Whole /mgets over shards that are well, slow, silent, wrong or without the slice: every key has its own fate, and nothing is left behind.

import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { changeLimits, nobodyIsLate } from './changed-limits.ts';
import { TestEngine } from './engine-harness.ts';
import { type FakeReply, FakeShard, honestReply, statusOfKey } from './fake-shard.ts';

const value = (key: string): Buffer => Buffer.from(`value of ${key}`);
const found = (key: string) => ({ key, status: 'found', value: `value of ${key}` });
const missing = (key: string) => ({ key, status: 'missing' });
const unavailable = (code: string) => (key: string) => ({ key, status: 'unavailable', code });
const keysOf = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name} ${i}`);
const waiting = { timeout: 20_000, interval: 5 } as const;
const cutOff: FakeReply = (_good, response) => response.socket!.destroy();

let shards: FakeShard[];
let first: FakeShard;
let second: FakeShard;
let engine: TestEngine;

/** All hold everything. */
async function start(count: number, options: { deadlineMs?: number; cacheSize?: number } = {}): Promise<void> {
  shards = await Promise.all(['a', 'b', 'c'].slice(0, count).map((name) => FakeShard.start({ name, sliceCount: 16 })));
  for (const shard of shards) shard.answer = value;
  engine = new TestEngine(shards, options);
  [first, second] = engine.preferenceOf('k') as [FakeShard, FakeShard];
}

afterEach(async () => {
  expect(engine.engine.pending).toBe(0);
  await vi.waitFor(
    () => expect(engine.engine.lanes.map(({ load, batchesInFlight }) => load + batchesInFlight)).toEqual(shards.map(() => 0)),
    {
      timeout: limits.socketSilentMs + 5_000,
    },
  );
  await engine.close();
  for (const shard of shards) await shard.close();
});

describe('the keys of an /mget', () => {
  test('leave for each shard together, and are answered in their order', async () => {
    await start(3);
    for (const shard of shards) shard.answer = (key) => (key.endsWith('3') ? 'missing' : value(key));
    const keys = [...keysOf('k', 100), 'k 7', 'k 13'];
    expect(await engine.mget(keys)).toEqual(keys.map((key) => (key.endsWith('3') ? missing(key) : found(key))));
    expect(engine.engine.counts).toMatchObject({ retries: 0, expired: 0 });
    // Before any is late, and sent to another as well.
    const firstBatches = shards.flatMap(({ batches }) => batches.slice(0, 1));
    expect(firstBatches.flat().sort()).toEqual([...keys].sort());
  });

  test('of several requests and single GETs share a batch', async () => {
    await start(1);
    const asked = [engine.mget(keysOf('a', 200)), engine.lookUp('single'), engine.mget(keysOf('b', 250))] as const;
    const [a, single, b] = await Promise.all(asked);
    expect([a, b]).toEqual([keysOf('a', 200).map(found), keysOf('b', 250).map(found)]);
    expect(single).toEqual({ found: value('single') });
    expect(first.batches[0]).toEqual(['single', ...keysOf('a', 200), ...keysOf('b', 250)]);
  });

  test('go where the slice is, each by its own way when the first one asked has not got it', async () => {
    changeLimits(nobodyIsLate);
    await start(2);
    for (const status of ['notHeld', 'loading', 'corrupt'] as const) {
      const before = engine.engine.counts.retries;
      first.answer = (key) => (Number(key.split(' ')[1]) % 3 === 0 ? status : value(key));
      second.answer = value;
      const keys = keysOf(status, 60);
      expect(await engine.mget(keys)).toEqual(keys.map(found));
      expect(engine.engine.counts.retries).toBeGreaterThan(before);
    }
    second.answer = first.answer = () => 'loading';
    expect(await engine.mget(['k', 'l'])).toEqual(['k', 'l'].map(unavailable('slice_loading')));
  });

  test('that are deferred are asked again, until all are there', async () => {
    await start(1);
    let round = 0;
    first.answer = (key) => (first.batches.at(-1)!.indexOf(key) >= 10 + round ? 'deferred' : value(key));
    first.reply = (good, response, request) => {
      round++;
      honestReply(good, response, request);
    };
    expect(await engine.mget(keysOf('k', 60))).toEqual(keysOf('k', 60).map(found));
    expect(round).toBeGreaterThan(3);
  });

  test.each([
    ['breaks', cutOff],
    ['is wrong', ((_good, response) => response.writeHead(500).end()) as FakeReply],
    ['has too few keys', ((good, response, request) => honestReply(good.subarray(0, -1), response, request)) as FakeReply],
  ])('are asked of another holder when a batch %s', async (_name, reply) => {
    await start(2);
    first.reply = reply;
    const keys = keysOf('k', 50);
    expect(await engine.mget(keys)).toEqual(keys.map(found));
    second.reply = reply;
    expect((await engine.mget(keys)).every(({ status }) => status === 'unavailable')).toBe(true);
  });

  test('are sent to another holder when one is silent, and whoever waits in its queue goes there', async () => {
    await start(2);
    const held: ServerResponse[] = [];
    first.reply = (_good, response) => held.push(response);
    const keys = keysOf('k', 40);
    expect(await engine.mget(keys)).toEqual(keys.map(found));
    expect(engine.engine.counts.hedged).toBeGreaterThan(0);
    expect(await engine.mget(keys)).toEqual(keys.map(found));
    for (const response of held) response.socket!.destroy();
  });

  test('have one deadline, and what comes after it is for nobody', async () => {
    await start(2, { deadlineMs: 60 });
    const late: (() => void)[] = [];
    const hold: FakeReply = (good, response, request) => late.push(() => honestReply(good, response, request));
    first.reply = second.reply = hold;
    const keys = keysOf('k', 50);
    const results = await engine.mget(keys);
    expect(results).toEqual(keys.map(unavailable('deadline_exceeded')));
    expect(engine.engine.counts.expired).toBe(50);
    first.reply = second.reply = honestReply;
    for (const reply of late) reply();
    await vi.waitFor(() => expect(engine.engine.lanes.every(({ load }) => load === 0)).toBe(true), waiting);
    // Within any time: 60 ms are soon over on a busy machine.
    expect(await engine.mget(keys, 10_000)).toEqual(keys.map(found));
  });

  test('of which one shard has none left fail alone', async () => {
    await start(2);
    first.kept = [[0, 7]];
    second.kept = [];
    engine.follow();
    const keys = keysOf('k', 100);
    const results = await engine.mget(keys);
    for (const result of results) {
      const key = result.key as string;
      expect([found(key), unavailable('slice_unavailable')(key)]).toContainEqual(result);
    }
    expect(new Set(results.map(({ status }) => status))).toEqual(new Set(['found', 'unavailable']));
  });

  test('that find no room are refused one by one, and there is room again afterwards', async () => {
    await start(1);
    const due: (() => void)[] = [];
    first.reply = (good, response, request) => due.push(() => honestReply(good, response, request));
    const bulkMax = limits.memberQueueMax * limits.bulkQueueShare;
    const requests = Array.from({ length: Math.floor(bulkMax / 500) + 1 }, (_, i) => engine.mget(keysOf(`r${i}`, 500)));
    expect(engine.engine.counts.overloaded).toBe(500 * requests.length - bulkMax);
    first.reply = honestReply;
    await vi.waitFor(() => {
      for (const reply of due.splice(0)) reply();
      expect(engine.engine.pending).toBe(0);
    }, waiting);
    const results = (await Promise.all(requests)).flat();
    expect(results.filter(({ code }) => code === 'overloaded')).toHaveLength(500 * requests.length - bulkMax);
    expect(results.filter(({ status }) => status === 'found')).toHaveLength(bulkMax);
  });
});

test('whatever shards say, and however they fail, each key of each request has one true answer', async () => {
  await start(3, { deadlineMs: 300 });
  const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
  console.log(`the faults of bulk-lookup.test.ts: TEST_SEED=${seed}`);
  const next = randomFrom(seed);
  const random = (): number => next() / 2 ** 32;
  const isAbsent = (key: string): boolean => key.endsWith('7');
  const states = Object.keys(statusOfKey).filter((state) => state !== 'found') as Exclude<keyof typeof statusOfKey, 'found'>[];
  for (const shard of shards) {
    shard.answer = (key) => {
      if (random() < 0.05) return states[1 + Math.floor(random() * 4)]!;
      return isAbsent(key) ? 'missing' : value(key);
    };
    shard.reply = (good, response, request) => {
      const chance = random();
      if (chance < 0.02) response.socket!.destroy();
      else if (chance < 0.04) response.writeHead(503).end();
      else if (chance < 0.3) setTimeout(() => honestReply(good, response, request), 30 * random());
      else honestReply(good, response, request);
    };
  }
  for (let round = 0; round < 10; round++) {
    const requests = Array.from({ length: 4 }, (_, i) => keysOf(`${round} ${i}`, 1 + Math.floor(random() * 300)));
    const answers = await Promise.all(requests.map((keys) => engine.mget(keys)));
    for (const [i, keys] of requests.entries()) {
      expect(answers[i]!.map(({ key }) => key)).toEqual(keys);
      for (const result of answers[i]!) {
        const key = result.key as string;
        if (result.status !== 'unavailable') expect(result).toEqual(isAbsent(key) ? missing(key) : found(key));
      }
    }
  }
  for (const shard of shards) shard.reply = honestReply;
  // Of a request that was asked anew as a whole, some keys may still be on their way for the first time: until their deadline.
  await vi.waitFor(() => expect(engine.engine.pending).toBe(0), waiting);
});
