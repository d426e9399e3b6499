// With a source the data folder is a cache: versions that nobody uses any more are removed from it, or it would grow with each one that is published. A
// folder in which somebody publishes is no cache, whatever the flags say: nothing is removed there.

import { readdir, rename } from 'node:fs/promises';
import { publicationsPath, versionPath, versionsPath } from '../shared/data-set.ts';
import { isVersionId } from '../shared/manifest.ts';
import { fingerprintOf } from '../shared/placed-file.ts';
import { moveToTrash, removeFolder } from '../shared/temporary-folder.ts';

/** Removes all versions but those `inUse`; returns the ids of those that went. Throws the system's error. */
export async function removeUnusedVersions(dataDir: string, inUse: ReadonlySet<string>): Promise<readonly string[]> {
  if ((await fingerprintOf(publicationsPath(dataDir))) !== undefined) return [];
  const names = await readdir(versionsPath(dataDir)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const unused = names.filter((name) => isVersionId(name) && !inUse.has(name));
  // Out of the way first: nobody is to find half of a version.
  for (const id of unused) await removeFolder(await moveToTrash({ rename }, dataDir, versionPath(dataDir, id)));
  return unused;
}
