import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectSlice, inspectVersion } from '../../../deploy/inspect/inspect.ts';
import { currentPath, slicePath, versionPath } from '../../../shared/data-set.ts';
import { publishRecords } from '../../data-sets.ts';
import { makeFolder, runPavostore } from '../data-folder.ts';

const records = new Map(Array.from({ length: 100 }, (_, i) => [`key-${i}`, Buffer.from(`value-${i}`)] as const));

test('a version says what it holds and what that costs', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const manifest = publishRecords(dataDir, records, { sliceCount: 4, sequence: 7 });
  const summary = await inspectVersion(dataDir);
  const { keyBytes, valueBytes, sliceBytes } = manifest.totals;
  expect(summary).toMatchObject({ id: manifest.id, sequence: 7, sliceCount: 4, totals: manifest.totals });
  expect(summary.overheadPerEntry).toBeCloseTo((sliceBytes - keyBytes - valueBytes) / 100);
  expect(summary.sliceSize).toMatchObject({ mean: sliceBytes / 4 });
  expect(summary.sliceEntries).toMatchObject({ mean: 25 });

  const slice = await inspectSlice(dataDir, manifest.id, 3);
  expect(slice).toMatchObject({ sliceIndex: 3, sliceCount: 4, entryCount: manifest.identity.slices[3]!.entries });
  await expect(inspectSlice(dataDir, manifest.id, 4)).rejects.toMatchObject({ code: 'usage' });
  await truncate(slicePath(versionPath(dataDir, manifest.id), 3), 90);
  await expect(inspectSlice(dataDir, manifest.id, 3)).rejects.toMatchObject({ code: 'slice_malformed' });

  // A version can be looked at by its id even when nobody knows what is published.
  await writeFile(currentPath(dataDir), 'nonsense');
  await expect(inspectVersion(dataDir)).rejects.toMatchObject({ code: 'current_malformed' });
  expect(await inspectVersion(dataDir, manifest.id)).toMatchObject({ id: manifest.id, sequence: undefined });
});

test('the command prints it for people, or as JSON', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const { id } = publishRecords(dataDir, records, { sliceCount: 4 });
  const text = await runPavostore(['inspect', '--data', dataDir]);
  expect(text).toMatchObject({
    exitCode: 0,
    stderr: '',
    stdout: expect.stringMatching(new RegExp(`^version +${id}\n(.*\n)+entries +100\n`)),
  });
  const json = await runPavostore(['inspect', '--data', dataDir, '--slice', '2', '--json']);
  expect(JSON.parse(json.stdout)).toMatchObject({ sliceIndex: 2, sliceCount: 4 });
  const nothing = await runPavostore(['inspect', '--data', join(dataDir, 'nothing')]);
  expect(nothing).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringContaining('[version_missing]') });
});
