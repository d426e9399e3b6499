import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { removeUnusedVersions } from '../../shard/cached-versions.ts';
import { publicationsPath, versionPath } from '../../shared/data-set.ts';
import { publishRecords } from '../data-sets.ts';
import { findDebris, makeFolder } from '../deploy/data-folder.ts';

test('versions that nobody uses go from a cache, and never from a folder in which somebody publishes', async () => {
  const dataDir = join(await makeFolder(), 'data');
  expect(await removeUnusedVersions(dataDir, new Set())).toEqual([]);
  const [old, used] = ['a', 'b'].map((key) => publishRecords(dataDir, new Map([[key, Buffer.from(key)]]), { sliceCount: 1 }).id) as [
    string,
    string,
  ];
  writeFileSync(publicationsPath(dataDir), '{}');
  expect(await removeUnusedVersions(dataDir, new Set([used]))).toEqual([]);
  const cache = join(await makeFolder(), 'data');
  for (const key of ['a', 'b']) publishRecords(cache, new Map([[key, Buffer.from(key)]]), { sliceCount: 1 });
  expect(await removeUnusedVersions(cache, new Set([used]))).toEqual([old]);
  expect([existsSync(versionPath(cache, old)), existsSync(versionPath(cache, used))]).toEqual([false, true]);
  expect(await findDebris(cache)).toEqual([]);
});
