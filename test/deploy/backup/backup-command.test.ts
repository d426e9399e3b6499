import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { BackupReport } from '../../../deploy/backup/backup.ts';
import { withPlace } from '../../../deploy/backup/transfer-flags.ts';
import type { SplitReport } from '../../../deploy/split/split.ts';
import { currentPath, publicationsPath } from '../../../shared/data-set.ts';
import { makeRoot } from '../../object-store/places.ts';
import { readRecords, runPavostore, withoutProgress } from '../data-folder.ts';

test('split --backup, backup --check and restore, as a user runs them', async () => {
  const root = makeRoot();
  const [dataDir, place] = [join(root, 'data'), join(root, 'place')];
  const split = await runPavostore(['split', '-', '--data', dataDir, '--slices', '4', '--backup', place, '--json'], 'a 1\nb 2\n');
  const report = JSON.parse(split.stdout) as SplitReport & { backup: BackupReport };
  expect(report.backup).toMatchObject({ id: report.id, sequence: report.sequence, latest: true, sentSlices: 4, place });
  const check = ['backup', '--data', dataDir, '--to', place, '--check'];
  const [good, sent] = await Promise.all([runPavostore(check), runPavostore(['backup', '--data', dataDir, '--to', place])]);
  expect(withoutProgress(good)).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/4 slices; good\n$/), stderr: '' });
  expect(sent.stdout).toMatch(/^sent +0, 0 B; 4 were there$/m);
  await runPavostore(['split', '-', '--data', dataDir], 'c 3\n');
  const behind = await runPavostore(check);
  expect(withoutProgress(behind)).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining('1 younger version not there; 1 problem'),
    stderr: '',
  });
  rmSync(dataDir, { recursive: true });
  const restored = await runPavostore(['restore', '--data', dataDir, '--from', place]);
  expect(restored).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^fetched +4, /m) });
  expect(await readRecords(dataDir)).toEqual(new Map(Object.entries({ a: '1', b: '2' })));
});

test('prune --backup fails where the data folder does not say what it needs, as prune of the folder does', async () => {
  const root = makeRoot();
  const [dataDir, place] = [join(root, 'data'), join(root, 'place')];
  await runPavostore(['split', '-', '--data', dataDir, '--slices', '1', '--backup', place], 'a 1\nb 2\n');
  const prune = async (data: string): Promise<[number | null, string]> => {
    const { exitCode, stderr } = await runPavostore(['prune', '--backup', place, '--data', data, '--keep', '1']);
    return [exitCode, stderr];
  };
  expect(await prune(dataDir)).toEqual([0, expect.not.stringContaining('nothing is published')]);
  expect(await prune(join(root, 'nowhere'))).toEqual([0, expect.stringContaining('nowhere: nothing is published there')]);
  mkdirSync(join(root, 'placed', 'versions'), { recursive: true });
  expect(await prune(join(root, 'placed'))).toEqual([1, expect.stringContaining('[version_missing]')]);
  writeFileSync(currentPath(dataDir), 'junk');
  expect(await prune(dataDir)).toEqual([1, expect.stringContaining('[current_malformed]')]);
  rmSync(currentPath(dataDir));
  expect(await prune(dataDir)).toEqual([1, expect.stringMatching(/current: no such file.*another --data.*\[version_missing\]/s)]);
  writeFileSync(publicationsPath(dataDir), 'junk');
  expect(await prune(dataDir)).toEqual([1, expect.stringContaining('[publications_malformed]')]);
});

test.for([
  [['s3://bucket/x', { endpoint: 'http://key:secret@host' }], 'never from a URL'],
  [['https://host/x', {}], 'a folder or s3://bucket/prefix'],
  [['x', { rate: '1KiB' }], '--rate 1KiB: at least 64.0 KiB a second'],
  [['x', { rate: 'fast' }], '"fast" is not a size'],
  [['x', { parallel: 0 }], '--parallel 0'],
] as const)('a place with %j is wrong usage', async ([[place, args], said]) => {
  const error = await withPlace(place, { parallel: 4, ...args }, async () => {}).catch((failure: unknown) => failure);
  expect(error).toMatchObject({ code: 'usage', message: expect.stringContaining(said) });
  expect((error as Error).message).not.toContain('secret');
});
