// The benchmarks of serving at their smallest: they run, and what they say of the answers is right.

import { expect, test } from 'vitest';
import { benchMemoryShard } from '../../bench/memory-shard.ts';
import { runOpenLoop } from '../../bench/open-loop.ts';
import { benchRedis } from '../../bench/redis.ts';
import { benchServing } from '../../bench/serving.ts';
import { benchSwap } from '../../bench/swap.ts';
import { createHttpServer, listen } from '../../shared/http-server.ts';
import { expectTable } from './expect-table.ts';

const log = (): void => {};

/** Nothing here is about deadlines, or about shards that stand still: so on a busy machine nothing fails for these. */
const patient = { replicas: 2, deadlineMs: 10_000 } as const;

test('a small cluster is measured, every sampled answer right', { timeout: 120_000 }, async ({ skip }) => {
  const result = await benchServing({
    ...{ entries: 5_000, valueSize: 90, shards: 2, seconds: 1, warmUpSeconds: 0, samples: 500, log },
    ...patient,
  });
  if (!result) return skip('wrk is not installed');
  expect([result.answeredExactly, result.answeredMissing]).toEqual([500, 500]);
  expect(result.openLoop.statuses[200]).toBe(result.openLoop.requests);
  expect(result.mget.keysPerSecond).toBeGreaterThan(0);
  expectTable('serving', result);
});

test('Redis is measured with the same records', { timeout: 120_000 }, async ({ skip }) => {
  const result = await benchRedis({ entries: 5_000, valueSize: 90, seconds: 1, log });
  if (!result) return skip('redis is not installed');
  expect(result.overheadPerEntry).toBeGreaterThan(20);
  expectTable('redis', result);
});

test('a shard with less memory than data is measured, sampled values right', { timeout: 120_000 }, async () => {
  const result = await benchMemoryShard({ entries: 200_000, asks: 100_000, memoryShare: 0.8, log });
  expect(result.valuesChecked).toBeGreaterThan(500);
  expectTable('memory-shard', result);
  expect(result.hitRatio).toBeGreaterThan(0.5);
});

test('a swap under load in tight memory is measured: nothing fails, and the memory comes back', { timeout: 120_000 }, async () => {
  const result = await benchSwap({ entries: 20_000, shards: 2, perSecond: 200, seconds: 1, log, ...patient });
  expect([result.failed, result.wrong]).toEqual([0, 0]);
  expect(result.during.requests).toBeGreaterThan(100);
  expectTable('swap', result);
  expect(result.settledSeconds).toBeGreaterThanOrEqual(result.servedSeconds);
  for (const { sliceBytes, budget, residentPeak } of result.memory) {
    expect(budget / sliceBytes).toBeCloseTo(1.2, 2);
    expect(residentPeak).toBeGreaterThan(sliceBytes);
  }
});

test('load at a fixed rate counts the time that a request had to wait for its turn', async () => {
  const server = createHttpServer({
    name: 'test',
    logLevel: 'silent',
    methodsOf: {},
    answerGet: (_target, exchange) => setTimeout(() => exchange.sendProblem('key_not_found'), 20),
  });
  const address = `127.0.0.1:${await listen(server, '127.0.0.1', 0)}`;
  // One connection and 20 ms an answer: 50 a second at most, and twice as many come.
  const result = await runOpenLoop({ address, perSecond: 100, seconds: 1, connections: 1, nextKey: () => 'k' });
  await server.close();
  expect(result.statuses).toEqual({ 404: result.requests });
  expect(result.maxMs).toBeGreaterThan(500);
});
