import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type BackupOptions, type BackupReport, backupVersion } from '../../../deploy/backup/backup.ts';
import { behindFor, type CheckOptions, type CheckReport, checkBackup } from '../../../deploy/backup/check.ts';
import { type RestoreReport, restoreVersion } from '../../../deploy/backup/restore.ts';
import { pinVersion, unpinVersion } from '../../../deploy/publish/rollback.ts';
import {
  currentPath,
  formatCurrent,
  manifestPath,
  readCurrent,
  readPublications,
  sliceName,
  slicePath,
  versionPath,
} from '../../../shared/data-set.ts';
import type { Manifest } from '../../../shared/manifest.ts';
import type { ObjectStore } from '../../../shared/object-store.ts';
import { openPlace } from '../../../shared/place.ts';
import { placeManifestName, placeSliceName, readPlaceCurrent } from '../../../shared/place-layout.ts';
import { openTemporaryFolder } from '../../../shared/temporary-folder.ts';
import { publishRecords } from '../../data-sets.ts';
import { bucket, makeRoot, openS3, startS3 } from '../../object-store/places.ts';
import type { S3Seen } from '../../object-store/s3-server.ts';
import { filesOf, findDebris } from '../data-folder.ts';

const sliceCount = 8;

/** A data folder with some 100 KB in 8 slices, one of them larger than a part; the name makes the records. */
function makeData(name = 'a', sequence = 1_000): { dataDir: string; manifest: Manifest } {
  const dataDir = join(makeRoot(), 'data');
  return { dataDir, manifest: addVersion(dataDir, name, sequence) };
}

function addVersion(dataDir: string, name: string, sequence: number): Manifest {
  const records = new Map(Array.from({ length: 100 }, (_, i) => [`${name} ${i}`, Buffer.alloc(300, `${name}${i}`)]));
  records.set('large', Buffer.alloc(50_000, name));
  return publishRecords(dataDir, records, { sliceCount, sequence });
}

const backup = async (dataDir: string, store: ObjectStore, options: Partial<BackupOptions> = {}): Promise<BackupReport> =>
  await backupVersion({ dataDir, store, ...options });
const restore = async (store: ObjectStore, dataDir: string, options: object = {}): Promise<RestoreReport> =>
  await restoreVersion({ dataDir, store, ...options });
const check = async (dataDir: string, store: ObjectStore, options: Partial<CheckOptions> = {}): Promise<CheckReport> =>
  await checkBackup({ dataDir, store, nowMs: 10_000, ...options });

async function expectRestored(store: ObjectStore, from: { dataDir: string; manifest: Manifest }): Promise<void> {
  const dataDir = join(makeRoot(), 'restored');
  const report = await restore(store, dataDir);
  expect(report).toMatchObject({ id: from.manifest.id, published: true, reused: false, fetchedSlices: sliceCount });
  expect(filesOf(dataDir, from.manifest.id)).toEqual(filesOf(from.dataDir, from.manifest.id));
  expect(await readCurrent(dataDir)).toMatchObject({ id: from.manifest.id, sequence: report.sequence });
  expect(await findDebris(dataDir)).toEqual([]);
}

const kinds: [string, () => Promise<ObjectStore>][] = [
  ['a folder', async () => openPlace(join(makeRoot(), 'place'))],
  ['a bucket', async () => openS3(await startS3({ pageSize: 7 }))],
];

describe.each(kinds)('a backup to %s', (_kind, open) => {
  test('is restored byte by byte; a second one sends nothing, one of a new version what is new', async () => {
    const store = await open();
    const data = makeData();
    expect(await backup(data.dataDir, store)).toMatchObject({
      id: data.manifest.id,
      sequence: 1_000,
      latest: true,
      foundSlices: 0,
      sentSlices: sliceCount,
      sentBytes: data.manifest.totals.sliceBytes,
      verifiedSlices: sliceCount,
      mendedSlices: 0,
    });
    await expectRestored(store, data);
    expect(await backup(data.dataDir, store)).toMatchObject({
      latest: true,
      foundSlices: sliceCount,
      sentSlices: 0,
      sentBytes: 0,
      verifiedSlices: 0,
    });
    const newer = addVersion(data.dataDir, 'b', 2_000);
    expect(await backup(data.dataDir, store)).toMatchObject({ id: newer.id, sequence: 2_000, latest: true, sentSlices: sliceCount });
    await expectRestored(store, { ...data, manifest: newer });
    expect((await restore(store, join(makeRoot(), 'x'), { id: data.manifest.id })).id).toBe(data.manifest.id);
  });

  test('of an older publication, or of a version by its id, does not become the latest', async () => {
    const store = await open();
    const data = makeData();
    const older = data.manifest;
    const newer = addVersion(data.dataDir, 'b', 2_000);
    await backup(data.dataDir, store);
    expect(await backup(data.dataDir, store, { id: older.id })).toMatchObject({
      id: older.id,
      sequence: undefined,
      latest: false,
      sentSlices: sliceCount,
    });
    const warnings: string[] = [];
    const elsewhere = makeData('c', 1_500);
    expect(await backup(elsewhere.dataDir, store, { onWarning: (line) => warnings.push(line) })).toMatchObject({ latest: false });
    expect(warnings).toEqual([expect.stringContaining(`names version ${newer.id} of sequence 2000 as the latest`)]);
    expect((await readPlaceCurrent(store))?.current.id).toBe(newer.id);
  });

  test('by several at once ends with the latest of them', async () => {
    const store = await open();
    const all = ['a', 'b', 'c', 'd'].map((name, i) => makeData(name, 1_000 + i));
    await Promise.all(all.map(async ({ dataDir }) => await backup(dataDir, store)));
    expect((await readPlaceCurrent(store))?.current).toMatchObject({ id: all[3]!.manifest.id, sequence: 1_003 });
    expect((await check(all[3]!.dataDir, store, { deep: true })).problems).toEqual([]);
    await expectRestored(store, all[3]!);
  });

  test('mends with --deep what was damaged there, and a damaged `current` and manifest in any case', async () => {
    const store = await open();
    const data = makeData();
    await backup(data.dataDir, store);
    const [cut, flipped] = data.manifest.identity.slices.map(({ sha256 }) => placeSliceName(sha256)) as [string, string];
    const bytes = (await store.readSmallObject(flipped, 1e6))!.bytes;
    bytes[100]! ^= 1;
    await store.writeSmallObject(flipped, bytes);
    await store.writeSmallObject(cut, bytes.subarray(0, 10));
    await store.writeSmallObject('current', Buffer.from('nonsense'));
    await store.writeSmallObject(placeManifestName(data.manifest.id), Buffer.from('nonsense'));
    const onWarning = vi.fn();
    expect(await backup(data.dataDir, store, { onWarning })).toMatchObject({ latest: true, sentSlices: 1, mendedSlices: 1 });
    expect(onWarning).toHaveBeenCalledWith(expect.stringContaining('it is replaced'));
    expect(await check(data.dataDir, store)).toMatchObject({ problems: [] });
    expect(await check(data.dataDir, store, { deep: true })).toMatchObject({
      damagedSlices: 1,
      problems: [expect.stringContaining(flipped)],
    });
    expect(await backup(data.dataDir, store, { deep: true })).toMatchObject({
      sentSlices: 1,
      mendedSlices: 1,
      foundSlices: sliceCount - 1,
    });
    expect((await check(data.dataDir, store, { deep: true })).problems).toEqual([]);
  });

  test('never takes a slice that is damaged in the data folder', async () => {
    const store = await open();
    const data = makeData();
    const path = slicePath(versionPath(data.dataDir, data.manifest.id), 3);
    const bytes = readFileSync(path);
    bytes[200]! ^= 1;
    writeFileSync(path, bytes);
    await expect(backup(data.dataDir, store)).rejects.toMatchObject({ code: 'slice_malformed', message: expect.stringContaining(path) });
    rmSync(path);
    await expect(backup(data.dataDir, store)).rejects.toMatchObject({ code: 'version_missing' });
    expect(await store.findObject(placeSliceName(data.manifest.identity.slices[3]!.sha256))).toBeUndefined();
    expect(await readPlaceCurrent(store)).toBeUndefined();
  });

  test('that is damaged, cut, swapped or missing in the place is never published by a restore', async () => {
    const store = await open();
    const data = makeData();
    await backup(data.dataDir, store);
    const target = makeData('old', 5);
    const [name, other] = data.manifest.identity.slices.map(({ sha256 }) => placeSliceName(sha256)) as [string, string];
    const { bytes } = (await store.readSmallObject(name, 1e6))!;
    const flipped = Buffer.from(bytes);
    flipped[flipped.length - 1]! ^= 0x80;
    for (const damage of [flipped, bytes.subarray(0, 100), (await store.readSmallObject(other, 1e6))!.bytes, undefined]) {
      if (damage) await store.writeSmallObject(name, damage);
      else await store.removeObject(name);
      await expect(restore(store, target.dataDir)).rejects.toMatchObject({ code: damage ? 'object_corrupt' : 'object_missing' });
      expect((await readCurrent(target.dataDir))?.id).toBe(target.manifest.id);
      expect(readdirSync(join(target.dataDir, 'versions'))).toEqual([target.manifest.id]);
    }
    // Mended, the restore goes on with what it had; the sequence is a new one.
    await backup(data.dataDir, store);
    const report = await restore(store, target.dataDir);
    expect(report).toMatchObject({ published: true, id: data.manifest.id });
    expect(report.fetchedSlices).toBeLessThan(sliceCount);
    expect(report.sequence).toBeGreaterThan(1_000);
    expect(await readCurrent(target.dataDir)).toMatchObject({ id: data.manifest.id, previousId: target.manifest.id });
  });
});

describe('a backup that is ended in the middle', () => {
  test('leaves the one before as it was, and is finished by the next run without sending anything twice', async () => {
    let isDown = false;
    let puts = -1_000;
    const isSlice = ({ method, key }: S3Seen): boolean => method === 'PUT' && key.includes('slices/');
    const server = await startS3({
      onRequest: (seen) => {
        if (isSlice(seen) && ++puts > 5) isDown = true;
        return isDown ? 'reset' : undefined;
      },
    });
    const data = makeData();
    await backup(data.dataDir, openS3(server));
    puts = 0;
    const newer = addVersion(data.dataDir, 'b', 2_000);
    await expect(backup(data.dataDir, openS3(server), { parallel: 2 })).rejects.toMatchObject({ code: 'store_unreachable' });
    isDown = false;
    puts = -1_000;
    const store = openS3(server);
    expect((await readPlaceCurrent(store))?.current.id).toBe(data.manifest.id);
    expect((await check(data.dataDir, store)).problems).toHaveLength(1);
    const report = await backup(data.dataDir, store);
    expect(report).toMatchObject({ id: newer.id, latest: true });
    expect(report.foundSlices).toBeGreaterThan(0);
    expect(report.sentSlices).toBe(sliceCount - report.foundSlices);
    await expectRestored(store, { ...data, manifest: newer });
  });

  test('by its signal throws the reason of it', async () => {
    const controller = new AbortController();
    const server = await startS3({
      onRequest: () => {
        controller.abort(new Error('told to end'));
        return undefined;
      },
    });
    await expect(backup(makeData().dataDir, openS3(server), { signal: controller.signal })).rejects.toThrow('told to end');
  });
});

test('a backup in the data folder, or around it, is wrong usage, links or not', async () => {
  const { dataDir } = makeData();
  const linked = join(makeRoot(), 'link');
  symlinkSync(dataDir, linked);
  for (const place of [dataDir, join(dataDir, 'backup', 'x'), join(dataDir, '..'), linked, join(linked, 'versions')]) {
    await expect(backup(dataDir, openPlace(place)), place).rejects.toMatchObject({ code: 'usage' });
    await expect(restore(openPlace(place), dataDir), place).rejects.toMatchObject({ code: 'usage' });
  }
  await backup(dataDir, openPlace(`${dataDir}-backup`));
});

describe('what is read back', () => {
  test('must be what was sent: what a store damages once is sent again, what it damages always is an error', async () => {
    let damages = 1;
    const data = makeData();
    const [victim] = data.manifest.identity.slices.map(({ sha256 }) => placeSliceName(sha256)) as [string];
    const server = await startS3({
      onRequest: ({ method, key }) => {
        if (method !== 'GET' || !key.endsWith(victim) || damages-- <= 0) return undefined;
        const path = server.objectPath(bucket, key);
        const bytes = readFileSync(path);
        bytes[50]! ^= 4;
        writeFileSync(path, bytes);
        return undefined;
      },
    });
    const store = openS3(server);
    const onWarning = vi.fn();
    await backup(data.dataDir, store, { onWarning });
    expect(onWarning).toHaveBeenCalledWith(expect.stringContaining('it is sent again'));
    await expectRestored(store, data);
    await store.removeObject(victim);
    damages = 1_000;
    await expect(backup(data.dataDir, store)).rejects.toMatchObject({ code: 'object_corrupt', message: expect.stringContaining(victim) });
    await store.removeObject(victim);
    const before = server.bytesOut;
    expect(await backup(data.dataDir, store, { verify: false })).toMatchObject({ sentSlices: 1, verifiedSlices: 0 });
    expect(server.bytesOut - before).toBeLessThan(10_000);
  });
});

describe('a restore', () => {
  test('fetches only what is not here whole, and replaces a damaged version', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const data = makeData();
    await backup(data.dataDir, store);
    const before = filesOf(data.dataDir, data.manifest.id);
    expect(await restore(store, data.dataDir)).toMatchObject({ fetchedSlices: 0, reused: true, published: true });
    const versionDir = versionPath(data.dataDir, data.manifest.id);
    truncateSync(slicePath(versionDir, 1), 10);
    rmSync(slicePath(versionDir, 2));
    renameSync(slicePath(versionDir, 3), slicePath(versionDir, 2));
    rmSync(manifestPath(versionDir));
    const onWarning = vi.fn();
    expect(await restore(store, data.dataDir, { onWarning })).toMatchObject({ fetchedSlices: 3, reused: false, published: true });
    expect(onWarning).toHaveBeenCalledWith(expect.stringContaining('damaged'));
    expect(filesOf(data.dataDir, data.manifest.id)).toEqual(before);
    expect(await findDebris(data.dataDir)).toEqual([]);
  });

  test('goes on with the slices, and the parts of slices, of one that died or still runs', async () => {
    let isCut = true;
    const server = await startS3({
      onRequest: ({ method, key }) =>
        isCut && method === 'GET' && key.includes('slices/') && gets++ > 4 ? { status: 503, code: 'SlowDown' } : undefined,
    });
    let gets = 0;
    const data = makeData();
    isCut = false;
    await backup(data.dataDir, openS3(server));
    isCut = true;
    const dataDir = join(makeRoot(), 'restored');
    await expect(restore(openS3(server), dataDir, { parallel: 2 })).rejects.toMatchObject({ code: 'store_unreachable' });
    isCut = false;
    const report = await restore(openS3(server), dataDir);
    expect(report.fetchedSlices).toBeGreaterThan(0);
    expect(report.fetchedSlices).toBeLessThan(sliceCount);
    expect(filesOf(dataDir, data.manifest.id)).toEqual(filesOf(data.dataDir, data.manifest.id));
    // The folder of the first one is another's until its heartbeat is old.
    expect(await findDebris(dataDir)).toHaveLength(1);
  });

  test('goes on with the longest part of each slice, whichever of those that died has it', async () => {
    const ranges = new Map<string, string | undefined>();
    const server = await startS3({
      onRequest: ({ method, key, headers }) => {
        if (method === 'GET' && key.includes('slices/')) ranges.set(key.slice(key.indexOf('slices/')), headers.range);
        return undefined;
      },
    });
    const data = makeData();
    await backup(data.dataDir, openS3(server));
    ranges.clear();
    const dataDir = join(makeRoot(), 'restored');
    const { slices } = data.manifest.identity;
    // Whatever the order in which they are found, the first is not the one with the longest part of each.
    const folders = await Promise.all(Array.from({ length: 3 }, async () => await openTemporaryFolder(dataDir)));
    for (const [at, folder] of folders.entries()) {
      folder.abandon();
      mkdirSync(join(folder.path, 'parts'));
      writeFileSync(join(folder.path, `restore-${data.manifest.id}`), '');
      // Of the last one there is none.
      for (const i of slices.slice(0, 7).keys()) {
        const size = i % 3 === at ? 1_000 + i : 10 + at;
        const bytes = readFileSync(slicePath(versionPath(data.dataDir, data.manifest.id), i)).subarray(0, size);
        writeFileSync(join(folder.path, 'parts', sliceName(i)), bytes);
      }
    }
    expect(await restore(openS3(server), dataDir)).toMatchObject({ published: true, fetchedSlices: sliceCount });
    const expected = slices.map(({ sha256 }, i) => [placeSliceName(sha256), i === 7 ? undefined : `bytes=${1_000 + i}-`] as const);
    expect(ranges).toEqual(new Map(expected));
    expect(filesOf(dataDir, data.manifest.id)).toEqual(filesOf(data.dataDir, data.manifest.id));
  });

  test('gets a greater sequence than the backup has, whatever the clock says; --no-publish only writes the version', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const inFuture = Date.now() + 1e9;
    const data = makeData('a', inFuture);
    await backup(data.dataDir, store);
    const dataDir = join(makeRoot(), 'restored');
    expect(await restore(store, dataDir, { publish: false })).toMatchObject({ published: false, sequence: undefined });
    expect(await readCurrent(dataDir)).toBeUndefined();
    expect(await restore(store, dataDir)).toMatchObject({ sequence: inFuture + 1, reused: true });
  });

  test('says what is wrong with the backup', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const dataDir = join(makeRoot(), 'restored');
    await expect(restore(store, dataDir)).rejects.toMatchObject({
      code: 'version_missing',
      message: expect.stringContaining('no backup is there'),
    });
    const data = makeData();
    await backup(data.dataDir, store);
    await store.writeSmallObject('current', Buffer.from('nonsense'));
    const { id } = data.manifest;
    await expect(restore(store, dataDir)).rejects.toMatchObject({
      code: 'current_malformed',
      message: expect.stringContaining(`name a version: ${id}`),
    });
    expect(await restore(store, dataDir, { id })).toMatchObject({ published: true });
    await expect(restore(store, dataDir, { id: 'f'.repeat(32) })).rejects.toMatchObject({ code: 'version_missing' });
  });

  test.for<[string, (path: string) => void]>([
    ['larger than any', (path) => truncateSync(path, 5_000)],
    [
      'a link',
      (path) => {
        renameSync(path, `${path}-there`);
        symlinkSync(`${path}-there`, path);
      },
    ],
    [
      'a folder',
      (path) => {
        rmSync(path);
        mkdirSync(path);
      },
    ],
  ])(
    'of a named version does not mind a `current` there that is %s; one of the latest says what versions there are',
    async ([, damage]) => {
      const place = join(makeRoot(), 'place');
      const store = openPlace(place);
      const data = makeData();
      const { id } = data.manifest;
      await backup(data.dataDir, store);
      damage(join(place, 'current'));
      const dataDir = join(makeRoot(), 'restored');
      await expect(restore(store, dataDir)).rejects.toMatchObject({
        code: 'object_corrupt',
        message: expect.stringContaining(`name a version: ${id}`),
      });
      expect(await restore(store, dataDir, { id })).toMatchObject({ id, published: true });
    },
  );

  test('does not count a folder that somebody else works in as its own', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const data = makeData();
    await backup(data.dataDir, store);
    const dataDir = join(makeRoot(), 'restored');
    const stranger = await openTemporaryFolder(dataDir);
    await restore(store, dataDir);
    expect(await findDebris(dataDir)).toHaveLength(1);
    await stranger.close();
  });
});

describe('a restore into a folder with a version', () => {
  test('is refused before the long part when that is pinned, and when the backup has much less, unless forced', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const small = join(makeRoot(), 'data');
    const manifest = publishRecords(small, new Map([['one', Buffer.from('1')]]), { sliceCount: 1 });
    await backup(small, store);
    const target = makeData('old', 5);
    await pinVersion({ dataDir: target.dataDir, force: false });
    await expect(restore(store, target.dataDir)).rejects.toMatchObject({ code: 'version_pinned' });
    await unpinVersion({ dataDir: target.dataDir });
    await expect(restore(store, target.dataDir)).rejects.toMatchObject({ code: 'version_refused' });
    expect((await readCurrent(target.dataDir))?.id).toBe(target.manifest.id);
    expect(await restore(store, target.dataDir, { guards: { maxShrink: undefined, force: false } })).toMatchObject({ published: true });
    expect((await readPublications(target.dataDir))?.list.at(-1)).toMatchObject({ act: 'restore', id: manifest.id, outcome: 'passed' });
  });
});

describe('a check', () => {
  test('is good when the latest there is what is published, and says for how long it is not', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const data = makeData('a', 1_000);
    const none = await check(data.dataDir, store);
    expect(none).toMatchObject({ id: undefined, problems: [expect.stringContaining('no backup is there')] });
    await backup(data.dataDir, store);
    expect(await check(data.dataDir, store)).toMatchObject({ behindMs: 0, versionsBehind: 0, ageMs: 9_000, sliceCount, problems: [] });
    const current = (sequence: number, id: string, previousId: string | undefined): void =>
      writeFileSync(currentPath(data.dataDir), formatCurrent({ sequence, id, previousId }));
    const newer = addVersion(data.dataDir, 'b', 4_000);
    const path = manifestPath(versionPath(data.dataDir, newer.id));
    writeFileSync(path, readFileSync(path, 'utf8').replace('2026-01-01', '2026-01-02'));
    current(4_000, newer.id, data.manifest.id);
    expect(await check(data.dataDir, store)).toMatchObject({
      behindMs: 6_000,
      versionsBehind: 1,
      problems: [expect.stringContaining('without a backup for 6.0 s')],
    });
    expect((await check(data.dataDir, store, { ageMaxMs: 6_000 })).problems).toEqual([]);
    expect((await check(data.dataDir, store, { ageMaxMs: 5_999 })).problems).toHaveLength(1);
  });

  test('counts missing and damaged slices, and says so of a manifest', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const data = makeData();
    await backup(data.dataDir, store);
    const [cut, gone] = data.manifest.identity.slices.map(({ sha256 }) => placeSliceName(sha256)) as [string, string];
    await store.removeObject(gone);
    await store.writeSmallObject(cut, Buffer.from('short'));
    for (const deep of [false, true])
      expect(await check(data.dataDir, store, { deep })).toMatchObject({ missingSlices: 1, damagedSlices: 1 });
    await store.removeObject(placeManifestName(data.manifest.id));
    expect((await check(data.dataDir, store)).problems).toEqual([expect.stringContaining('no such version there')]);
  });

  test('without a data folder goes by the age of the backup', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    await backup(makeData().dataDir, store);
    expect((await check('/nowhere', store, { ageMaxMs: 10_000 })).problems).toEqual([]);
    expect((await check('/nowhere', store, { ageMaxMs: 8_000 })).problems).toEqual([expect.stringContaining('9.0 s old')]);
  });

  test('without a data folder and without an age fails: the backup may be as stale as it likes', async () => {
    const store = openPlace(join(makeRoot(), 'place'));
    const data = makeData();
    await backup(data.dataDir, store);
    expect((await check('/nowhere', store)).problems).toEqual([expect.stringMatching(/nowhere\/current: no such file.*--data.*--max-age/)]);
    rmSync(currentPath(data.dataDir));
    expect((await check(data.dataDir, store)).problems).toHaveLength(1);
    writeFileSync(currentPath(data.dataDir), 'junk');
    await expect(check(data.dataDir, store)).rejects.toMatchObject({ code: 'current_malformed' });
  });

  test.for([1_000, 2_000])(
    'fails when the latest there is of another data folder, of sequence %i, unless all of ours is there too',
    async (sequence) => {
      const store = openPlace(join(makeRoot(), 'place'));
      await backup(makeData('others', sequence).dataDir, store);
      const ours = makeData('ours', 1_000);
      const lacks = (what: string): RegExp =>
        new RegExp(`version ${ours.manifest.id} of sequence 1000, which is published, is not backed up: .*${what}`);
      expect((await check(ours.dataDir, store)).problems).toEqual([expect.stringMatching(lacks('no such version there'))]);
      await backup(ours.dataDir, store);
      expect(await check(ours.dataDir, store)).toMatchObject({ behindMs: 0, problems: [] });
      await store.removeObject(placeSliceName(ours.manifest.identity.slices[3]!.sha256));
      expect((await check(ours.dataDir, store)).problems).toEqual([expect.stringMatching(lacks('there is no such slice'))]);
    },
  );

  test('takes the time since a publication is missing from the list of them, or from what the sequences tell', () => {
    const [a, b] = ['a'.repeat(32), 'b'.repeat(32)];
    const backedUp = { sequence: 100, id: a, previousId: undefined };
    const behind = (sequence: number, previousId: string, listed: readonly number[] = []): number => {
      const list = listed.map((at) => ({ act: 'publish', id: b, sequence: at, atMs: at + 1, outcome: 'passed', reasons: [] }) as const);
      return behindFor(backedUp, { current: { sequence, id: b, previousId }, publications: { pin: undefined, list } }, 500);
    };
    expect(behind(100, b)).toBe(0);
    expect(behind(99, b)).toBe(0);
    expect(behind(300, a)).toBe(200);
    expect(behind(300, b)).toBe(400);
    expect(behind(900, a)).toBe(1);
    expect(behind(300, b, [100, 200, 300])).toBe(299);
    // What came before the first of the list is not known.
    expect(behind(300, b, [200, 300])).toBe(400);
    expect(behind(300, b, [100, 400])).toBe(400);
  });
});
