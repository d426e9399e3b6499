// A crash after each write, sync and rename of everything that publishes: what was not synced may be lost. Whatever is left, `current` names a whole
// version, the old one or the new one; the list of publications can be read; and the next publication succeeds.

import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pruneVersions } from '../../../deploy/publish/prune.ts';
import { publishPlaced } from '../../../deploy/publish/publish.ts';
import { pinVersion, rollbackVersion, unpinVersion } from '../../../deploy/publish/rollback.ts';
import { listVersions } from '../../../deploy/publish/version-list.ts';
import { publicationsPath, readCurrent, slicePath, versionPath } from '../../../shared/data-set.ts';
import { formatPublications, type Publication } from '../../../shared/publications.ts';
import { encodeRecords, publishRecords, type Records } from '../../data-sets.ts';
import { makeFolder, readRecords } from '../data-folder.ts';
import { CrashDisk, crashKinds } from './crash-disk.ts';
import { hastyDisk, makeDataDir, newRecords, oldRecords, prepare, publish } from './prepared-version.ts';

const olderRecords = new Map([['older', Buffer.from('0')]]);
const nextRecords = new Map([['next', Buffer.from('4')]]);
const all = [olderRecords, oldRecords, newRecords, nextRecords];
const idOf = (records: Records): string => encodeRecords(records, 2).manifest.id;
const verify = { jobs: 1 };
const guards = { maxShrink: undefined, force: false };

type Crash = { readonly act: string; readonly dataDir: string };

/** Runs `act` over a recording disk; returns what a crash after each of its acts would leave, each once. */
async function crashesOf(dataDir: string, unsynced: readonly string[], act: (disk: CrashDisk) => Promise<unknown>): Promise<Crash[]> {
  const folder = await makeFolder();
  const crashes: Crash[] = [];
  const seen = new Set<string>();
  const disk: CrashDisk = new CrashDisk(dataDir, unsynced, (done) => {
    for (const kind of crashKinds) {
      const signature = disk.signature(kind);
      if (seen.has(signature)) continue;
      seen.add(signature);
      const crashed = join(folder, String(crashes.length));
      disk.crash(kind, crashed);
      crashes.push({ act: `${kind}, after: ${done}`, dataDir: crashed });
    }
  });
  await act(disk);
  return crashes;
}

/** Checks what each crash left, and that work goes on from there; returns the ids that were published, in the order of the crashes, each once. */
async function outcomesOf(crashes: readonly Crash[]): Promise<(string | undefined)[]> {
  const outcomes = new Set<string | undefined>();
  for (const { act, dataDir } of crashes) {
    const current = await readCurrent(dataDir);
    outcomes.add(current?.id);
    if (current) {
      const published = all.find((records) => idOf(records) === current.id)!;
      expect(await readRecords(dataDir), act).toEqual(new Map([...published].map(([key, value]) => [key, value.toString('latin1')])));
    }
    const { publications } = await listVersions(dataDir);
    if (publications.pin) expect(publications.pin, act).toMatchObject({ id: current?.id });
    if (publications.pin) await unpinVersion({ dataDir, disk: hastyDisk });
    const next = await publish(await prepare(dataDir, nextRecords), { disk: hastyDisk, guards });
    expect(next.current!.sequence, act).toBeGreaterThan(current?.sequence ?? 0);
    expect((await listVersions(dataDir)).versions.find(({ states }) => states.includes('current'))?.id, act).toBe(idOf(nextRecords));
  }
  return [...outcomes];
}

/** `records` as versions in place, published one after the other; the last one is the published one. */
async function makePublished(...versions: readonly Records[]): Promise<string> {
  const dataDir = await makeDataDir();
  for (const records of versions) await publish(await prepare(dataDir, records), { disk: hastyDisk, guards });
  return dataDir;
}

describe('a crash at any point of', () => {
  test('a split leaves the old version or the new one', async () => {
    const dataDir = await makePublished(oldRecords);
    const prepared = await prepare(dataDir, newRecords);
    const crashes = await crashesOf(dataDir, [prepared.folder.path], async (disk) => await publish(prepared, { disk }));
    expect(await outcomesOf(crashes)).toEqual([idOf(oldRecords), idOf(newRecords)]);
  });

  test('the first split of all leaves nothing published, or the version', async () => {
    const dataDir = await makeDataDir();
    const prepared = await prepare(dataDir, newRecords);
    const crashes = await crashesOf(dataDir, [prepared.folder.path], async (disk) => await publish(prepared, { disk }));
    expect(await outcomesOf(crashes)).toEqual([undefined, idOf(newRecords)]);
  });

  test('a split whose version is there, but damaged, leaves the old version or the new one', async () => {
    const dataDir = await makePublished(newRecords, oldRecords);
    await writeFile(slicePath(versionPath(dataDir, idOf(newRecords)), 0), 'nonsense');
    const prepared = await prepare(dataDir, newRecords);
    const crashes = await crashesOf(dataDir, [prepared.folder.path], async (disk) => await publish(prepared, { disk }));
    expect(await outcomesOf(crashes)).toEqual([idOf(oldRecords), idOf(newRecords)]);
  });

  test('two splits at once leaves one of three versions', async () => {
    const dataDir = await makePublished(olderRecords);
    const both = [await prepare(dataDir, oldRecords), await prepare(dataDir, newRecords)];
    const unsynced = both.map(({ folder }) => folder.path);
    const crashes = await crashesOf(
      dataDir,
      unsynced,
      async (disk) => await Promise.all(both.map(async (prepared) => await publish(prepared, { disk, guards }))),
    );
    const outcomes = await outcomesOf(crashes);
    expect(outcomes).toHaveLength(3);
    expect(outcomes.sort()).toEqual([olderRecords, oldRecords, newRecords].map(idOf).sort());
  });

  test('publishing a version that lies there, and of a refusal', async () => {
    const dataDir = await makePublished(newRecords, oldRecords);
    const id = idOf(newRecords);
    const crashes = await crashesOf(
      dataDir,
      [],
      async (disk) => await publishPlaced({ dataDir, act: 'publish', id, guards, verify, disk }),
    );
    expect(await outcomesOf(crashes)).toEqual([idOf(oldRecords), id]);
    await writeFile(slicePath(versionPath(dataDir, idOf(oldRecords)), 0), 'nonsense');
    const refused = await crashesOf(dataDir, [], async (disk) => {
      const publication = publishPlaced({ dataDir, act: 'publish', id: idOf(oldRecords), guards, verify, disk });
      await expect(publication).rejects.toMatchObject({ code: 'version_refused' });
    });
    expect(await outcomesOf(refused)).toEqual([id]);
  });

  test('a rollback', async () => {
    const dataDir = await makePublished(oldRecords, newRecords);
    const crashes = await crashesOf(dataDir, [], async (disk) => await rollbackVersion({ dataDir, force: false, verify, disk }));
    expect(await outcomesOf(crashes)).toEqual([idOf(newRecords), idOf(oldRecords)]);
  });

  test('pinning another version, and of taking the pin away', async () => {
    const dataDir = await makePublished(oldRecords, newRecords);
    const id = idOf(oldRecords);
    const crashes = await crashesOf(dataDir, [], async (disk) => await pinVersion({ dataDir, id, force: false, verify, disk }));
    expect(await outcomesOf(crashes)).toEqual([idOf(newRecords), id]);
    expect(await outcomesOf(await crashesOf(dataDir, [], async (disk) => await unpinVersion({ dataDir, disk })))).toEqual([id]);
  });

  test('pruning leaves what is published and the one before it', async () => {
    const dataDir = await makeDataDir();
    const ids = [olderRecords, nextRecords, oldRecords, newRecords].map(
      (records) => publishRecords(dataDir, records, { sliceCount: 2 }).id,
    );
    await publishPlaced({ dataDir, act: 'publish', id: ids[2]!, guards, verify, disk: hastyDisk });
    await publishPlaced({ dataDir, act: 'publish', id: ids[3]!, guards, verify, disk: hastyDisk });
    const { publications } = await listVersions(dataDir);
    const longAgo = (publication: Publication): Publication => ({ ...publication, atMs: publication.atMs - 86_400_000 });
    await writeFile(publicationsPath(dataDir), formatPublications({ ...publications, list: publications.list.map(longAgo) }));
    for (const id of ids) await utimes(versionPath(dataDir, id), 1, 1);
    const crashes = await crashesOf(dataDir, [], async (disk) => {
      const pruned = await pruneVersions({ dataDir, keep: 1, dryRun: false, reportedBy: new Map(), disk });
      expect(pruned.filter(({ keptFor }) => keptFor === undefined).map(({ version }) => version.id)).toEqual(ids.slice(0, 2).sort());
    });
    for (const { act, dataDir: crashed } of crashes) expect((await readCurrent(crashed))?.previousId, act).toBe(ids[2]);
    expect(await outcomesOf(crashes)).toEqual([ids[3]]);
  });
});
