// The benchmarks that compare, at their smallest: they run, and every contender gives what was put into it.

import { expect, test } from 'vitest';
import { benchCpuPerGet } from '../../bench/cpu-per-get.ts';
import { benchLoad } from '../../bench/load.ts';
import { benchMemory } from '../../bench/memory.ts';
import { benchScaling } from '../../bench/scaling.ts';
import { expectTable } from './expect-table.ts';

const log = (): void => {};

test('a cluster is measured against what else one could put before shards, every answer right', { timeout: 120_000 }, async ({ skip }) => {
  const result = await benchCpuPerGet({ entries: 500, valueSize: 90, seconds: 1, pairs: 1, warmUps: 0, openLoopSeconds: 0.2, log });
  if (!result) return skip('wrk or nginx is not installed');
  expect(result.contenders.slice(0, 3).map(({ name }) => name)).toEqual(['Pavostore', 'nginx', 'undici']);
  for (const { us, frontUs, perSecond, half } of result.contenders) {
    expect(us).toBeGreaterThanOrEqual(frontUs);
    for (const figure of [frontUs, perSecond, half?.p50Ms ?? 1]) expect(figure).toBeGreaterThan(0);
  }
  expect(result.checked).toBeGreaterThanOrEqual(2_000);
  expectTable('cpu-per-get', result);
});

test('values of 10 KiB are measured', { timeout: 120_000 }, async ({ skip }) => {
  const sizes = [{ entries: 500 }];
  const result = await benchScaling({ sizes, shardCounts: [2], valueSize: 10_240, seconds: 1, warmUpSeconds: 0, samples: 100, log });
  if (!result) return skip('wrk is not installed');
  expect(result.points.map(({ entries, shards, answeredExactly }) => [entries, shards, answeredExactly])).toEqual([[500, 2, 100]]);
  expectTable('scaling', result);
});

test('what an entry takes in memory is measured beside rivals', { timeout: 120_000 }, async () => {
  const result = await benchMemory({ entries: 20_000, valueSize: 90, log });
  const { rows } = result;
  const bytesOf = new Map(rows.map(({ name, bytesPerEntry }) => [name, bytesPerEntry]));
  expect(bytesOf.get('Pavostore')).toBeLessThan(6);
  for (const [name, bytes] of bytesOf) if (name !== 'Pavostore') expect(bytes, name).toBeGreaterThan(10);
  expect(bytesOf.has('Map')).toBe(true);
  expectTable('memory', result);
});

test('what it takes to load and verify is measured', { timeout: 120_000 }, async () => {
  const result = await benchLoad({ entries: 2_000_000, rounds: 3, log });
  expect(result.sliceBytes).toBeGreaterThan(2_000_000 * 120);
  expect(result.cpuSeconds).toBeGreaterThan(0);
  expectTable('load', result);
});
