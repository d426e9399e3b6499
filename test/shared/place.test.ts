import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { ObjectStore } from '../../shared/object-store.ts';
import { openPlace } from '../../shared/place.ts';
import { bucket, makeRoot, openS3, partSize, startS3 } from '../object-store/places.ts';

const kinds: [string, () => Promise<ObjectStore>][] = [
  ['a folder', async () => openPlace(join(makeRoot(), 'place'))],
  ['a bucket', async () => openS3(await startS3({ pageSize: 2 }))],
  ['a bucket with an odd prefix', async () => openS3(await startS3({ pageSize: 2 }), {}, `s3://${bucket}/a b/c+d=e@f,~g/`)],
];

describe.each(kinds)('a place that is %s', (_kind, open) => {
  test('has nothing at first, and says so', async () => {
    const store = await open();
    expect(await store.findObject('none')).toBeUndefined();
    expect(await store.readObject('none')).toBeUndefined();
    expect(await store.readSmallObject('none', 10)).toBeUndefined();
    expect(await Array.fromAsync(store.listObjects(''))).toEqual([]);
    await store.removeObject('none');
  });

  test('replaces an object only when it is what it was read as', async () => {
    const store = await open();
    const write = async (text: string, condition?: Parameters<ObjectStore['writeSmallObject']>[2]): Promise<boolean> =>
      await store.writeSmallObject('current', Buffer.from(text), condition);
    expect(await write('one', 'absent')).toBe(true);
    expect(await write('two', 'absent')).toBe(false);
    const read = await store.readSmallObject('current', 10);
    expect(read?.bytes.toString()).toBe('one');
    expect(await write('two', { tag: read!.tag })).toBe(true);
    expect(await write('three', { tag: read!.tag })).toBe(false);
    expect((await store.readSmallObject('current', 10))?.bytes.toString()).toBe('two');
    expect(await write('four')).toBe(true);
    await expect(store.readSmallObject('current', 3)).rejects.toMatchObject({ code: 'object_corrupt' });
  });

  test('keeps files, small, of many parts and empty, and gives any range of them', async () => {
    const store = await open();
    const path = join(makeRoot(), 'file');
    for (const size of [0, 1, partSize, 20 * partSize + 12_345]) {
      const bytes = randomBytes(size);
      writeFileSync(path, bytes);
      let stored = 0;
      await store.writeFile('slices/x', path, { onStored: (count) => (stored += count) });
      expect(stored).toBe(size);
      expect(await store.findObject('slices/x')).toMatchObject({ size });
      const ranges: [number, number | undefined][] =
        size < 2
          ? [[0, undefined]]
          : [
              [0, undefined],
              [1, undefined],
              [0, 1],
              [size - 1, size],
              [size >> 1, size],
            ];
      for (const [from, to] of ranges) {
        const object = await store.readObject('slices/x', { from, to });
        expect(object?.size).toBe(size);
        expect((await buffer(object!.chunks)).equals(bytes.subarray(from, to)), `${from} to ${to} of ${size}`).toBe(true);
      }
    }
  });

  test('lists what begins with a prefix, over pages', async () => {
    const store = await open();
    const names = ['current', 'slices/a', 'slices/b', 'slices/c', 'slices/ab', 'slicesz'];
    for (const name of names) await store.writeSmallObject(name, Buffer.from(name));
    const listed = async (prefix: string): Promise<string[]> =>
      (await Array.fromAsync(store.listObjects(prefix), ({ name }) => name)).sort();
    expect(await listed('')).toEqual(names.toSorted());
    expect(await listed('slices/')).toEqual(['slices/a', 'slices/ab', 'slices/b', 'slices/c']);
    expect(await listed('slices/a')).toEqual(['slices/a', 'slices/ab']);
    expect(await Array.fromAsync(store.listObjects('slices/ab'))).toEqual([{ name: 'slices/ab', size: 9 }]);
    await store.removeObject('slices/a');
    expect(await listed('slices/a')).toEqual(['slices/ab']);
  });
});
