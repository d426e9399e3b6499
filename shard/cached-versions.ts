// With a source the data folder is a cache: versions that nobody uses any more are removed from it, or it would grow with each one that is published. A
// folder in which somebody publishes is no cache, whatever the flags say: nothing is removed there.

import { randomBytes } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { publicationsPath, versionPath, versionsPath } from '../shared/data-set.ts';
import { isVersionId } from '../shared/manifest.ts';
import { fingerprintOf } from '../shared/placed-file.ts';

/** Removes all versions but those `inUse`; returns the ids of those that went. Throws the system's error. */
export async function removeUnusedVersions(dataDir: string, inUse: ReadonlySet<string>): Promise<readonly string[]> {
  if ((await fingerprintOf(publicationsPath(dataDir))) !== undefined) return [];
  const names = await readdir(versionsPath(dataDir)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const unused = names.filter((name) => isVersionId(name) && !inUse.has(name));
  for (const id of unused) {
    // Out of the way first: nobody is to find half of a version.
    const trash = join(dataDir, `.trash-${randomBytes(8).toString('hex')}`);
    await rename(versionPath(dataDir, id), trash);
    await rm(trash, { recursive: true, force: true, maxRetries: 3 });
  }
  return unused;
}
