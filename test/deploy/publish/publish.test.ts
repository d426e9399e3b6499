import { existsSync } from 'node:fs';
import fsPromises, { readdir, readFile, truncate, utimes, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { nextCurrent } from '../../../deploy/publish/announcement.ts';
import { type Disk, realDisk } from '../../../deploy/publish/disk.ts';
import { openPublishLock, type PublishLock } from '../../../deploy/publish/publish-lock.ts';
import { verifyDataSet } from '../../../deploy/verify/verify.ts';
import { currentPath, fetchedMarkPath, readCurrent, slicePath, versionPath } from '../../../shared/data-set.ts';
import { limits } from '../../../shared/limits.ts';
import { sliceHeaderSize } from '../../../shared/slice-layout.ts';
import { publishRecords } from '../../data-sets.ts';
import { findDebris, makeFolder } from '../data-folder.ts';
import { makeDataDir, newRecords, oldRecords, prepare, publish } from './prepared-version.ts';

async function age(path: string): Promise<void> {
  const longAgo = (Date.now() - 2 * limits.heartbeatStaleMs) / 1_000;
  await utimes(path, longAgo, longAgo);
}

/** Has `hook` called, and waited for, after each look at a file, rename and removal of this process, until the test is over. */
function afterEachAct(hook: (act: string, path: string) => Promise<void>): void {
  for (const act of ['stat', 'rename', 'rm'] as const) {
    const real = fsPromises[act] as (...args: unknown[]) => Promise<unknown>;
    vi.spyOn(fsPromises, act).mockImplementation(async (...args: unknown[]): Promise<never> => {
      const result = await real(...args);
      await hook(act, String(args[0]));
      return result as never;
    });
  }
  syncBuiltinESMExports();
  onTestFinished(() => {
    vi.restoreAllMocks();
    syncBuiltinESMExports();
  });
}

describe('a disk', () => {
  test('whose syncs fail fails the act: nothing is published, but for the very last sync, when it is there to be seen', async () => {
    const dataDir = await makeDataDir();
    const old = publishRecords(dataDir, oldRecords, { sliceCount: 2 });
    let failing = 0;
    let calls = 0;
    const failAt = (sync: Disk['syncFile']) => async (path: string) => {
      if (calls++ === failing) throw new Error('input/output error');
      await sync(path);
    };
    const disk: Disk = { ...realDisk, syncFile: failAt(realDisk.syncFile), syncFolder: failAt(realDisk.syncFolder) };
    const published: boolean[] = [];
    for (; ; failing++, calls = 0) {
      const outcome = await publish(await prepare(dataDir, newRecords), { disk }).catch((error: Error) => error.message);
      published.push((await readCurrent(dataDir))?.id !== old.id);
      if (typeof outcome !== 'string') break;
      expect(outcome).toBe('input/output error');
    }
    // Slices' folder, manifest, version; versions; publications, DATA; current, DATA; and the one without failure.
    expect(published).toEqual([false, false, false, false, false, false, false, true, true]);
    expect((await verifyDataSet(dataDir, undefined)).problems).toEqual([]);
    expect(await findDebris(dataDir)).toEqual([]);
  });
});

describe('publishing', () => {
  test('remembers the version before, and a sequence always grows', async () => {
    const dataDir = await makeDataDir();
    const first = await publish(await prepare(dataDir, oldRecords));
    expect(first.current).toMatchObject({ previousId: undefined });
    const second = await publish(await prepare(dataDir, newRecords));
    expect(second.current).toMatchObject({ previousId: first.current!.id });
    const again = await publish(await prepare(dataDir, newRecords));
    expect(again).toMatchObject({ reused: true, current: { id: second.current!.id, previousId: first.current!.id } });
    expect(again.current!.sequence).toBeGreaterThan(second.current!.sequence);
    expect(second.current!.sequence).toBeGreaterThan(first.current!.sequence);
    expect(await readCurrent(dataDir)).toEqual(again.current);
    expect(await findDebris(dataDir)).toEqual([]);
  });

  test('of a version that a shard has fetched before makes it a published one', async () => {
    const dataDir = await makeDataDir();
    const { current } = await publish(await prepare(dataDir, oldRecords));
    const mark = fetchedMarkPath(versionPath(dataDir, current!.id));
    await writeFile(mark, '');
    expect((await verifyDataSet(dataDir, undefined)).problems).toEqual([]);
    expect(await publish(await prepare(dataDir, oldRecords))).toMatchObject({ reused: true });
    expect(existsSync(mark)).toBe(false);
  });

  test('counts on from a sequence of the future', () => {
    expect(nextCurrent({ sequence: 9_000, id: 'a', previousId: undefined }, 'b', 5)).toEqual({ sequence: 9_001, id: 'b', previousId: 'a' });
    expect(nextCurrent({ sequence: 3, id: 'a', previousId: undefined }, 'b', 5)).toEqual({ sequence: 5, id: 'b', previousId: 'a' });
    expect(nextCurrent(undefined, 'b', 5)).toEqual({ sequence: 5, id: 'b', previousId: undefined });
  });

  test('goes on with a warning where current cannot be read', async () => {
    const dataDir = await makeDataDir();
    const first = await publish(await prepare(dataDir, oldRecords));
    await writeFile(currentPath(dataDir), 'nonsense');
    const warnings: string[] = [];
    const { current } = await publish(await prepare(dataDir, newRecords), { onWarning: (message) => warnings.push(message) });
    expect(current).toMatchObject({ previousId: first.current!.id });
    expect(warnings).toEqual([expect.stringContaining('not one line')]);
    expect((await verifyDataSet(dataDir, undefined)).problems).toEqual([]);
  });

  test('replaces a version that is there already, but damaged', async () => {
    const dataDir = await makeDataDir();
    const { current } = await publish(await prepare(dataDir, newRecords));
    await truncate(slicePath(versionPath(dataDir, current!.id), 1), 50);
    const warnings: string[] = [];
    const again = await publish(await prepare(dataDir, newRecords), { onWarning: (message) => warnings.push(message) });
    expect(again.reused).toBe(false);
    expect(warnings).toEqual([expect.stringMatching(/was there, but damaged \(.*0001\.slice: 50 bytes.*replaced/)]);
    expect((await verifyDataSet(dataDir, undefined)).problems).toEqual([]);
    expect(await findDebris(dataDir)).toEqual([]);
  });

  test('refuses an empty version', async () => {
    const dataDir = await makeDataDir();
    await expect(publish(await prepare(dataDir, new Map()))).rejects.toMatchObject({ code: 'version_refused' });
    expect((await readdir(dataDir)).sort()).toEqual(['publications.json', 'versions']);
  });

  test.each([
    ['header', 'here'],
    ['directory', 'here'],
    ['records', 'here'],
    ['records', 'in threads'],
  ] as const)('refuses one whose %s is not what was written, read back %s, and keeps the one before', async (where, place) => {
    if (place === 'in threads') vi.spyOn(limits, 'readBackHereMax', 'get').mockReturnValue(0 as typeof limits.readBackHereMax);
    onTestFinished(() => void vi.restoreAllMocks());
    const dataDir = await makeDataDir();
    const { current } = await publish(await prepare(dataDir, oldRecords));
    const prepared = await prepare(dataDir, newRecords);
    const sliceIndex = prepared.manifest.identity.slices.findIndex(({ entries }) => entries > 0);
    const path = slicePath(prepared.versionDir, sliceIndex);
    const bytes = await readFile(path);
    bytes[{ header: 40, directory: sliceHeaderSize + 1, records: bytes.length - 1 }[where]]! ^= 8;
    await writeFile(path, bytes);
    const refused = publish(prepared);
    await expect(refused).rejects.toMatchObject({ code: 'version_refused' });
    await expect(refused).rejects.toThrow(/it does not verify: .*versions.[0-9a-f]{32}.slices.\d+\.slice/);
    expect(await readCurrent(dataDir)).toEqual(current);
  });

  test('can leave current as it is', async () => {
    const dataDir = await makeDataDir();
    const { current } = await publish(await prepare(dataDir, oldRecords));
    const prepared = await prepare(dataDir, newRecords);
    expect(await publish(prepared, { publish: false })).toEqual({ current: undefined, reused: false });
    expect(await readCurrent(dataDir)).toEqual(current);
    expect((await verifyDataSet(dataDir, prepared.manifest.id)).problems).toEqual([]);
  });
});

describe('the lock of publishers', () => {
  test('is waited for, in vain for a bounded time, and free again once closed', async () => {
    const dataDir = await makeFolder();
    const lock = await openPublishLock(dataDir);
    const told: string[] = [];
    const onWait = (message: string): void => void told.push(message);
    await expect(openPublishLock(dataDir, { waitMs: limits.publishLockTellMs, onWait })).rejects.toMatchObject({
      code: 'publish_locked',
    });
    expect(told).toEqual([expect.stringContaining('another process is publishing')]);
    await expect(openPublishLock(dataDir, { waitMs: 100 })).rejects.toMatchObject({ code: 'publish_locked' });
    const waiting = openPublishLock(dataDir);
    await lock.close();
    await (await waiting).close();
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('is taken over when its owner is dead, by one of many', async () => {
    const dataDir = await makeFolder();
    const lockPath = join(dataDir, 'publish.lock');
    await writeFile(lockPath, 'the token of a dead one');
    await age(lockPath);
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => openPublishLock(dataDir, { waitMs: 200 })));
    const locks = outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value);
    expect(locks).toHaveLength(1);
    await locks[0]!.assertHeld();
    await locks[0]!.close();
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('of a dead one is not taken away by who has seen it, and comes late: it is another one by then', async () => {
    const dataDir = await makeFolder();
    const lockPath = join(dataDir, 'publish.lock');
    await writeFile(lockPath, 'the token of a dead one');
    await age(lockPath);
    const [seen, late] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let looks = 0;
    let lock: PublishLock | undefined;
    let isLost = false;
    afterEachAct(async (act, path) => {
      if (act === 'stat' && path === lockPath && looks++ === 0) {
        seen.resolve();
        await late.promise;
      }
      isLost ||= lock !== undefined && !existsSync(lockPath);
    });
    const slow = openPublishLock(dataDir, { waitMs: 0 }).catch((error: unknown) => error);
    await seen.promise;
    lock = await openPublishLock(dataDir);
    late.resolve();
    expect(await slow).toMatchObject({ code: 'publish_locked' });
    expect(isLost).toBe(false);
    await lock.assertHeld();
    await lock.close();
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('of a dead one is waited for while another takes it over, and taken over when that one is dead too, by one of many', async () => {
    const dataDir = await makeFolder();
    const paths = ['publish.lock', 'publish.lock.takeover', 'publish.lock.takeover.takeover'].map((name) => join(dataDir, name));
    for (const path of paths) await writeFile(path, '');
    for (const path of paths) {
      await age(path);
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => openPublishLock(dataDir, { waitMs: 200 })));
      const locks = outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value);
      expect(locks).toHaveLength(path === paths.at(-1) ? 1 : 0);
      await locks[0]?.assertHeld();
      await locks[0]?.close();
    }
    expect(await readdir(dataDir)).toEqual([]);
  });

  test('that was taken over stops its owner before current is replaced, and the new owner keeps it', async () => {
    const dataDir = await makeDataDir();
    const prepared = await prepare(dataDir, newRecords);
    const lockPath = join(dataDir, 'publish.lock');
    const disk: Disk = {
      ...realDisk,
      rename: async (from, to) => {
        await realDisk.rename(from, to);
        // Meanwhile another one found it stale.
        if (to.includes('versions')) await writeFile(lockPath, 'the token of another');
      },
    };
    await expect(publish(prepared, { disk })).rejects.toMatchObject({ code: 'publish_locked' });
    expect(await readCurrent(dataDir)).toBeUndefined();
    expect(await readFile(lockPath, 'utf8')).toBe('the token of another');
    expect(await findDebris(dataDir)).toEqual(['publish.lock']);
  });
});
