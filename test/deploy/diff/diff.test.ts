// The difference of two versions against what plain Maps say, for slice counts that differ, and for files that are damaged.

import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffVersions, planDiff } from '../../../deploy/diff/diff.ts';
import { addDifference, type Difference, noDifference, sampleValueSizeMax } from '../../../deploy/diff/slice-difference.ts';
import { slicePath, versionPath } from '../../../shared/data-set.ts';
import { keyHash32 } from '../../../shared/key-hash.ts';
import { readSlice } from '../../../shared/slice-layout.ts';
import { encodeRecords, publishRecords, type Records } from '../../data-sets.ts';
import { makeFolder, runPavostore, withoutProgress } from '../data-folder.ts';

/** The same from the Maps: counts, and the keys of each kind in the order (hash, key). */
function expectedDifference(before: Records, after: Records): Record<'added' | 'removed' | 'changed', string[]> {
  const inOrder = (keys: string[]): string[] => {
    const order = (key: string): [number, Buffer] => [keyHash32(Buffer.from(key, 'latin1')), Buffer.from(key, 'latin1')];
    return keys.sort((a, b) => order(a)[0] - order(b)[0] || order(a)[1].compare(order(b)[1]));
  };
  return {
    added: inOrder([...after.keys()].filter((key) => !before.has(key))),
    removed: inOrder([...before.keys()].filter((key) => !after.has(key))),
    changed: inOrder([...after.keys()].filter((key) => before.get(key) && !before.get(key)!.equals(after.get(key)!))),
  };
}

/** Without files and threads: every pair of slices that share hashes. */
function differenceOf(before: Records, after: Records, counts: readonly [number, number], samplesMax: number): Difference {
  const sides = [encodeRecords(before, counts[0]), encodeRecords(after, counts[1])].map(({ files }) =>
    files.map((file, i) => ({ slice: readSlice(file, `slice ${i}`), what: `slice ${i}` })),
  );
  const found = noDifference();
  const pairs = Math.max(...counts);
  for (let pair = 0; pair < pairs; pair++) {
    const [a, b] = sides.map((slices) => slices[Math.floor((pair * slices.length) / pairs)]!);
    addDifference(a!, b!, found, samplesMax);
  }
  return found;
}

const latin1 = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString('latin1');

describe('the difference of two versions', () => {
  test('is that of plain maps, whatever the slice counts', () => {
    const anyKey = fc.oneof(
      fc.stringMatching(/^[a-f]{1,3}$/),
      // Two keys with one hash.
      fc.constantFrom('key-16086', 'key-29464'),
    );
    const anyRecords = fc.array(fc.tuple(anyKey, fc.stringMatching(/^[xy]{0,2}$/)), { maxLength: 120 });
    const anyCount = fc.constantFrom(1, 2, 4, 16, 64);
    fc.assert(
      fc.property(anyRecords, anyRecords, anyRecords, anyCount, anyCount, (common, first, second, countA, countB) => {
        const mapOf = (rows: [string, string][]): Records => new Map(rows.map(([key, value]) => [key, Buffer.from(value)]));
        const [before, after] = [mapOf([...common, ...first]), mapOf([...common, ...second])];
        const found = differenceOf(before, after, [countA, countB], 1_000);
        const expected = expectedDifference(before, after);
        for (const kind of ['added', 'removed', 'changed'] as const) {
          expect(found[kind]).toBe(expected[kind].length);
          expect(found.samples[kind].map(({ key }) => latin1(key))).toEqual(expected[kind]);
        }
        for (const { key, before: value, after: now } of found.samples.changed) {
          expect([latin1(value), latin1(now)]).toEqual([before, after].map((records) => records.get(latin1(key)!)!.toString('latin1')));
        }
      }),
      { numRuns: 100 },
    );
  });

  test('of buckets of many records, and of values that begin alike', () => {
    const before = new Map(Array.from({ length: 3_000 }, (_, i): [string, Buffer] => [`key-${i}`, Buffer.alloc(300, 'v')]));
    const after = new Map(before);
    after.delete('key-7');
    after.set('key-8', Buffer.from(`${'v'.repeat(299)}w`));
    after.set('key-9', Buffer.alloc(301, 'v'));
    after.set('other', Buffer.alloc(0));
    for (const counts of [
      [8, 8],
      [1, 8],
      [8, 1],
      [2, 1024],
      [1024, 2],
    ] as const) {
      const found = differenceOf(before, after, counts, 9);
      expect([found.added, found.removed, found.changed], String(counts)).toEqual([1, 1, 2]);
      expect(found.samples.added).toEqual([{ key: new Uint8Array(Buffer.from('other')), before: undefined, after: new Uint8Array() }]);
      expect(found.samples.changed.map((sample) => sample.before!.length)).toEqual([sampleValueSizeMax, sampleValueSizeMax]);
    }
  });

  test('reads no slice that is the very same in both, and from threads gives the first samples in the order of hashes', async () => {
    const dataDir = join(await makeFolder(), 'data');
    const records = new Map(Array.from({ length: 2_000 }, (_, i): [string, Buffer] => [`key-${i}`, Buffer.from(`value ${i}`)]));
    const before = publishRecords(dataDir, records, { sliceCount: 16 });
    const changed = new Map(records).set('key-5', Buffer.from('changed'));
    const after = publishRecords(dataDir, changed, { sliceCount: 16 });
    const tasks = planDiff(before.identity, after.identity);
    expect(tasks).toHaveLength(1);
    for (let sliceIndex = 0; sliceIndex < 16; sliceIndex++) {
      if (sliceIndex !== tasks[0]!.beforeFrom) await rm(slicePath(versionPath(dataDir, before.id), sliceIndex));
    }
    const report = await diffVersions({ dataDir, before: before.id, after: after.id.slice(0, 8), samplesMax: 5, jobs: 1 });
    expect(report).toMatchObject({ added: 0, removed: 0, changed: 1, unchanged: 1_999, before: { id: before.id, entries: 2_000 } });
    expect(await diffVersions({ dataDir, before: after.id, after: versionPath(dataDir, after.id), samplesMax: 5 })).toMatchObject({
      changed: 0,
      unchanged: 2_000,
    });
    const others = new Map([...records].slice(0, 1_500).map(([key, value]): [string, Buffer] => [`${key}x`, value]));
    const other = publishRecords(dataDir, others, { sliceCount: 64 });
    const expected = expectedDifference(changed, others);
    const far = await diffVersions({ dataDir, before: after.id, after: 'current', samplesMax: 7, jobs: 2, memoryMax: 40_000 });
    expect([far.before.id, far.after.id, far.added, far.removed, far.unchanged]).toEqual([after.id, other.id, 1_500, 2_000, 0]);
    for (const kind of ['added', 'removed'] as const) {
      expect(far.samples[kind].map(({ key }) => latin1(key))).toEqual(expected[kind].slice(0, 7));
    }
  });
});

describe('a version that cannot be compared', () => {
  const records = new Map(Array.from({ length: 50 }, (_, i): [string, Buffer] => [`key-${i}`, Buffer.from(`value ${i}`)]));
  const others = new Map([...records].map(([key, value]): [string, Buffer] => [key, Buffer.from(`${value} changed`)]));

  test('ends the command with what is wrong', async () => {
    const dataDir = join(await makeFolder(), 'data');
    const [a, b] = [publishRecords(dataDir, records, { sliceCount: 2 }), publishRecords(dataDir, others, { sliceCount: 2 })];
    const path = slicePath(versionPath(dataDir, b.id), 1);
    const diff = async (before: string, after: string): Promise<unknown> =>
      await diffVersions({ dataDir, before, after, samplesMax: 0, jobs: 1 });
    const whole = await readFile(path);
    const flipped = Buffer.from(whole);
    flipped[whole.length - 2]! ^= 1;
    await writeFile(path, flipped);
    await expect(diff(a.id, b.id)).rejects.toMatchObject({ code: 'slice_malformed', message: expect.stringContaining(path) });
    await truncate(path, 50);
    await expect(diff(b.id, a.id)).rejects.toMatchObject({ code: 'slice_malformed' });
    await rm(path);
    await expect(diff(a.id, b.id)).rejects.toMatchObject({ code: 'slice_malformed', message: `${path}: no such file` });
    await expect(diff(a.id, 'f'.repeat(32))).rejects.toMatchObject({ code: 'version_missing' });
    await expect(diff('previous', a.id)).rejects.toMatchObject({ code: 'version_missing' });
    await expect(diff(a.id, join(dataDir, 'versions'))).rejects.toMatchObject({ code: 'version_missing' });
    await expect(diff('', a.id)).rejects.toMatchObject({ code: 'version_missing' });
  });

  test('though its checksums fit, is an error and never a wrong count', () => {
    const [file] = encodeRecords(records, 1).files;
    const whole = readSlice(file!, 'whole');
    const other = { slice: readSlice(encodeRecords(others, 1).files[0]!, 'other'), what: 'other' };
    const recordsAt = whole.header.records.offset;
    const damage: [string, (slice: { bytes: Buffer; directory: Uint32Array }) => void][] = [
      ['out of order or beyond', ({ directory }) => directory.set([2 ** 31], 2)],
      ['is not in the bucket of its key', ({ directory }) => directory.set([directory[2]! + 1], 1)],
      ['malformed', ({ bytes }) => bytes.set([0], recordsAt)],
      ['its bucket at', ({ bytes }) => bytes.set([0x7f], recordsAt + 1)],
      ['is not in the bucket of its key|is not greater', ({ bytes }) => bytes.set([0], recordsAt + 3)],
    ];
    for (const [message, act] of damage) {
      const bytes = Buffer.from(file!);
      const slice = { ...whole, bytes, directory: Uint32Array.from(whole.directory) };
      act(slice);
      const bad = { slice, what: 'bad' };
      const expected = new RegExp(`bad: .*(${message})`);
      expect(() => addDifference(bad, other, noDifference(), 0)).toThrow(expected);
      expect(() => addDifference(other, bad, noDifference(), 0)).toThrow(expected);
    }
  });
});

test('the command shows counts and samples, for people and for machines', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const before = publishRecords(
    dataDir,
    new Map([
      ['a', Buffer.from('1')],
      ['b\x1b', Buffer.from('2')],
    ]),
    { sliceCount: 2 },
  );
  const after = publishRecords(
    dataDir,
    new Map([
      ['a', Buffer.from([0xff])],
      ['c', Buffer.from('3')],
    ]),
    { sliceCount: 4 },
  );
  const human = await runPavostore(['diff', before.id, after.id, '--data', dataDir]);
  expect(withoutProgress(human)).toMatchObject({ exitCode: 0, stderr: '' });
  expect(human.stdout).toMatch(
    /^a {11}[0-9a-f]{32}, 2 entries in 2 slices\nb {11}[0-9a-f]{32}, 2 entries in 4 slices\nadded {7}1\nremoved {5}1\nchanged {5}1\nunchanged {3}0\n/,
  );
  expect(human.stdout).toContain('\n+ "c" "3"\n- "b\\u001b" "2"\n~ "a" "1" -> "\ufffd"\n');
  const machine = await runPavostore(['diff', before.id, 'current', '--data', dataDir, '--json', '--samples', '1']);
  expect(JSON.parse(machine.stdout)).toMatchObject({
    added: 1,
    removed: 1,
    changed: 1,
    unchanged: 0,
    samples: { added: [{ key: 'c', after: '3' }], changed: [{ key: 'a', before: '1', after: '/w==', afterEncoding: 'base64' }] },
  });
});
