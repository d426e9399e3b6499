import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { newestServed, replaceCurrent } from '../../shard/data-copies.ts';
import { Shard } from '../../shard/shard.ts';
import { type Current, currentPath, formatCurrent, parseCurrent } from '../../shared/data-set.ts';
import { limits } from '../../shared/limits.ts';
import type { Member } from '../../shared/member-table.ts';
import { openTemporaryFolder, restoreMarkPrefix, withTemporaryFolder } from '../../shared/temporary-folder.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords } from '../data-sets.ts';
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

describe('what processes that were killed have left in DATA', () => {
  const start = async (dataDir: string): Promise<void> => {
    const shard = new Shard({
      dataDir,
      host: '127.0.0.1',
      port: 0,
      members: undefined,
      name: 'a',
      zone: undefined,
      replicas: 1,
      memory: undefined,
      stateDir: undefined,
      leaveGraceMs: 0,
      logLevel: 'silent',
    });
    onTestFinished(async () => await shard.close());
    await shard.start();
  };
  const age = (path: string): void => utimesSync(path, 1, 1);

  /** The temporary folder of a process that was killed while it wrote to it. */
  async function killWriter(dataDir: string): Promise<string> {
    const script = `import { writeFileSync } from 'node:fs';
      import { withTemporaryFolder } from '${new URL('../../shared/temporary-folder.ts', import.meta.url)}';
      await withTemporaryFolder('${dataDir}', async (folder) => {
        writeFileSync(folder + '/slice', Buffer.alloc(1_000));
        process.stdout.write(folder);
        await new Promise((resolve) => setTimeout(resolve, 1e9));
      });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [folder] = (await once(child.stdout, 'data')) as [Buffer];
    child.kill('SIGKILL');
    await once(child, 'exit');
    return folder.toString();
  }

  test('goes when a shard starts, once it is old enough, and nothing else does', async () => {
    const dataDir = join(await makeFolder(), 'data');
    const { id } = publishRecords(dataDir, new Map([['a', Buffer.from('a')]]), { sliceCount: 1 });
    const [dead, deadNow] = [await killWriter(dataDir), await killWriter(dataDir)];
    const living = await openTemporaryFolder(dataDir);
    onTestFinished(async () => await living.close());
    const trash = join(dataDir, '.trash-0123456789abcdef');
    mkdirSync(trash);
    const ofRestore = join(dataDir, '.tmp-restore');
    mkdirSync(ofRestore);
    for (const name of ['heartbeat', `${restoreMarkPrefix}${id}`]) writeFileSync(join(ofRestore, name), '');
    for (const path of [join(dead, 'heartbeat'), trash, join(ofRestore, 'heartbeat')]) age(path);
    await start(dataDir);
    await vi.waitFor(async () => expect(await findDebris(dataDir)).toHaveLength(3), waiting);
    expect((await findDebris(dataDir)).map((name) => join(dataDir, name)).sort()).toEqual([deadNow, living.path, ofRestore].sort());
  });

  test('goes while it serves', async () => {
    const interval = vi.spyOn(limits, 'unusedLookIntervalMs', 'get').mockReturnValue(10 as 60_000);
    onTestFinished(() => interval.mockRestore());
    const dataDir = join(await makeFolder(), 'data');
    publishRecords(dataDir, new Map([['a', Buffer.from('a')]]), { sliceCount: 1 });
    const trash = join(dataDir, '.trash-0123456789abcdef');
    mkdirSync(trash);
    age(trash);
    await start(dataDir);
    await vi.waitFor(() => expect(existsSync(trash)).toBe(false), waiting);
    // Not among what was looked at when it started.
    const dead = await killWriter(dataDir);
    expect(existsSync(join(dead, 'slice'))).toBe(true);
    age(join(dead, 'heartbeat'));
    await vi.waitFor(async () => expect(await findDebris(dataDir)).toEqual([]), waiting);
  });
});
