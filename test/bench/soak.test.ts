// The soak at its smallest, and what it makes of its samples.

import { expect, test } from 'vitest';
import type { ProcessSample } from '../../bench/process-watch.ts';
import { benchSoak, livesOf, seriesOf } from '../../bench/soak.ts';
import { expectTable } from './expect-table.ts';

const MiB = 2 ** 20;

test('a small cluster is soaked: every answer right, a shard restarted, every process watched', { timeout: 120_000 }, async () => {
  const result = await benchSoak({ entries: 5_000, minutes: 0.1, perSecond: 300, restartSeconds: 3, log: () => {} });
  expect([result.wrong, result.failed, result.lostWithRouters]).toEqual([0, 0, 0]);
  expect(result.answers).toBe(result.requests);
  expect(result.restarts.map(({ process, act }) => [process, act])).toEqual([['shard 1', 'SIGTERM']]);
  expect(Object.keys(result.series)).toEqual(['shard 1', 'shard 2', 'shard 3', 'router 1', 'router 2']);
  for (const { residentMiB, descriptors } of Object.values(result.series)) {
    expect(Math.min(...residentMiB)).toBeGreaterThan(10);
    expect(Math.min(...descriptors)).toBeGreaterThan(3);
  }
  expectTable('soak', result);
  // The one that was restarted has had two lives.
  expect(result.lives.filter(({ process }) => process === 'shard 1')).toHaveLength(2);
});

test('the slope of the memory is that of each life after its first minute', () => {
  const sample = (pid: number, atSeconds: number, residentBytes: number): ProcessSample => ({
    ...{ pid, atSeconds, residentBytes, descriptors: 20, loopDelayMaxMs: undefined },
  });
  const samples = [
    // It grows fast at first, then by a byte a second.
    ...Array.from({ length: 300 }, (_, i) => sample(1, i, i < 60 ? i * MiB : 60 * MiB + i)),
    ...Array.from({ length: 30 }, (_, i) => sample(2, 300 + i, 10 * MiB)),
  ];
  expect(livesOf('one', samples).map(({ residentBytesPerHour }) => residentBytesPerHour)).toEqual([3_600, null]);
  expect(seriesOf(samples).atSeconds.length).toBeLessThanOrEqual(200);
  expect(seriesOf(samples).residentMiB.at(-1)).toBe(10);
});
