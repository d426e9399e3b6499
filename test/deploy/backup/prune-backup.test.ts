import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backupVersion } from '../../../deploy/backup/backup.ts';
import { checkBackup } from '../../../deploy/backup/check.ts';
import { type PruneBackupOptions, type PruneBackupReport, planPruneBackup, pruneBackup } from '../../../deploy/backup/prune-backup.ts';
import { restoreVersion } from '../../../deploy/backup/restore.ts';
import { currentPath, formatCurrent, manifestPath, versionPath } from '../../../shared/data-set.ts';
import { formatManifest, type Manifest } from '../../../shared/manifest.ts';
import type { ObjectStore } from '../../../shared/object-store.ts';
import { openPlace } from '../../../shared/place.ts';
import { placeManifestName, placeSlicesPrefix } from '../../../shared/place-layout.ts';
import { publishRecords } from '../../data-sets.ts';
import { makeRoot, openS3, startS3 } from '../../object-store/places.ts';
import { filesOf } from '../data-folder.ts';

const nowMs = Date.parse('2026-06-01T00:00:00Z');

/** Published, with all slices but one or two as in the others; `number` is its month, too. */
function addVersion(dataDir: string, number: number, last?: Manifest): Manifest {
  const records = new Map(Array.from({ length: 200 }, (_, i) => [`key ${i}`, Buffer.alloc(100, `value ${i}`)]));
  records.set('changed', Buffer.from(`in ${number}`)).set(`only in ${number}`, Buffer.from('x'));
  const manifest = { ...publishRecords(dataDir, records, { sliceCount: 8 }), createdAt: `2026-0${number}-01T00:00:00.000Z` };
  writeFileSync(manifestPath(versionPath(dataDir, manifest.id)), formatManifest(manifest));
  writeFileSync(currentPath(dataDir), formatCurrent({ sequence: number, id: manifest.id, previousId: last?.id }));
  return manifest;
}

/** Five versions in a data folder and in the place, the last one the latest. */
async function fill(store: ObjectStore): Promise<{ readonly dataDir: string; readonly manifests: readonly Manifest[] }> {
  const dataDir = join(makeRoot(), 'data');
  const manifests: Manifest[] = [];
  for (let number = 1; number <= 5; number++) {
    manifests.push(addVersion(dataDir, number, manifests.at(-1)));
    await backupVersion({ dataDir, store });
  }
  return { dataDir, manifests };
}

const prune = async (store: ObjectStore, options: Partial<PruneBackupOptions> = {}): Promise<PruneBackupReport> =>
  await pruneBackup({ store, keep: 3, dryRun: false, neededFor: new Map(), nowMs, ...options });

const idsGone = ({ versions }: PruneBackupReport): string[] => versions.flatMap(({ id, keptFor }) => (keptFor === undefined ? [id] : []));

async function namesIn(store: ObjectStore, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.listObjects(prefix)) names.push(name);
  return names.sort();
}

async function expectWhole(store: ObjectStore, dataDir: string, manifests: readonly Manifest[]): Promise<void> {
  for (const { id } of manifests) {
    expect((await checkBackup({ dataDir, store, id, deep: true })).problems).toEqual([]);
    const restored = join(makeRoot(), 'restored');
    await restoreVersion({ dataDir: restored, store, id });
    expect(filesOf(restored, id)).toEqual(filesOf(dataDir, id));
  }
}

const kinds: [string, () => Promise<ObjectStore>][] = [
  ['a folder', async () => openPlace(join(makeRoot(), 'place'))],
  ['a bucket', async () => openS3(await startS3({ pageSize: 7 }))],
];

describe.each(kinds)('pruning a backup in %s', (_kind, open) => {
  test('removes old versions with the slices that nobody else has; those that stay are whole', async () => {
    const store = await open();
    const { dataDir, manifests } = await fill(store);
    const before = await namesIn(store, '');
    const planned = await prune(store, { dryRun: true });
    expect(idsGone(planned).sort()).toEqual([manifests[0]!.id, manifests[1]!.id].sort());
    expect(await namesIn(store, '')).toEqual(before);

    const report = await prune(store);
    expect(report).toEqual(planned);
    const stay = manifests.slice(2);
    const slices = new Set(stay.flatMap(({ identity }) => identity.slices.map(({ sha256 }) => `${placeSlicesPrefix}${sha256}`)));
    expect(await namesIn(store, '')).toEqual(['current', ...stay.map(({ id }) => placeManifestName(id)), ...slices].sort());
    expect(before.length - report.removedSlices - 2).toBe((await namesIn(store, '')).length);
    await expectWhole(store, dataDir, stay);
    expect(await prune(store)).toMatchObject({ removedSlices: 0, removedBytes: 0 });
  });

  test('that is killed at any point leaves the others whole, and goes on the next time', async () => {
    for (const killedAfter of [0, 1, 3]) {
      const store = await open();
      const { dataDir, manifests } = await fill(store);
      let removed = 0;
      const dying: ObjectStore = wrap(store, {
        removeObject: async (name) => {
          if (removed++ >= killedAfter) throw new Error('killed');
          await store.removeObject(name);
        },
      });
      await expect(prune(dying)).rejects.toThrow('killed');
      await expectWhole(store, dataDir, manifests.slice(2));
      expect(idsGone(await prune(store))).toHaveLength(2);
      expect(await namesIn(store, 'manifests/')).toHaveLength(3);
    }
  });

  test('beside a backup of a version that goes fails, and says what is to be backed up again', async () => {
    const store = await open();
    const { dataDir, manifests } = await fill(store);
    const [back] = manifests as [Manifest];
    let isFirst = true;
    const beside = wrap(store, {
      removeObject: async (name) => {
        await store.removeObject(name);
        if (!isFirst) return;
        isFirst = false;
        // Somebody has gone back to it, and found its slices there a moment ago.
        const sequence = Buffer.from(formatCurrent({ sequence: 9, id: back.id, previousId: undefined }));
        await store.writeSmallObject('current', sequence);
      },
    });
    await expect(prune(beside)).rejects.toMatchObject({ code: 'object_missing', message: expect.stringContaining(back.id) });
    writeFileSync(currentPath(dataDir), formatCurrent({ sequence: 10, id: back.id, previousId: undefined }));
    expect((await backupVersion({ dataDir, store })).sentSlices).toBeGreaterThan(0);
    await expectWhole(store, dataDir, [back, ...manifests.slice(2)]);
  });

  test('that begins and ends during a backup takes nothing from it', async () => {
    const store = await open();
    const { dataDir, manifests } = await fill(store);
    const [back] = manifests as [Manifest];
    writeFileSync(currentPath(dataDir), formatCurrent({ sequence: 10, id: back.id, previousId: undefined }));
    const sliceCount = new Set(back.identity.slices.map(({ sha256 }) => sha256)).size;
    let looks = 0;
    const pruned = wrap(store, {
      findObject: async (...args) => {
        const head = await store.findObject(...args);
        // All slices of the version have been found.
        if (++looks === sliceCount) expect(idsGone(await prune(store))).toContain(back.id);
        return head;
      },
    });
    const { foundSlices, sentSlices, latest } = await backupVersion({ dataDir, store: pruned });
    expect([foundSlices, sentSlices > 0, latest]).toEqual([sliceCount, true, true]);
    await expectWhole(store, dataDir, [back, ...manifests.slice(2)]);
  });

  test('where nothing is, or a manifest is damaged, removes nothing', async () => {
    const store = await open();
    await expect(prune(store)).rejects.toMatchObject({ code: 'version_missing' });
    const { manifests } = await fill(store);
    await store.writeSmallObject(placeManifestName(manifests[3]!.id), Buffer.from('{}'));
    const before = await namesIn(store, '');
    await expect(prune(store, { keep: 1 })).rejects.toMatchObject({ code: 'manifest_malformed' });
    expect(await namesIn(store, '')).toEqual(before);
  });
});

test('the latest, the one before, what is needed elsewhere, what is young and what has no date stay', () => {
  const made = (id: string, createdAt: string): Manifest => ({ id, createdAt, totals: { sliceBytes: 1 } }) as Manifest;
  const manifests = [
    made('latest', '2020-01-01T00:00:00Z'),
    made('before', '2020-01-02T00:00:00Z'),
    made('held', '2020-01-03T00:00:00Z'),
    made('old', '2020-01-04T00:00:00Z'),
    made('young', '2026-05-31T23:30:00Z'),
    made('undated', ''),
  ];
  const latest = { id: 'latest', previousId: 'before' };
  const plan = planPruneBackup(manifests, { keep: 1, latest, neededFor: new Map([['held', 'held by a shard']]), nowMs });
  expect(plan.map(({ id, keptFor }) => [id, keptFor])).toEqual([
    ['undated', 'one of the newest 1'],
    ['young', 'made 30 min 00 s ago'],
    ['old', undefined],
    ['held', 'held by a shard'],
    ['before', 'the one before the latest'],
    ['latest', 'the latest there'],
  ]);
});

/** The store with some methods of its own. */
function wrap(store: ObjectStore, methods: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get: (target, name) => {
      const value = Reflect.get(name in methods ? methods : target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
