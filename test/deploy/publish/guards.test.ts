import { rm, truncate, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { defaultGuards, judge, parseMaxShrink } from '../../../deploy/publish/guards.ts';
import { publishPlaced } from '../../../deploy/publish/publish.ts';
import { pinVersion, rollbackVersion, unpinVersion } from '../../../deploy/publish/rollback.ts';
import { findVersionId, listVersions } from '../../../deploy/publish/version-list.ts';
import {
  currentPath,
  formatCurrent,
  manifestPath,
  publicationsPath,
  readCurrent,
  readPublications,
  slicePath,
  versionPath,
} from '../../../shared/data-set.ts';
import { lastRefusal, publicationOf } from '../../../shared/publications.ts';
import type { Records } from '../../data-sets.ts';
import { findDebris } from '../data-folder.ts';
import { hastyDisk, makeDataDir, newRecords, oldRecords, prepare, publish } from './prepared-version.ts';

const disk = hastyDisk;
const verify = { jobs: 1 };
const anyShrink = { maxShrink: undefined, force: false };
const many: Records = new Map(Array.from({ length: 100 }, (_, i): [string, Buffer] => [`key-${i}`, Buffer.from('value')]));

/** Puts versions in place, and publishes each but the last. */
async function makePlaced(...versions: readonly Records[]): Promise<{ dataDir: string; ids: string[] }> {
  const dataDir = await makeDataDir();
  const ids: string[] = [];
  for (const [index, records] of versions.entries()) {
    const prepared = await prepare(dataDir, records);
    ids.push(prepared.manifest.id);
    await publish(prepared, { disk, guards: anyShrink, publish: index < versions.length - 1 });
  }
  return { dataDir, ids };
}

/** What cannot be read when all versions are listed. */
async function troubleOf(dataDir: string): Promise<string[]> {
  const told: string[] = [];
  expect((await listVersions(dataDir, (message) => told.push(message))).versions).toHaveLength(2);
  return told;
}

describe('the guards', () => {
  const facts = { problems: [], entries: 100, entriesPublished: 100 };

  test('let pass what is whole and not much smaller', () => {
    for (const entries of [50, 100, 10_000])
      expect(judge({ ...facts, entries }, defaultGuards)).toEqual({ outcome: 'passed', reasons: [] });
    expect(judge({ ...facts, entriesPublished: undefined, entries: 1 }, defaultGuards).outcome).toBe('passed');
    expect(judge({ ...facts, entriesPublished: 0 }, defaultGuards).outcome).toBe('passed');
    expect(judge({ ...facts, entries: 1 }, anyShrink).outcome).toBe('passed');
    expect(judge({ ...facts, entries: 1 }, { maxShrink: 1, force: false }).outcome).toBe('passed');
    const unknown = { ...facts, entriesPublished: new Error('gone') };
    for (const maxShrink of [undefined, 1]) expect(judge(unknown, { maxShrink, force: false }).outcome).toBe('passed');
  });

  test('refuse what is smaller than is allowed, empty, or does not verify, and say why; force is remembered with its reasons', () => {
    const smaller = judge({ ...facts, entries: 49 }, defaultGuards);
    expect(smaller).toEqual({
      outcome: 'refused',
      reasons: ['49 entries, 51.0 % less than the 100 of the published version; at most 50 % less is allowed'],
    });
    expect(judge({ ...facts, entries: 99 }, { maxShrink: 0, force: false }).outcome).toBe('refused');
    expect(judge({ ...facts, entries: 0 }, anyShrink)).toEqual({ outcome: 'refused', reasons: ['it is empty'] });
    expect(judge({ ...facts, problems: ['a', 'b'] }, anyShrink)).toEqual({
      outcome: 'refused',
      reasons: ['it does not verify: a (the first of 2 problems)'],
    });
    expect(judge({ ...facts, entries: 49 }, { ...defaultGuards, force: true })).toEqual({ ...smaller, outcome: 'forced' });
    expect(judge({ ...facts, entriesPublished: new Error('manifest.json: gone') }, defaultGuards)).toEqual({
      outcome: 'refused',
      reasons: ['how much smaller it is than the published version is not known: manifest.json: gone'],
    });
  });

  test('take a share in percent', () => {
    expect(['50%', '50', '0%', '100 %', '12.5%'].map(parseMaxShrink)).toEqual([0.5, 0.5, 0, 1, 0.125]);
    for (const text of ['', '%', '101', '-1', '50%%', 'half', '1e1', '0x10']) {
      expect(() => parseMaxShrink(text), text).toThrow(expect.objectContaining({ code: 'usage' }));
    }
  });
});

describe('publishing a version that lies in the folder', () => {
  test.for<[string, RegExp, (versionDir: string) => Promise<unknown>]>([
    [
      'with a slice that goes on',
      /does not verify: .*0001\.slice: \d+ bytes, the manifest says/,
      async (dir) => await writeFile(slicePath(dir, 1), Buffer.alloc(2), { flag: 'a' }),
    ],
    ['with a slice cut short', /does not verify: .*0000\.slice: 50 bytes/, async (dir) => await truncate(slicePath(dir, 0), 50)],
    ['with something beside it', /does not verify: .*surplus: it is no part/, async (dir) => await writeFile(`${dir}/surplus`, '')],
  ])('%s is refused; the old one stays, and the refusal can be read', async ([, reason, damage]) => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    const current = await readCurrent(dataDir);
    await damage(versionPath(dataDir, ids[1]!));
    const publication = publishPlaced({ dataDir, act: 'publish', id: ids[1]!, guards: defaultGuards, verify, disk });
    await expect(publication).rejects.toMatchObject({
      code: 'version_refused',
      message: expect.stringContaining(`${ids[0]} stays published`),
    });
    expect(await readCurrent(dataDir)).toEqual(current);
    const refusal = lastRefusal(await readPublications(dataDir));
    expect(refusal).toMatchObject({ act: 'publish', id: ids[1], outcome: 'refused', sequence: undefined });
    expect(refusal!.reasons.join()).toMatch(reason);
    const listed = (await listVersions(dataDir)).versions.find(({ id }) => id === ids[1])!;
    expect(listed).toMatchObject({ states: ['refused'], reasons: refusal!.reasons });
    await publishPlaced({ dataDir, act: 'publish', id: ids[1]!, guards: { ...defaultGuards, force: true }, verify, disk });
    const forced = (await readCurrent(dataDir))!;
    expect(publicationOf(await readPublications(dataDir), forced)?.outcome).toBe('forced');
    expect(forced).toMatchObject({ id: ids[1], previousId: ids[0] });
    expect(await findDebris(dataDir)).toEqual([]);
  });

  test('that is empty or has lost too much is refused, after a split too; a dry run writes nothing', async () => {
    const { dataDir, ids } = await makePlaced(many, newRecords);
    const before = await readPublications(dataDir);
    const publication = { dataDir, act: 'publish', id: ids[1]!, guards: defaultGuards, verify, disk } as const;
    await expect(publishPlaced({ ...publication, dryRun: true })).rejects.toThrow(/2 entries, 98\.0 % less than the 100/);
    expect(await readPublications(dataDir)).toEqual(before);
    expect(await publishPlaced({ ...publication, dryRun: true, guards: anyShrink })).toBeUndefined();
    await expect(publishPlaced(publication)).rejects.toMatchObject({ code: 'version_refused' });
    await expect(publish(await prepare(dataDir, oldRecords), { disk })).rejects.toThrow(/1 entries, 99\.0 % less/);
    await expect(publish(await prepare(dataDir, new Map()), { disk })).rejects.toThrow(/it is empty/);
    expect((await readCurrent(dataDir))?.id).toBe(ids[0]);
    expect((await listVersions(dataDir)).versions.filter(({ states }) => states.includes('refused'))).toHaveLength(3);
    await publish(await prepare(dataDir, new Map()), { disk, guards: { ...defaultGuards, force: true } });
    expect((await listVersions(dataDir)).versions.find(({ states }) => states.includes('current'))).toMatchObject({
      entries: 0,
      states: ['current', 'forced'],
    });
  });

  test('whose manifest cannot be read, or that is not there, is beyond force', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    const guards = { maxShrink: undefined, force: true };
    await writeFile(manifestPath(versionPath(dataDir, ids[1]!)), '{}');
    for (const [id, code] of [
      [ids[1]!, 'manifest_malformed'],
      ['f'.repeat(32), 'version_missing'],
    ] as const) {
      await expect(publishPlaced({ dataDir, act: 'publish', id, guards, verify, disk })).rejects.toMatchObject({ code });
    }
    expect((await readCurrent(dataDir))?.id).toBe(ids[0]);
    expect((await listVersions(dataDir)).versions.find(({ id }) => id === ids[1])).toMatchObject({
      states: ['damaged'],
      entries: undefined,
    });
  });

  test('goes on with a warning where the list of publications cannot be read', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    await writeFile(publicationsPath(dataDir), 'nonsense');
    expect(await troubleOf(dataDir)).toEqual([expect.stringContaining('not JSON')]);
    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    await publishPlaced({ dataDir, act: 'publish', id: ids[1]!, guards: anyShrink, verify, disk, onWarning });
    expect(await troubleOf(dataDir)).toEqual([]);
    expect(new Set(warnings)).toEqual(new Set([expect.stringMatching(/publications\.json: not JSON.*begins anew/)]));
    expect((await readPublications(dataDir)).list.map(({ id }) => id)).toEqual([ids[1]]);
  });
});

/** Ways to lose `current` after something was published. */
const losses: [string, RegExp, (dataDir: string) => Promise<void>][] = [
  ['deleted', /current: no such file/, async (dataDir) => await rm(currentPath(dataDir))],
  ['junk', /current: not one line/, async (dataDir) => await writeFile(currentPath(dataDir), 'junk')],
];

describe.each(losses)('where current is %s', (_loss, told, lose) => {
  test('what the list names last counts as published: for the guard against shrinking, the sequence and the version before', async () => {
    const { dataDir, ids } = await makePlaced(many, newRecords);
    const before = (await readCurrent(dataDir))!;
    await lose(dataDir);
    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    const publication = { dataDir, act: 'publish', id: ids[1]!, verify, disk, onWarning } as const;
    await expect(publishPlaced({ ...publication, guards: defaultGuards })).rejects.toThrow(/2 entries, 98\.0 % less than the 100/);
    await expect(publish(await prepare(dataDir, oldRecords), { disk, onWarning })).rejects.toThrow(/1 entries, 99\.0 % less than the 100/);
    for (const warning of warnings) expect(warning).toMatch(told);
    expect(warnings[0]).toContain(`version ${ids[0]}, which was published last, counts`);
    await rm(currentPath(dataDir), { force: true });
    await publishPlaced({ ...publication, guards: anyShrink });
    const after = (await readCurrent(dataDir))!;
    expect(after).toMatchObject({ id: ids[1], previousId: ids[0] });
    expect(after.sequence).toBeGreaterThan(before.sequence);
  });

  test('a pin holds, is listed, and can be taken away', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    await pinVersion({ dataDir, force: false, verify, disk });
    await lose(dataDir);
    const pinned = { code: 'version_pinned', message: expect.stringContaining(`version ${ids[0]} is pinned`) };
    await expect(publishPlaced({ dataDir, act: 'publish', id: ids[1]!, guards: anyShrink, verify, disk })).rejects.toMatchObject(pinned);
    await expect(publish(await prepare(dataDir, many), { disk })).rejects.toMatchObject(pinned);
    expect((await listVersions(dataDir, () => {})).publications.pin?.id).toBe(ids[0]);
    expect(await unpinVersion({ dataDir, disk })).toMatchObject({ id: ids[0] });
    await rm(currentPath(dataDir), { force: true });
    expect((await publish(await prepare(dataDir, many), { disk })).current).toMatchObject({ previousId: ids[0] });
  });

  test('and the list too, nothing passes the guard against shrinking unforced', async () => {
    const { dataDir, ids } = await makePlaced(many, newRecords);
    await lose(dataDir);
    await writeFile(publicationsPath(dataDir), 'junk');
    const publication = { dataDir, act: 'publish', id: ids[1]!, verify, disk } as const;
    await expect(publishPlaced({ ...publication, guards: defaultGuards, dryRun: true })).rejects.toThrow(
      /is not known: .*(current|publications\.json): /,
    );
    await rm(currentPath(dataDir), { force: true });
    await publishPlaced({ ...publication, guards: { ...defaultGuards, force: true } });
    expect((await readCurrent(dataDir))?.id).toBe(ids[1]);
  });
});

test('where the manifest of the published version cannot be read, only what is forced is published', async () => {
  for (const lose of [async (path: string) => await rm(path), async (path: string) => await truncate(path, 50)]) {
    const { dataDir, ids } = await makePlaced(oldRecords, many);
    await lose(manifestPath(versionPath(dataDir, ids[0]!)));
    const publication = { dataDir, act: 'publish', id: ids[1]!, verify, disk } as const;
    const refused = publishPlaced({ ...publication, guards: defaultGuards });
    await expect(refused).rejects.toMatchObject({
      code: 'version_refused',
      message: expect.stringMatching(/is not known: .*manifest\.json: .*--force/),
    });
    expect((await readCurrent(dataDir))?.id).toBe(ids[0]);
    await publishPlaced({ ...publication, guards: { ...defaultGuards, force: true } });
    expect(publicationOf(await readPublications(dataDir), (await readCurrent(dataDir))!)?.outcome).toBe('forced');
  }
});

test('a folder in which nothing was ever published, only refused or placed, has nothing to lose', async () => {
  const dataDir = await makeDataDir();
  const onWarning = (message: string): void => expect(message).toBe('nothing');
  await publish(await prepare(dataDir, many), { disk, publish: false, onWarning });
  await expect(publish(await prepare(dataDir, new Map()), { disk, onWarning })).rejects.toThrow(/it is empty/);
  expect((await publish(await prepare(dataDir, oldRecords), { disk, onWarning })).current).toMatchObject({ previousId: undefined });
});

describe('a rollback', () => {
  test('goes to the version before, and back again, with growing sequences, however small that version is', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, many, newRecords);
    const published = (await readCurrent(dataDir))!;
    const back = await rollbackVersion({ dataDir, force: false, verify, disk });
    const forth = await rollbackVersion({ dataDir, force: false, verify, disk });
    expect([published, back, forth].map(({ id }) => id)).toEqual([ids[1], ids[0], ids[1]]);
    expect([back.previousId, forth.previousId]).toEqual([ids[1], ids[0]]);
    expect(back.sequence).toBeGreaterThan(published.sequence);
    expect(forth.sequence).toBeGreaterThan(back.sequence);
    const named = await rollbackVersion({ dataDir, id: ids[2]!, force: false, verify, disk });
    expect(named).toMatchObject({ id: ids[2], previousId: ids[1] });
    expect((await readPublications(dataDir)).list.map(({ act }) => act)).toEqual([
      'publish',
      'publish',
      'rollback',
      'rollback',
      'rollback',
    ]);
  });

  test('to nothing, to a damaged version, or while another one is published, is refused', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    await expect(rollbackVersion({ dataDir, force: false, verify, disk })).rejects.toMatchObject({ code: 'version_missing' });
    await publishPlaced({ dataDir, act: 'publish', id: ids[1]!, guards: anyShrink, verify, disk });
    const onProgress = async (): Promise<void> => {
      // Somebody publishes while the version is verified.
      await publish(await prepare(dataDir, many), { disk });
    };
    const racing: Promise<void>[] = [];
    const meanwhile = { jobs: 1, onProgress: () => void (racing.length === 0 && racing.push(onProgress())) };
    const rollback = rollbackVersion({ dataDir, force: false, verify: meanwhile, disk });
    const settled = await Promise.allSettled([rollback, ...racing]);
    await Promise.all(racing);
    const current = (await readCurrent(dataDir))!;
    // Whoever was first to have the lock: the other followed what it had seen, or was refused.
    if (settled[0]!.status === 'rejected') expect(settled[0]!.reason).toMatchObject({ code: 'version_refused' });
    else expect(current.previousId).toBe(ids[0]);
    await truncate(slicePath(versionPath(dataDir, ids[0]!), 0), 5);
    await expect(rollbackVersion({ dataDir, id: ids[0]!, force: false, verify, disk })).rejects.toMatchObject({ code: 'version_refused' });
    expect(await readCurrent(dataDir)).toEqual(current);
  });

  test('needs an id where current cannot be read', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    await writeFile(currentPath(dataDir), 'nonsense');
    await expect(rollbackVersion({ dataDir, force: false, verify, disk })).rejects.toMatchObject({ code: 'current_malformed' });
    const known = (await readPublications(dataDir)).list.at(-1)!.sequence!;
    const back = await rollbackVersion({ dataDir, id: ids[0]!, force: false, verify, disk });
    expect(back).toMatchObject({ id: ids[0], previousId: undefined });
    expect(back.sequence).toBeGreaterThan(known);
  });

  test('counts on from the greatest sequence that is known, be it of the future, and a pin holds though current cannot be read', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    const future = Date.now() + 86_400_000;
    await writeFile(currentPath(dataDir), formatCurrent({ sequence: future, id: ids[0]!, previousId: undefined }));
    await pinVersion({ dataDir, force: false, verify, disk });
    await writeFile(currentPath(dataDir), '');
    await expect(rollbackVersion({ dataDir, id: ids[1]!, force: false, verify, disk })).rejects.toMatchObject({ code: 'version_pinned' });
    expect(await pinVersion({ dataDir, id: ids[1]!, force: false, verify, disk })).toMatchObject({ id: ids[1], sequence: future + 2 });
  });
});

describe('a pin', () => {
  test('keeps current where it is until it is taken away; new versions are put in place all the same', async () => {
    const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
    const before = (await readCurrent(dataDir))!;
    const pinned = await pinVersion({ dataDir, force: false, verify, disk });
    expect(pinned).toMatchObject({ id: ids[0], previousId: before.previousId });
    expect(pinned.sequence).toBeGreaterThan(before.sequence);
    const refused = { code: 'version_pinned', message: expect.stringContaining(`version ${ids[0]} is pinned`) };
    await expect(publishPlaced({ dataDir, act: 'publish', id: ids[1]!, guards: anyShrink, verify, disk })).rejects.toMatchObject(refused);
    await expect(rollbackVersion({ dataDir, id: ids[1]!, force: true, verify, disk })).rejects.toMatchObject(refused);
    const prepared = await prepare(dataDir, many);
    await expect(publish(prepared, { disk })).rejects.toMatchObject(refused);
    expect(await readCurrent(dataDir)).toEqual(pinned);
    expect((await listVersions(dataDir)).versions.map(({ id }) => id).sort()).toEqual([...ids, prepared.manifest.id].sort());
    expect(await unpinVersion({ dataDir, disk })).toMatchObject({ id: ids[0] });
    expect(await unpinVersion({ dataDir, disk })).toBeUndefined();
    expect(await readCurrent(dataDir)).toEqual(pinned);
    await publishPlaced({ dataDir, act: 'publish', id: prepared.manifest.id, guards: anyShrink, verify, disk });
    expect((await readCurrent(dataDir))?.previousId).toBe(ids[0]);
  });

  test('of another version publishes that, and moves', async () => {
    const { dataDir, ids } = await makePlaced(many, oldRecords, newRecords);
    await pinVersion({ dataDir, id: ids[0]!, force: false, verify, disk });
    const moved = await pinVersion({ dataDir, id: ids[2]!, force: false, verify, disk });
    expect(moved).toMatchObject({ id: ids[2], previousId: ids[0] });
    expect((await listVersions(dataDir)).versions.filter(({ states }) => states.includes('pinned')).map(({ id }) => id)).toEqual([ids[2]]);
    await expect(pinVersion({ dataDir: await makeDataDir(), force: false, disk })).rejects.toMatchObject({ code: 'version_missing' });
  });
});

test('a version is found by how its id begins', async () => {
  const { dataDir, ids } = await makePlaced(oldRecords, newRecords);
  expect(await findVersionId(dataDir, ids[0]!.slice(0, 4))).toBe(ids[0]);
  for (const text of ['', 'zzzz', '../..', ids[0]!.slice(0, 3), `${ids[0]}0`]) {
    await expect(findVersionId(dataDir, text), text).rejects.toMatchObject({ code: 'version_missing' });
  }
});
