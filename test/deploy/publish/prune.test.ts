import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { planPrune, pruneVersions } from '../../../deploy/publish/prune.ts';
import type { ListedVersion, VersionList } from '../../../deploy/publish/version-list.ts';
import { currentPath, publicationsPath, versionPath, versionsPath } from '../../../shared/data-set.ts';
import { limits } from '../../../shared/limits.ts';
import { noPublications, type Publication } from '../../../shared/publications.ts';
import { publishRecords } from '../../data-sets.ts';
import { findDebris } from '../data-folder.ts';
import { hastyDisk, makeDataDir } from './prepared-version.ts';

const hour = limits.pruneAgeMs;
const nowMs = 100 * hour;

/** A version that was put in place, and published, and replaced, long ago, unless it is said otherwise. */
const version = (id: string, more: Partial<ListedVersion> = {}): ListedVersion => ({
  id,
  states: [],
  sequence: 1,
  publishedMs: hour,
  replacedMs: 2 * hour,
  placedMs: hour,
  entries: 1,
  sliceCount: 1,
  sliceBytes: 1,
  reasons: [],
  ...more,
});

const listOf = (versions: readonly ListedVersion[], list: readonly Publication[] = []): VersionList => ({
  current: { sequence: 9, id: 'c', previousId: 'p' },
  publications: { pin: undefined, list },
  versions,
});

describe('pruning', () => {
  test('never takes the published version, the one before, a pinned one, one that a member reports, or one replaced within the hour', () => {
    const versions = [
      version('c', { states: ['current', 'forced'] }),
      version('p', { states: ['previous'] }),
      version('x', { states: ['pinned'] }),
      version('m'),
      version('r', { replacedMs: nowMs - hour + 1 }),
      version('n', { publishedMs: undefined, replacedMs: undefined, placedMs: nowMs - hour + 1 }),
      version('old'),
      version('bad', { states: ['damaged', 'refused'], publishedMs: undefined }),
    ];
    const plan = planPrune(listOf(versions), { keep: 1, reportedBy: new Map([['m', ['a', 'b', 'c', 'd']]]), nowMs });
    expect(plan.map(({ version: { id }, keptFor }) => [id, keptFor])).toEqual([
      ['c', 'current'],
      ['p', 'previous'],
      ['x', 'pinned'],
      ['m', 'held by a, b, c, …'],
      ['r', 'replaced 60 min 00 s ago'],
      ['n', 'placed 60 min 00 s ago'],
      ['old', undefined],
      ['bad', undefined],
    ]);
  });

  test('leaves the newest ones, and all of which too little is known', () => {
    const versions = ['a', 'b', 'd', 'e'].map((id) => version(id));
    const keptOf = (list: VersionList, keep: number): boolean[] =>
      planPrune(list, { keep, reportedBy: new Map(), nowMs }).map(({ keptFor }) => keptFor !== undefined);
    expect(keptOf(listOf(versions), 3)).toEqual([true, true, true, false]);
    expect(keptOf({ ...listOf(versions), current: undefined }, 1)).toEqual([true, true, true, true]);
    const young: Publication = { act: 'publish', id: 'c', sequence: 9, atMs: nowMs - hour + 1, outcome: 'passed', reasons: [] };
    const unknown = version('u', { publishedMs: undefined, replacedMs: undefined });
    // Published before the list begins, and replaced just then, perhaps.
    expect(keptOf(listOf([versions[0]!, unknown], [young]), 1)).toEqual([true, true]);
    expect(keptOf(listOf([versions[0]!, unknown], [{ ...young, atMs: hour }]), 1)).toEqual([true, false]);
    expect(keptOf({ ...listOf(versions), publications: noPublications }, 1)).toEqual([true, false, false, false]);
  });

  test('removes the folders, not those of others, and leaves nothing behind; a dry run removes nothing', async () => {
    const dataDir = await makeDataDir();
    const ids = ['a', 'b', 'c'].map((key) => publishRecords(dataDir, new Map([[key, Buffer.from('1')]]), { sliceCount: 2 }).id);
    for (const id of ids) await utimes(versionPath(dataDir, id), 1, 1);
    await writeFile(join(versionsPath(dataDir), 'notes.txt'), 'mine');
    const options = { dataDir, keep: 1, reportedBy: new Map<string, string[]>(), disk: hastyDisk };
    const plan = await pruneVersions({ ...options, dryRun: true });
    expect((await readdir(versionsPath(dataDir))).sort()).toEqual([...ids, 'notes.txt'].sort());
    expect(await pruneVersions({ ...options, dryRun: false })).toEqual(plan);
    const gone = plan.filter(({ keptFor }) => keptFor === undefined).map(({ version: { id } }) => id);
    expect(gone.length).toBeGreaterThan(0);
    expect((await readdir(versionsPath(dataDir))).sort()).toEqual(['notes.txt', ...ids.filter((id) => !gone.includes(id))].sort());
    expect(await findDebris(dataDir)).toEqual([]);
  });

  test.for([
    ['current', currentPath, 'current_malformed'],
    ['the list of publications', publicationsPath, 'publications_malformed'],
  ] as const)('removes nothing while %s cannot be read', async ([, pathOf, code]) => {
    const dataDir = await makeDataDir();
    const { id } = publishRecords(dataDir, new Map([['a', Buffer.from('1')]]), { sliceCount: 2 });
    await utimes(versionPath(dataDir, id), 1, 1);
    await writeFile(pathOf(dataDir), 'nonsense');
    await expect(pruneVersions({ dataDir, keep: 1, dryRun: false, reportedBy: new Map(), disk: hastyDisk })).rejects.toMatchObject({
      code,
    });
    expect(await readdir(versionsPath(dataDir))).toEqual([id]);
  });
});
