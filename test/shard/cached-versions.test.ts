import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { backupVersion } from '../../deploy/backup/backup.ts';
import { verifyVersion } from '../../deploy/verify/verify.ts';
import { placeFetchedManifest, removeUnusedVersions } from '../../shard/cached-versions.ts';
import { fetchedMarkPath, manifestPath, publicationsPath, readManifest, slicesPath, versionPath } from '../../shared/data-set.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { openPlace } from '../../shared/place.ts';
import { withTemporaryFolder } from '../../shared/temporary-folder.ts';
import { publishRecords } from '../data-sets.ts';
import { findDebris, makeFolder, startPavostore, waitFor } from '../deploy/data-folder.ts';

const publishOne = (dataDir: string, key: string): Manifest =>
  publishRecords(dataDir, new Map([[key, Buffer.from(key)]]), { sliceCount: 1 });

const placeFetched = async (dataDir: string, manifest: Manifest): Promise<void> =>
  await withTemporaryFolder(dataDir, async (folder) => await placeFetchedManifest(dataDir, folder, manifest));

/** A version whose manifest was fetched, and whose slices came after it. */
async function fetchOne(dataDir: string, key: string): Promise<Manifest> {
  const elsewhere = join(await makeFolder(), 'data');
  const manifest = publishOne(elsewhere, key);
  await placeFetched(dataDir, manifest);
  await rename(slicesPath(versionPath(elsewhere, manifest.id)), slicesPath(versionPath(dataDir, manifest.id)));
  return manifest;
}

const isThere = (dataDir: string, { id }: Manifest): boolean => existsSync(versionPath(dataDir, id));

test('versions that were fetched go from a cache when nobody uses them and they can be had again; until then they verify', async () => {
  const cache = join(await makeFolder(), 'data');
  expect(await removeUnusedVersions(cache, async () => true)).toEqual([]);
  const [old, used] = [await fetchOne(cache, 'a'), await fetchOne(cache, 'b')];
  expect((await verifyVersion({ versionDir: versionPath(cache, old.id), id: old.id }, { jobs: 1 })).problems).toEqual([]);
  expect(await removeUnusedVersions(cache, async () => false)).toEqual([]);
  expect(await removeUnusedVersions(cache, async (id) => id !== used.id)).toEqual([old.id]);
  expect([isThere(cache, old), isThere(cache, used)]).toEqual([false, true]);
  expect(await findDebris(cache)).toEqual([]);
});

test('versions that were published or copied here never go, with or without a list of publications, nor does anything while somebody publishes here', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const [published, damaged] = [publishOne(dataDir, 'a'), publishOne(dataDir, 'b')];
  // A manifest that comes back into a folder that was there does not make it a fetched one.
  rmSync(manifestPath(versionPath(dataDir, damaged.id)));
  await placeFetched(dataDir, damaged);
  expect(await readManifest(dataDir, damaged.id)).toEqual(damaged);
  expect(await removeUnusedVersions(dataDir, async () => true)).toEqual([]);
  const fetched = await fetchOne(dataDir, 'c');
  writeFileSync(publicationsPath(dataDir), '{}');
  expect(await removeUnusedVersions(dataDir, async () => true)).toEqual([]);
  expect([published, damaged, fetched].map((each) => isThere(dataDir, each))).toEqual([true, true, true]);
  expect(await findDebris(dataDir)).toEqual([]);
});

test('an empty folder, as one that died leaves it, counts as not there', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const manifest = publishOne(join(await makeFolder(), 'data'), 'a');
  mkdirSync(versionPath(dataDir, manifest.id), { recursive: true });
  await placeFetched(dataDir, manifest);
  expect([await readManifest(dataDir, manifest.id), existsSync(fetchedMarkPath(versionPath(dataDir, manifest.id)))]).toEqual([
    manifest,
    true,
  ]);
});

test('a shard with a source removes what it fetched before, and nothing that was in its folder', async () => {
  const folder = await makeFolder();
  const [published, place, cache] = ['data', 'place', 'cache'].map((name) => join(folder, name)) as [string, string, string];
  const store = openPlace(place);
  const own = publishOne(cache, 'own');
  const publishAndBackUp = async (key: string, sequence: number): Promise<Manifest> => {
    const manifest = publishRecords(published, new Map([[key, Buffer.from(key)]]), { sliceCount: 1, sequence });
    await backupVersion({ dataDir: published, store });
    return manifest;
  };
  const first = await publishAndBackUp('first', 2);
  const otherLimits = fileURLToPath(new URL('../chaos/other-limits.ts', import.meta.url));
  const { child, finished } = startPavostore(['shard', '--source', place, '--data', cache, '--port', '0', '--leave-grace', '0s'], {
    NODE_OPTIONS: `--import=${otherLimits}`,
    OTHER_LIMITS: JSON.stringify({ unusedLookIntervalMs: 200, sourcePollIntervalMs: 200 }),
  });
  await waitFor(async () => isThere(cache, first) || undefined, 'the first version');
  const second = await publishAndBackUp('second', 3);
  await waitFor(async () => (isThere(cache, second) && !isThere(cache, first)) || undefined, 'the second version instead of the first');
  expect(isThere(cache, own)).toBe(true);
  child.kill('SIGTERM');
  expect(await finished).toMatchObject({ exitCode: 0, stderr: expect.stringContaining(`version ${first.id} is removed from the cache`) });
  expect(await findDebris(cache)).toEqual([]);
});
