import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CurrentWatch, isTakenBack, wantedOf } from '../../shard/current-watch.ts';
import { type Current, currentPath, formatCurrent, manifestPath, publicationsPath, versionPath } from '../../shared/data-set.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { formatPublications, noPublications, type Publication, type Publications } from '../../shared/publications.ts';
import { publishRecords } from '../data-sets.ts';

const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(32)) as [string, string, string];
const current = (sequence: number, id: string, previousId?: string): Current => ({ sequence, id, previousId });

function publication(act: Publication['act'], id: string, sequence: number | undefined, reasons: readonly string[] = []): Publication {
  return { act, id, sequence, atMs: 0, outcome: sequence === undefined ? 'refused' : 'passed', reasons };
}

const publications = (...list: readonly Publication[]): Publications => ({ pin: undefined, list });
const readable = (): undefined => undefined;
const unreadable =
  (...ids: readonly string[]) =>
  (id: string): string | undefined =>
    ids.includes(id) ? `${id[0]} is damaged` : undefined;

describe('what is wanted', () => {
  test('is what is published', () => {
    expect(wantedOf(current(2, b, a), noPublications, readable)).toEqual({
      version: { id: b, sequence: 2 },
      isFallback: false,
      refused: [],
    });
  });

  test('is the one before a version that cannot be read, under the sequence that it had', () => {
    const list = publications(publication('publish', a, 7), publication('publish', b, 90));
    expect(wantedOf(current(90, b, a), list, unreadable(b))).toEqual({
      version: { id: a, sequence: 7 },
      isFallback: true,
      refused: [{ id: b, sequence: 90, why: 'b is damaged' }],
    });
    expect(wantedOf(current(90, b, a), noPublications, unreadable(b)).version).toEqual({ id: a, sequence: 89 });
  });

  test('is the one before a version that the guards refused', () => {
    const list = publications(publication('publish', a, 7), publication('publish', b, undefined, ['it is empty']));
    const { version, refused } = wantedOf(current(90, b, a), list, readable);
    expect(version).toEqual({ id: a, sequence: 7 });
    expect(refused[0]).toEqual({ id: b, sequence: 90, why: 'it is empty' });
  });

  test('is nothing when neither can be read', () => {
    const { version, refused } = wantedOf(current(90, b, a), noPublications, unreadable(a, b));
    expect({ version, refused: refused.map(({ why }) => why) }).toEqual({ version: undefined, refused: ['b is damaged', 'a is damaged'] });
    expect(wantedOf(current(90, b), noPublications, unreadable(b)).version).toBeUndefined();
  });

  test('stays what is published when a later version was refused, and that is told', () => {
    const list = publications(publication('publish', a, 7), publication('publish', b, undefined, ['it has lost 90 % of its entries']));
    expect(wantedOf(current(7, a), list, readable)).toEqual({
      version: { id: a, sequence: 7 },
      isFallback: false,
      refused: [{ id: b, why: 'it has lost 90 % of its entries' }],
    });
  });
});

test('a version is taken back by whatever went behind it, and not by the next publication', () => {
  const list = publications(
    publication('publish', a, 1),
    publication('publish', b, 2),
    publication('publish', c, 3),
    publication('rollback', a, 4),
  );
  expect(isTakenBack({ id: b, sequence: 2 }, current(3, c, b), list)).toBe(false);
  expect(isTakenBack({ id: b, sequence: 2 }, current(4, a, c), list)).toBe(true);
  expect(isTakenBack({ id: a, sequence: 4 }, current(4, a, c), list)).toBe(false);
  expect(isTakenBack({ id: c, sequence: 5 }, current(5, c, a), list)).toBe(false);
});

describe('over a folder', () => {
  let dataDir: string;
  let watch: CurrentWatch;
  const publish = (value: string, sequence: number): Manifest =>
    publishRecords(dataDir, new Map([['k', Buffer.from(value)]]), { sliceCount: 2, sequence });

  beforeEach(() => {
    dataDir = join(mkdtempSync(join(tmpdir(), 'pavostore-watch-')), 'data');
    mkdirSync(dataDir);
    watch = new CurrentWatch(dataDir);
  });
  afterEach(() => rmSync(join(dataDir, '..'), { recursive: true, force: true }));

  test('an unreadable current changes nothing, and one with a lower sequence neither', async () => {
    await watch.look(new Set());
    expect([watch.wanted.version, watch.trouble]).toEqual([undefined, '']);
    const { id } = publish('one', 5);
    await watch.look(new Set());
    expect([watch.wanted.version, watch.trouble]).toEqual([{ id, sequence: 5 }, '']);
    expect((await watch.takeManifest(id)).id).toBe(id);
    writeFileSync(currentPath(dataDir), 'nonsense');
    await watch.look(new Set([id]));
    expect(watch.wanted.version).toEqual({ id, sequence: 5 });
    expect(watch.trouble).toMatch(/not one line/);
    publish('two', 4);
    await watch.look(new Set([id]));
    expect(watch.wanted.version).toEqual({ id, sequence: 5 });
    expect(watch.trouble).toBe('current names sequence 4 after 5: an older one is not followed');
  });

  test('a manifest that cannot be read is asked for again, until it can', async () => {
    const one = publish('one', 1);
    const two = publish('two', 2);
    writeFileSync(currentPath(dataDir), formatCurrent({ sequence: 2, id: two.id, previousId: one.id }));
    rmSync(manifestPath(versionPath(dataDir, two.id)));
    await watch.look(new Set());
    expect([watch.wanted.version, watch.wanted.isFallback]).toEqual([{ id: one.id, sequence: 1 }, true]);
    await expect(watch.takeManifest(two.id)).rejects.toMatchObject({ code: 'version_missing' });
    expect(watch.isUnreadable(two.id)).toBe(true);
    publish('two', 2);
    await watch.look(new Set([one.id]));
    expect([watch.wanted.version, watch.wanted.refused]).toEqual([{ id: two.id, sequence: 2 }, []]);
    expect(watch.isUnreadable(two.id)).toBe(false);
  });

  test('what is held needs no file any more, but is withdrawn without one', async () => {
    const { id } = publish('one', 1);
    await watch.look(new Set([id]));
    expect(watch.isWithdrawn({ id, sequence: 1 })).toBe(false);
    rmSync(versionPath(dataDir, id), { recursive: true });
    await watch.look(new Set([id]));
    expect(watch.wanted.version).toEqual({ id, sequence: 1 });
    expect(watch.isWithdrawn({ id, sequence: 1 })).toBe(true);
  });

  test('a damaged list of publications is told, and current is followed all the same', async () => {
    const { id } = publish('one', 1);
    writeFileSync(publicationsPath(dataDir), formatPublications(noPublications).replace('null', 'true'));
    await watch.look(new Set());
    expect(watch.wanted.version).toEqual({ id, sequence: 1 });
    expect(watch.trouble).toMatch(/publications\.json/);
  });
});
