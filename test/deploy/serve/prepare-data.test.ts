// What `serve` does about the data before it starts the cluster: a file that may not be published must not keep the old version from being served.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { pinVersion, unpinVersion } from '../../../deploy/publish/rollback.ts';
import { prepareData } from '../../../deploy/serve/serve.ts';
import { readCurrent } from '../../../shared/data-set.ts';
import { makeFolder, readRecords } from '../data-folder.ts';
import { hastyDisk } from '../publish/prepared-version.ts';

/** Runs it for the file; returns what it said. */
async function prepare(dataDir: string, file: string): Promise<string> {
  const said: string[] = [];
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  try {
    await prepareData({ files: [file], dataDir, source: { sliceCount: 2, jobs: 1 } });
  } finally {
    write.mockRestore();
  }
  return said.join('');
}

describe('the data of a local cluster', () => {
  test('stays as it was when its file was cut short, is the new file where that is another one, and is a pinned version', async () => {
    const folder = await makeFolder();
    const [dataDir, file, other] = [join(folder, 'data'), join(folder, 'file'), join(folder, 'other')];
    await writeFile(file, 'a 1\nb 2\nc 3\nd 4\n');
    expect(await prepare(dataDir, file)).toMatch(/split 4 entries/);
    expect(await prepare(dataDir, file)).toBe('');

    for (const text of ['a 1\n', '']) {
      await writeFile(file, text);
      expect(await prepare(dataDir, file)).toMatch(/\[version_refused\]; version [0-9a-f]{32} is served\n$/);
      expect((await readRecords(dataDir)).size).toBe(4);
    }

    await writeFile(other, 'x y\n');
    expect(await prepare(dataDir, other)).toMatch(/split 1 entries/);
    expect(await readRecords(dataDir)).toEqual(new Map([['x', 'y']]));

    await pinVersion({ dataDir, force: false, disk: hastyDisk });
    await writeFile(file, 'a 5\n');
    const { id } = (await readCurrent(dataDir))!;
    expect(await prepare(dataDir, file)).toBe(`pavostore: version ${id} is pinned: ${file} is not split until pavostore unpin\n`);
    await unpinVersion({ dataDir, disk: hastyDisk });
    await prepare(dataDir, file);
    expect(await readRecords(dataDir)).toEqual(new Map([['a', '5']]));
  });

  test('of an empty file, where nothing was published before, is an error', async () => {
    const folder = await makeFolder();
    await writeFile(join(folder, 'file'), '\n');
    await expect(prepare(join(folder, 'data'), join(folder, 'file'))).rejects.toMatchObject({ code: 'version_refused' });
  });
});
