// The benchmarks of overload at their smallest: they run, and no answer is wrong. How much is answered depends on what else the machine does.

import { expect, test } from 'vitest';
import { benchRouterOverload, benchShardOverload, type OverloadResult } from '../../bench/overload.ts';
import { expectTable } from './expect-table.ts';

const log = (): void => {};

function expectSound(name: string, result: OverloadResult): void {
  expect(result.wrong).toBe(0);
  expect(result.goodputPerSecond).toBeGreaterThan(0);
  expect(result.offeredPerSecond).toBe(2 * result.capacityPerSecond);
  for (const bytes of [result.routerBytesBefore, result.routerBytesMax, result.routerBytesAfter]) expect(bytes).toBeGreaterThan(2 ** 20);
  for (const status of Object.keys(result.answers)) expect(['200', '503', '504']).toContain(status);
  expectTable(name, result);
}

test('shards that cannot keep up', { timeout: 120_000 }, async () => {
  const result = await benchShardOverload({ seconds: 2, shardsPerSecond: 1_000, connections: 1_000, log });
  expectSound('overload-shards', result);
  expect(result.connections).toBe(1_000);
});

test('a router that cannot keep up, over as many connections as exceed its deadline', { timeout: 120_000 }, async () => {
  const said: string[] = [];
  const result = await benchRouterOverload({ entries: 500, seconds: 2, deadlineMs: 50, log: (line) => said.push(line) });
  expectSound('overload-router', result);
  const isLimited = said.some((line) => line.includes('ulimit -n'));
  if (!isLimited) expect(result.connections).toBe(Math.ceil((2 * result.capacityPerSecond * result.deadlineMs) / 1_000));
});
