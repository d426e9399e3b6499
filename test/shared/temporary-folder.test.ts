import { cp, mkdir, readdir, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { openTemporaryFolder, removeStaleFolders, restoreMarkPrefix, withTemporaryFolder } from '../../shared/temporary-folder.ts';
import { makeFolder } from '../deploy/data-folder.ts';

async function makeDataDir(): Promise<string> {
  return join(await makeFolder(), 'data');
}

async function age(path: string): Promise<void> {
  const longAgo = (Date.now() - 2 * limits.heartbeatStaleMs) / 1_000;
  await utimes(path, longAgo, longAgo);
}

describe('temporary folders', () => {
  test('of the living stay, those of the dead go, and so does old trash', async () => {
    const dataDir = await makeDataDir();
    const living = await openTemporaryFolder(dataDir);
    const dead = await openTemporaryFolder(dataDir);
    await age(join(dead.path, 'heartbeat'));
    const halfRemoved = join(dataDir, '.tmp-half');
    await cp(dead.path, halfRemoved, { recursive: true });
    await rename(join(halfRemoved, 'heartbeat'), join(halfRemoved, 'something'));
    await age(halfRemoved);
    for (const name of ['.trash-old', '.trash-new', 'mine']) await mkdir(join(dataDir, name));
    await age(join(dataDir, '.trash-old'));
    const leftover = join(dataDir, '.tmp-current-17');
    await writeFile(leftover, '');
    await age(leftover);
    const removed = await removeStaleFolders(dataDir);
    expect(removed.sort()).toEqual([leftover, dead.path, halfRemoved, join(dataDir, '.trash-old')].sort());
    expect((await readdir(dataDir)).sort()).toEqual([living.path.slice(dataDir.length + 1), '.trash-new', 'mine'].sort());
    await living.close();
    await dead.close();
    expect((await readdir(dataDir)).sort()).toEqual(['.trash-new', 'mine']);
  });

  test('of a data folder that is not there are none', async () => {
    expect(await removeStaleFolders(join(await makeFolder(), 'nowhere'))).toEqual([]);
  });

  test('in a place that cannot be written are an error that says so', async () => {
    const folder = await makeFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(openTemporaryFolder(join(folder, 'file'))).rejects.toMatchObject({
      code: 'data_unwritable',
      message: expect.stringContaining(folder),
    });
    expect((await stat(join(folder, 'file'))).isFile()).toBe(true);
  });

  test('of a restore that died stay for the next one, where that is asked for', async () => {
    const dataDir = await makeDataDir();
    const dead = await openTemporaryFolder(dataDir);
    await writeFile(join(dead.path, `${restoreMarkPrefix}id`), '');
    await age(join(dead.path, 'heartbeat'));
    expect(await removeStaleFolders(dataDir, { keepRestores: true })).toEqual([]);
    expect(await removeStaleFolders(dataDir)).toEqual([dead.path]);
    await dead.close();
  });

  test('are gone after what is done in them, whose errors are not taken for those of the disk', async () => {
    const dataDir = await makeDataDir();
    const lost = Object.assign(new Error('other side closed'), { code: 'UND_ERR_SOCKET' });
    await expect(withTemporaryFolder(dataDir, async () => await Promise.reject(lost))).rejects.toBe(lost);
    expect(await withTemporaryFolder(dataDir, async (folder) => (await readdir(folder)).length)).toBe(1);
    expect(await readdir(dataDir)).toEqual([]);
    await writeFile(join(dataDir, 'file'), '');
    await expect(withTemporaryFolder(join(dataDir, 'file', 'data'), async () => {})).rejects.toMatchObject({ code: 'data_unwritable' });
  });
});
