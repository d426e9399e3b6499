import { expect, test } from 'vitest';
import { benchSplit } from '../../bench/split.ts';
import { expectTable } from './expect-table.ts';

test('the benchmark of the split runs in a small size, and what it measures is checked', async (context) => {
  const lines: string[] = [];
  const result = await benchSplit({ entries: 20_000, pairs: 1, log: (line) => lines.push(line) });
  if (!result) return context.skip(lines.join('; '));
  expect(result).toMatchObject({ entries: 20_000, pairs: 1 });
  expect(result.overheadPerEntry).toBeLessThan(6);
  expect(result.sort.cpuRatio).toBeGreaterThan(0);
  expectTable('split', result);
});
