// With a source the data folder is a cache: versions that nobody uses any more are removed from it, or it would grow with each one that is published.
// Only those are removed that a shard has fetched, which a mark beside their manifests says: it is put in place with the folder, by one rename, and never into
// a folder that was there. So what somebody has published or copied here stays, whatever the flags say and whatever else is missing.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fetchedMarkPath, manifestPath, publicationsPath, versionPath, versionsPath } from '../shared/data-set.ts';
import { formatManifest, isVersionId, type Manifest } from '../shared/manifest.ts';
import { fingerprintOf, placeText } from '../shared/placed-file.ts';
import { moveToTrash, removeFolder } from '../shared/temporary-folder.ts';

/** Puts the manifest of a version that was fetched in place by way of `folder`, a temporary one of `dataDir`. Throws the system's error, or as `placeText`. */
export async function placeFetchedManifest(dataDir: string, folder: string, manifest: Manifest): Promise<void> {
  const versionDir = versionPath(dataDir, manifest.id);
  const text = formatManifest(manifest);
  if (await placeFetchedFolder(folder, versionDir, text)) return;
  // Of a folder that was there only the manifest is missing or damaged.
  await placeText(folder, manifestPath(versionDir), text);
}

/** Removes the versions that were fetched and may go; returns the ids of those that went. Throws the system's error. */
export async function removeUnusedVersions(dataDir: string, mayGo: (id: string) => Promise<boolean>): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const id of await fetchedVersions(dataDir)) {
    if (!(await mayGo(id))) continue;
    // Out of the way first: nobody is to find half of a version.
    await removeFolder(await moveToTrash({ rename }, dataDir, versionPath(dataDir, id)));
    removed.push(id);
  }
  return removed;
}

/** False when something is there already. */
async function placeFetchedFolder(folder: string, versionDir: string, manifestText: string): Promise<boolean> {
  const fetched = join(folder, randomBytes(8).toString('hex'));
  await placeText(folder, fetchedMarkPath(fetched), '');
  await placeText(folder, manifestPath(fetched), manifestText);
  const versionsDir = dirname(versionDir);
  const made = await mkdir(versionsDir, { recursive: true });
  try {
    await rename(fetched, versionDir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
  await syncFolder(versionsDir);
  if (made !== undefined) await syncFolder(dirname(versionsDir));
  return true;
}

async function fetchedVersions(dataDir: string): Promise<string[]> {
  // Somebody publishes here: then a version that was fetched may be what he goes back to.
  if ((await fingerprintOf(publicationsPath(dataDir))) !== undefined) return [];
  const names = await readdir(versionsPath(dataDir)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const fetched: string[] = [];
  for (const name of names) {
    if (isVersionId(name) && (await fingerprintOf(fetchedMarkPath(versionPath(dataDir, name)))) !== undefined) fetched.push(name);
  }
  return fetched;
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path);
  await folder.sync();
}
