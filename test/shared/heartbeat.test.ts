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

test('a heartbeat that another one has taken over is left alone', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const folder = await makeFolder();
  const [path, own] = [join(folder, 'heartbeat'), join(folder, 'own')];
  for (const each of [path, own]) await writeFile(each, 'mine');
  // The second one beats after the first: when its file is touched, the other's beat is under way at least.
  const heartbeats = [new Heartbeat(path, 'mine'), new Heartbeat(own, 'mine')];
  await rm(path);
  await writeFile(path, 'another');
  await utimes(path, 1, 1);
  for (let beat = 0; beat < 3; beat++) {
    await utimes(own, 1, 1);
    vi.advanceTimersByTime(limits.heartbeatIntervalMs);
    await waitFor(async () => ((await stat(own)).mtimeMs > 1_000 ? true : undefined), 'a beat');
  }
  for (const heartbeat of heartbeats) heartbeat.stop();
  expect([await readFile(path, 'utf8'), (await stat(path)).mtimeMs]).toEqual(['another', 1_000]);
});
