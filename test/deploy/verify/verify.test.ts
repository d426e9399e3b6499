import { copyFile, cp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkSlice } from '../../../deploy/verify/slice-check.ts';
import { verifyDataSet } from '../../../deploy/verify/verify.ts';
import { currentPath, manifestPath, slicePath, slicesPath, versionPath } from '../../../shared/data-set.ts';
import { formatManifest, type Manifest, parseManifest } from '../../../shared/manifest.ts';
import { publishRecords } from '../../data-sets.ts';
import { makeFolder, runPavostore } from '../data-folder.ts';

const sliceCount = 4;
const records = new Map(Array.from({ length: 300 }, (_, i) => [`key-${i}`, Buffer.from(`value-${i}`)] as const));

type DataSet = { dataDir: string; versionDir: string; manifest: Manifest };

async function makeDataSet(): Promise<DataSet> {
  const dataDir = join(await makeFolder(), 'data');
  const manifest = publishRecords(dataDir, records, { sliceCount });
  return { dataDir, versionDir: versionPath(dataDir, manifest.id), manifest };
}

test('a whole version has no problems', async () => {
  const { dataDir, manifest } = await makeDataSet();
  const report = await verifyDataSet(dataDir, undefined);
  expect(report).toMatchObject({ id: manifest.id, sequence: 1, sliceCount, entries: 300, problems: [] });
  expect(await verifyDataSet(dataDir, manifest.id)).toEqual({ ...report, sequence: undefined });
});

describe('damage is found:', () => {
  const slice = (dataSet: DataSet, index: number): string => slicePath(dataSet.versionDir, index);
  const cases: Record<string, { damage: (dataSet: DataSet) => Promise<unknown>; problems: RegExp[] }> = {
    'two slices swapped': {
      damage: async (dataSet) => {
        await rename(slice(dataSet, 0), join(dataSet.dataDir, 'aside'));
        await rename(slice(dataSet, 1), slice(dataSet, 0));
        await rename(join(dataSet.dataDir, 'aside'), slice(dataSet, 1));
      },
      problems: [/0000\.slice: /, /0001\.slice: /],
    },
    'a slice twice': { damage: (dataSet) => copyFile(slice(dataSet, 2), slice(dataSet, 3)), problems: [/0003\.slice: /] },
    'a slice cut off': { damage: (dataSet) => truncate(slice(dataSet, 1), 200), problems: [/0001\.slice: 200 bytes, the manifest says/] },
    'an empty slice': { damage: (dataSet) => truncate(slice(dataSet, 1), 0), problems: [/0001\.slice: 0 bytes/] },
    'a byte too many': { damage: (dataSet) => writeFile(slice(dataSet, 1), 'x', { flag: 'a' }), problems: [/0001\.slice: /] },
    'a missing slice': { damage: (dataSet) => rm(slice(dataSet, 3)), problems: [/0003\.slice: no such file/] },
    'a slice that is a link': {
      damage: async (dataSet) => {
        await rename(slice(dataSet, 3), join(dataSet.dataDir, 'aside'));
        await symlink(join(dataSet.dataDir, 'aside'), slice(dataSet, 3));
      },
      problems: [/0003\.slice: it is a link/],
    },
    'a file too many among the slices': {
      damage: (dataSet) => copyFile(slice(dataSet, 3), join(slicesPath(dataSet.versionDir), '0004.slice')),
      problems: [/0004\.slice: it is no part of the version/],
    },
    'a file too many beside the manifest': {
      damage: (dataSet) => writeFile(join(dataSet.versionDir, 'manifest.json.tmp'), ''),
      problems: [/manifest\.json\.tmp: it is no part of the version/],
    },
    'no manifest': { damage: (dataSet) => rm(manifestPath(dataSet.versionDir)), problems: [/manifest\.json: no such file/] },
    'no slices': {
      damage: (dataSet) => rm(slicesPath(dataSet.versionDir), { recursive: true }),
      problems: [/slices: no such file/, /0000/, /0001/, /0002/, /0003/],
    },
    'no version': { damage: (dataSet) => rm(dataSet.versionDir, { recursive: true }), problems: [/manifest\.json: no such file/] },
    'another version under its name': {
      damage: async (dataSet) => {
        const other = publishRecords(join(dataSet.dataDir, 'other'), new Map([['a', Buffer.from('1')]]), { sliceCount });
        await rm(dataSet.versionDir, { recursive: true });
        await cp(versionPath(join(dataSet.dataDir, 'other'), other.id), dataSet.versionDir, { recursive: true });
      },
      problems: [/manifest\.json: it is version [0-9a-f]{32}, not [0-9a-f]{32}/],
    },
    'totals that are not the sums': {
      damage: async ({ versionDir, manifest }) => {
        const totals = { ...manifest.totals, valueBytes: 7, duplicates: 3 };
        await writeFile(manifestPath(versionDir), formatManifest({ ...manifest, totals }));
      },
      problems: [/totals say valueBytes 7, counted \d+/, /totals say lines 300, counted 303/],
    },
    'a current that says nothing': { damage: ({ dataDir }) => writeFile(currentPath(dataDir), ''), problems: [/current: not one line/] },
  };

  test.for(Object.entries(cases))('%s', async ([, { damage, problems }]) => {
    const dataSet = await makeDataSet();
    await damage(dataSet);
    const report = await verifyDataSet(dataSet.dataDir, undefined);
    expect(report.problems).toHaveLength(problems.length);
    for (const [index, pattern] of problems.entries()) expect(report.problems[index]).toMatch(pattern);
  });
});

describe('a flipped bit is found', () => {
  test('in a slice, wherever it is', async () => {
    const dataSet = await makeDataSet();
    const path = slicePath(dataSet.versionDir, 1);
    const whole = await readFile(path);
    const expected = dataSet.manifest.identity.slices[1]!;
    const task = { path, sliceIndex: 1, sliceCount, expected };
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 8 * whole.length - 1 }), async (bit) => {
        const damaged = Buffer.from(whole);
        damaged[bit >> 3]! ^= 1 << (bit & 7);
        await writeFile(path, damaged);
        expect((await checkSlice(task)).problem).toContain('0001.slice: ');
      }),
      { numRuns: 300 },
    );
    await writeFile(path, whole);
    expect((await checkSlice(task)).problem).toBeUndefined();
  });

  test('in current', async () => {
    const { dataDir } = await makeDataSet();
    const whole = await readFile(currentPath(dataDir));
    for (let bit = 0; bit < 8 * whole.length; bit += 3) {
      const damaged = Buffer.from(whole);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      await writeFile(currentPath(dataDir), damaged);
      expect((await verifyDataSet(dataDir, undefined)).problems, `bit ${bit}`).toHaveLength(1);
    }
  });

  test('in the manifest, unless it says the same of slices and totals', async () => {
    const { dataDir, versionDir, manifest } = await makeDataSet();
    const path = manifestPath(versionDir);
    const whole = await readFile(path);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 8 * whole.length - 1 }), async (bit) => {
        const damaged = Buffer.from(whole);
        damaged[bit >> 3]! ^= 1 << (bit & 7);
        await writeFile(path, damaged);
        const { problems } = await verifyDataSet(dataDir, undefined, { jobs: 1 });
        if (problems.length > 0) return;
        const { identity, totals } = parseManifest(damaged.toString(), path);
        expect({ identity, totals }).toEqual({ identity: manifest.identity, totals: manifest.totals });
      }),
      { numRuns: 40 },
    );
  });
});

test('the command ends with exit code 0 or 1, and 1 too where nothing is published', async () => {
  const { dataDir, versionDir, manifest } = await makeDataSet();
  const whole = await runPavostore(['verify', '--data', dataDir]);
  expect(whole).toMatchObject({
    exitCode: 0,
    stderr: '',
    stdout: expect.stringMatching(`^version ${manifest.id}, sequence 1: whole. 300 entries in 4 slices`),
  });
  await truncate(slicePath(versionDir, 2), 100);
  const damaged = await runPavostore(['verify', '--data', dataDir, '--version', manifest.id]);
  expect(damaged).toMatchObject({
    exitCode: 1,
    stdout: expect.stringMatching(/0002\.slice: 100 bytes.*\nversion [0-9a-f]{32}: 1 problem\n/),
  });
  const json = await runPavostore(['verify', '--data', dataDir, '--json']);
  expect(json.exitCode).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject({ id: manifest.id, whole: false, problems: [expect.stringContaining('0002.slice')] });
  const nothing = await runPavostore(['verify', '--data', join(dataDir, 'nothing')]);
  expect(nothing).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('nothing is published there [version_missing]') });
});
