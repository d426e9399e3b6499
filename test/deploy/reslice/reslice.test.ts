import { copyFile, mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { resliceVersion } from '../../../deploy/reslice/reslice.ts';
import { splitFiles } from '../../../deploy/split/split.ts';
import { isUpToDate } from '../../../deploy/split/split-options.ts';
import { verifyDataSet } from '../../../deploy/verify/verify.ts';
import { readCurrent, slicePath, slicesPath, versionPath } from '../../../shared/data-set.ts';
import { PavostoreError } from '../../../shared/errors.ts';
import { publishRecords } from '../../data-sets.ts';
import { findDebris, makeFolder, readRecords, runPavostore, startPavostore, waitFor, withoutProgress } from '../data-folder.ts';
import { unsyncedEnv } from '../unsynced.ts';
import { hostileText } from './hostile-text.ts';

async function makeDataSet(
  text: Buffer | string,
  sliceCount?: number,
): Promise<{ folder: string; dataDir: string; file: string; id: string }> {
  const folder = await makeFolder();
  const file = join(folder, 'input');
  const dataDir = join(folder, 'data');
  await writeFile(file, text);
  const { id } = await splitFiles({ files: [file], dataDir, sliceCount });
  return { folder, dataDir, file, id };
}

async function readSlices(dataDir: string, id: string): Promise<Map<string, Buffer>> {
  const folder = slicesPath(versionPath(dataDir, id));
  const names = (await readdir(folder)).sort();
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)));
}

const smallText = Array.from({ length: 2_000 }, (_, i) => `key-${i} ${'v'.repeat(100)}\n`).join('');

test('256 slices cut to 1024, joined to 16 and to 1, cut to 4096: each is byte for byte a fresh split', async () => {
  const { folder, dataDir, file } = await makeDataSet(hostileText());
  const records = await readRecords(dataDir);
  for (const [step, sliceCount] of [1024, 16, 1, 4096].entries()) {
    const report = await resliceVersion({ dataDir, sliceCount, jobs: 1 + (step % 3) });
    const freshDir = join(folder, `fresh-${sliceCount}`);
    const fresh = await splitFiles({ files: [file], dataDir: freshDir, sliceCount });
    expect(report).toMatchObject({ id: fresh.id, sliceCount, totals: fresh.totals, published: true });
    expect(await readSlices(dataDir, report.id)).toEqual(await readSlices(freshDir, fresh.id));
  }
  expect((await verifyDataSet(dataDir, undefined)).problems).toEqual([]);
  expect(await readRecords(dataDir)).toEqual(records);
  expect(await findDebris(dataDir)).toEqual([]);
});

test('tasks larger than their memory run one after the other and give the same', async () => {
  const { dataDir } = await makeDataSet(smallText, 8);
  const usual = await resliceVersion({ dataDir, sliceCount: 2, publish: false });
  const large = await resliceVersion({ dataDir, sliceCount: 2, publish: false, bounds: { memoryMax: 1 } });
  expect(large).toMatchObject({ id: usual.id, reused: true, published: false });
});

test('as many slices as there are is nothing to do, and says so', async () => {
  const { dataDir, id } = await makeDataSet('a 1\n', 4);
  const current = await readCurrent(dataDir);
  expect(await resliceVersion({ dataDir, sliceCount: 4 })).toMatchObject({ id, sourceId: id, published: false, sliceCount: 4 });
  const { stdout } = await runPavostore(['reslice', '--slices', '4', '--data', dataDir]);
  expect(stdout).toBe(`version ${id} has 4 slices already: nothing was done\n`);
  expect(await readCurrent(dataDir)).toEqual(current);
});

test('another version than the published one can be resliced, and published or not', async () => {
  const { dataDir, file, id } = await makeDataSet('a 1\nb 2\n', 4);
  await writeFile(file, 'a 3\n');
  const newer = await splitFiles({ files: [file], dataDir, sliceCount: 4 });
  const written = await resliceVersion({ dataDir, id, sliceCount: 8, publish: false });
  expect((await readCurrent(dataDir))?.id).toBe(newer.id);
  expect(await verifyDataSet(dataDir, written.id)).toMatchObject({ entries: 2, problems: [] });
  await resliceVersion({ dataDir, id, sliceCount: 8 });
  expect(await readCurrent(dataDir)).toMatchObject({ id: written.id, previousId: newer.id });
});

test('a version that is published meanwhile stays', async () => {
  const { dataDir } = await makeDataSet(smallText, 4);
  const { sequence } = (await readCurrent(dataDir))!;
  const newer: string[] = [];
  // While the slices are written, at once: what another publisher does may take longer than the rest of this.
  const onProgress = (): void => {
    if (newer.length > 0) return;
    newer.push(publishRecords(dataDir, new Map([['new', Buffer.from('1')]]), { sliceCount: 4, sequence: sequence + 1 }).id);
  };
  await expect(resliceVersion({ dataDir, sliceCount: 64, onProgress })).rejects.toMatchObject({
    code: 'version_refused',
    message: expect.stringContaining('was published meanwhile'),
  });
  expect(await readCurrent(dataDir)).toMatchObject({ sequence: sequence + 1, id: newer[0] });
});

test.for<[string, (path: string) => Promise<void>]>([
  ['a flipped bit in a value', async (path) => await flipByte(path, -3)],
  ['a flipped bit in the header', async (path) => await flipByte(path, 40)],
  ['a slice cut short', async (path) => await writeFile(path, (await readFile(path)).subarray(0, -1))],
  ['a slice in the place of another', async (path) => await copyFile(path.replace('0005', '0006'), path)],
  ['a missing slice', async (path) => await unlink(path)],
])('%s is refused, named, and nothing is published', async ([, damage]) => {
  const { dataDir, id } = await makeDataSet(smallText, 16);
  const current = await readCurrent(dataDir);
  const path = slicePath(versionPath(dataDir, id), 5);
  await damage(path);
  for (const sliceCount of [4, 64]) {
    await expect(resliceVersion({ dataDir, sliceCount })).rejects.toMatchObject({
      code: 'slice_malformed',
      message: expect.stringContaining(path),
    });
  }
  expect(await readCurrent(dataDir)).toEqual(current);
  expect(await readdir(join(dataDir, 'versions'))).toEqual([id]);
  expect(await findDebris(dataDir)).toEqual([]);
});

async function flipByte(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at < 0 ? bytes.length + at : at]! ^= 1;
  await writeFile(path, bytes);
}

test('a joined slice over its bound is refused before anything is written, with the slice count that is needed', async () => {
  const { dataDir } = await makeDataSet(smallText, 64);
  const bounds = { sliceSizeMax: 50_000 };
  // The manifest is enough to know it.
  await unlink(slicePath(versionPath(dataDir, (await readCurrent(dataDir))!.id), 5));
  await expect(resliceVersion({ dataDir, sliceCount: 2, bounds })).rejects.toMatchObject({
    code: 'slice_too_large',
    message: expect.stringMatching(/^slice \d of 2: \d+ bytes, at most 50000; --slices 8 is needed$/),
  });
  expect(await findDebris(dataDir)).toEqual([]);
});

test('serve takes a resliced version as it is, unless it is told another slice count', async () => {
  const { dataDir, file } = await makeDataSet(smallText);
  await resliceVersion({ dataDir, sliceCount: 16 });
  expect(await isUpToDate(dataDir, [file])).toBe(true);
  expect(await isUpToDate(dataDir, [file], { sliceCount: 16 })).toBe(true);
  expect(await isUpToDate(dataDir, [file], { sliceCount: 256 })).toBe(false);
  expect(await isUpToDate(dataDir, [file], { duplicates: 'first' })).toBe(false);
});

test('what cannot be is wrong usage, or a version that is not there', async () => {
  const { dataDir, folder } = await makeDataSet('a 1\n', 4);
  for (const sliceCount of [0, 3, 8192]) await expect(resliceVersion({ dataDir, sliceCount })).rejects.toMatchObject({ code: 'usage' });
  await expect(resliceVersion({ dataDir, sliceCount: 8, jobs: 0 })).rejects.toMatchObject({ code: 'usage' });
  await expect(resliceVersion({ dataDir, sliceCount: 8, id: 'f'.repeat(32) })).rejects.toMatchObject({ code: 'version_missing' });
  const empty = join(folder, 'empty');
  await mkdir(empty);
  await expect(resliceVersion({ dataDir: empty, sliceCount: 8 })).rejects.toMatchObject({ code: 'version_missing' });
  expect((await runPavostore(['reslice', '--data', dataDir])).exitCode).toBe(2);
});

test('an aborted reslice throws the reason and leaves nothing behind', async () => {
  const { dataDir, id } = await makeDataSet(smallText, 16);
  const controller = new AbortController();
  const onProgress = (): void => controller.abort(new PavostoreError('interrupted', 'enough'));
  await expect(resliceVersion({ dataDir, sliceCount: 4096, jobs: 1, signal: controller.signal, onProgress })).rejects.toThrow('enough');
  expect(await findDebris(dataDir)).toEqual([]);
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id, problems: [] });
});

test('a reslice that is killed leaves the published version whole, and the next one works', async () => {
  const lines = Array.from({ length: 300_000 }, (_, i) => `key-${i} value-${i}\n`).join('');
  const { dataDir, file, folder, id } = await makeDataSet(lines, 64);
  const { child, finished } = startPavostore(['reslice', '--slices', '4096', '--data', dataDir, '--jobs', '1'], unsyncedEnv);
  await waitFor(async () => await findWritten(dataDir), 'a written slice');
  child.kill('SIGKILL');
  expect((await finished).signal).toBe('SIGKILL');
  expect(await findDebris(dataDir)).toHaveLength(1);
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id, problems: [] });
  const again = await runPavostore(['reslice', '--slices', '16', '--data', dataDir, '--json']);
  expect(withoutProgress(again)).toMatchObject({ exitCode: 0, stderr: '' });
  const fresh = await splitFiles({ files: [file], dataDir: join(folder, 'fresh'), sliceCount: 16 });
  expect(JSON.parse(again.stdout)).toMatchObject({ id: fresh.id, sourceId: id, published: true });
});

/** The name of a temporary folder with at least one slice in it. */
async function findWritten(dataDir: string): Promise<string | undefined> {
  for (const name of await findDebris(dataDir)) {
    const slice = await stat(slicePath(join(dataDir, name, 'version'), 0)).catch(() => undefined);
    if (slice && slice.size > 0) return name;
  }
  return undefined;
}
