// Small versions on their way to be published, as a split leaves them, and a data folder that lies where it is quick to write.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Disk, realDisk } from '../../../deploy/publish/disk.ts';
import { type PublishOptions, publishVersion } from '../../../deploy/publish/publish.ts';
import { slicePath, slicesPath } from '../../../shared/data-set.ts';
import type { Manifest } from '../../../shared/manifest.ts';
import { openTemporaryFolder, type TemporaryFolder } from '../../../shared/temporary-folder.ts';
import { encodeRecords, type Records } from '../../data-sets.ts';
import { makeFolder } from '../data-folder.ts';

export const oldRecords = new Map([['old', Buffer.from('1')]]);
export const newRecords = new Map([
  ['new', Buffer.from('2')],
  ['newer', Buffer.from('3')],
]);

/** A disk that does not wait for itself: for what a test does beside its subject. */
export const hastyDisk: Disk = { ...realDisk, syncFile: async () => {}, syncFolder: async () => {} };

export type Prepared = {
  readonly dataDir: string;
  readonly folder: TemporaryFolder;
  readonly versionDir: string;
  readonly manifest: Manifest;
};

export async function makeDataDir(): Promise<string> {
  return join(await makeFolder(), 'data');
}

/** The slices of `records` in a temporary folder of `dataDir`, as the split leaves them for publishing. */
export async function prepare(dataDir: string, records: Records): Promise<Prepared> {
  const folder = await openTemporaryFolder(dataDir);
  const versionDir = join(folder.path, 'version');
  await mkdir(slicesPath(versionDir), { recursive: true });
  const { manifest, files } = encodeRecords(records, 2);
  for (const [sliceIndex, file] of files.entries()) await writeFile(slicePath(versionDir, sliceIndex), file);
  return { dataDir, folder, versionDir, manifest };
}

/** Publishes and closes the temporary folder. */
export async function publish({ folder, ...prepared }: Prepared, options: Partial<PublishOptions> = {}): ReturnType<typeof publishVersion> {
  try {
    return await publishVersion({ ...prepared, publish: true, ...options });
  } finally {
    await folder.close();
  }
}
