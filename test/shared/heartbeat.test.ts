import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { fileSystemNow, Heartbeat, isStale } from '../../shared/heartbeat.ts';
import { limits } from '../../shared/limits.ts';
import { makeFolder, waitFor } from '../deploy/data-folder.ts';

test('a heartbeat touches its file every few seconds until it is stopped, and never makes it anew', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const folder = await makeFolder();
  const path = join(folder, 'heartbeat');
  await writeFile(path, 'mine');
  await utimes(path, 1, 1);
  expect(await isStale(path, await fileSystemNow(folder))).toBe(true);
  const heartbeat = new Heartbeat(path, 'mine');
  vi.advanceTimersByTime(limits.heartbeatIntervalMs);
  const { mtimeMs } = await waitFor(async () => await stat(path).then((stats) => (stats.mtimeMs > 1_000 ? stats : undefined)), 'a beat');
  expect(await isStale(path, mtimeMs + limits.heartbeatStaleMs)).toBe(false);
  expect(await isStale(path, mtimeMs + limits.heartbeatStaleMs + 1)).toBe(true);
  expect(await readFile(path, 'utf8')).toBe('mine');

  await rm(path);
  vi.advanceTimersByTime(10 * limits.heartbeatIntervalMs);
  heartbeat.stop();
  expect(await isStale(path, 0)).toBeUndefined();
  expect(await readdir(folder)).toEqual([]);
});
