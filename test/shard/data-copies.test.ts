import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newestServed, replaceCurrent } from '../../shard/data-copies.ts';
import { type Current, currentPath, formatCurrent, parseCurrent } from '../../shared/data-set.ts';
import type { Member } from '../../shared/member-table.ts';
import { withTemporaryFolder } from '../../shared/temporary-folder.ts';
import { findDebris, makeFolder } from '../deploy/data-folder.ts';

const current = (sequence: number): Current => ({ sequence, id: String(sequence % 10).repeat(32), previousId: undefined });

async function replaced(there: string | undefined, next: Current): Promise<number> {
  const dataDir = join(await makeFolder(), 'data');
  mkdirSync(dataDir);
  if (there !== undefined) writeFileSync(currentPath(dataDir), there);
  await withTemporaryFolder(dataDir, async (folder) => await replaceCurrent(dataDir, folder, next));
  expect(await findDebris(dataDir)).toEqual([]);
  return parseCurrent(readFileSync(currentPath(dataDir), 'utf8'), 'current').sequence;
}

test('a current that is missing, damaged or older gives way; one as new or newer stays', async () => {
  expect(await replaced(undefined, current(5))).toBe(5);
  expect(await replaced('damaged', current(5))).toBe(5);
  expect(await replaced(formatCurrent(current(4)), current(5))).toBe(5);
  expect(await replaced(formatCurrent(current(5)), current(5))).toBe(5);
  expect(await replaced(formatCurrent(current(6)), current(5))).toBe(6);
});

test('of all who write it at once, the newest stays', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const write = async (sequence: number): Promise<void> =>
    await withTemporaryFolder(dataDir, async (folder) => await replaceCurrent(dataDir, folder, current(sequence)));
  await write(1);
  for (let round = 0; round < 20; round++) {
    const first = 10 * round + 10;
    await Promise.all([0, 1, 2, 3, 4].map((i) => write(first + i)));
    expect(parseCurrent(readFileSync(currentPath(dataDir), 'utf8'), 'current').sequence).toBe(first + 4);
  }
});

test('the newest version is the one that a living member keeps something of', () => {
  const member = (alive: boolean, sequence: number, kept: readonly (readonly [number, number])[]): Member => {
    const slices = { kept, loading: [], yielding: [], corrupt: [] };
    const versions = [{ id: String(sequence % 10).repeat(32), sequence, sliceCount: 4, slices }];
    const report = { name: 'a', incarnation: 'i', startedMs: 1, counter: 1, state: 'ready', versions } as const;
    return { name: 'a', zone: undefined, address: 'a:1', fixed: true, report, lastAnswerMs: 0, lastListedMs: 0, alive };
  };
  expect(newestServed([])).toBeUndefined();
  expect(newestServed([member(true, 3, [[0, 0]]), member(true, 4, [[1, 2]]), member(false, 9, [[0, 3]]), member(true, 8, [])])).toEqual(
    current(4),
  );
});
