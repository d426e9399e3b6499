import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatCurrent } from '../../shared/data-set.ts';
import { formatManifest } from '../../shared/manifest.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { openPlace } from '../../shared/place.ts';
import {
  fetchSlice,
  placeManifestName,
  placeSliceName,
  readPlaceCurrent,
  readPlaceManifest,
  verifyPlaceSlice,
} from '../../shared/place-layout.ts';
import { encodeRecords } from '../data-sets.ts';

const { manifest, files } = encodeRecords(new Map(Array.from({ length: 200 }, (_, i) => [`key ${i}`, Buffer.alloc(100, `${i}`)])), 2);
const [expected, other] = manifest.identity.slices as [(typeof manifest.identity.slices)[0], (typeof manifest.identity.slices)[0]];
const whole = files[0]!;

let root: string;
let store: ObjectStore;
let path: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pavostore-layout-'));
  store = openPlace(join(root, 'place'));
  path = join(root, 'slice');
});

afterEach(() => rmSync(root, { recursive: true }));

const put = async (name: string, bytes: Buffer | string): Promise<boolean> => await store.writeSmallObject(name, Buffer.from(bytes));

describe('the latest of a place', () => {
  test('is what `current` says; nothing where there is none; an error where it is damaged', async () => {
    expect(await readPlaceCurrent(store)).toBeUndefined();
    const current = { sequence: 7, id: manifest.id, previousId: undefined };
    await put('current', formatCurrent(current));
    expect(await readPlaceCurrent(store)).toMatchObject({ current });
    await put('current', formatCurrent(current).replace('7', '8'));
    await expect(readPlaceCurrent(store)).rejects.toMatchObject({ code: 'current_malformed' });
  });

  test('has a manifest, which must be of that version', async () => {
    await expect(readPlaceManifest(store, manifest.id)).rejects.toMatchObject({ code: 'version_missing' });
    await put(placeManifestName(manifest.id), formatManifest(manifest));
    expect(await readPlaceManifest(store, manifest.id)).toEqual(manifest);
    const stranger = encodeRecords(new Map([['another', Buffer.from('x')]]), 2).manifest;
    await put(placeManifestName(manifest.id), formatManifest(stranger));
    await expect(readPlaceManifest(store, manifest.id)).rejects.toMatchObject({ code: 'manifest_malformed' });
    await put(placeManifestName(manifest.id), '{}');
    await expect(readPlaceManifest(store, manifest.id)).rejects.toMatchObject({ code: 'manifest_malformed' });
  });
});

describe('a slice of a place', () => {
  const fetched = async (): Promise<unknown> => await fetchSlice(store, expected, path).catch((error: { code: string }) => error.code);

  test('is fetched whole, and checked', async () => {
    await put(placeSliceName(expected.sha256), whole);
    let bytes = 0;
    await fetchSlice(store, expected, path, { onBytes: (count) => (bytes += count) });
    expect(readFileSync(path)).toEqual(whole);
    expect(bytes).toBe(whole.length);
    await verifyPlaceSlice(store, expected);
  });

  test('goes on where an earlier try ended, and begins anew where that was something else', async () => {
    await put(placeSliceName(expected.sha256), whole);
    const beginnings = [
      whole.subarray(0, 5_000),
      Buffer.alloc(5_000, 'x'),
      whole,
      Buffer.concat([whole, whole]),
      Buffer.alloc(whole.length),
    ];
    for (const beginning of beginnings) {
      writeFileSync(path, beginning);
      expect(await fetched()).toBeUndefined();
      expect(readFileSync(path)).toEqual(whole);
    }
  });

  test('that is missing, cut, longer, swapped or has one bit flipped is an error, and leaves no bytes behind', async () => {
    expect(await fetched()).toBe('object_missing');
    const flipped = Buffer.from(whole);
    flipped[5_000]! ^= 1;
    for (const bytes of [Buffer.alloc(0), whole.subarray(1), Buffer.concat([whole, whole]), files[1]!, flipped]) {
      for (const beginning of [Buffer.alloc(0), whole.subarray(0, 100), whole.subarray(0, 8_000)]) {
        await put(placeSliceName(expected.sha256), bytes);
        writeFileSync(path, beginning);
        const outcome = await fetched();
        // All that was needed of it may have been right.
        if (outcome === undefined) expect(readFileSync(path)).toEqual(whole);
        else {
          expect(outcome).toBe('object_corrupt');
          expect(whole.subarray(0, readFileSync(path).length)).toEqual(readFileSync(path));
        }
      }
      await expect(verifyPlaceSlice(store, expected)).rejects.toMatchObject({ code: 'object_corrupt' });
    }
    await expect(verifyPlaceSlice(store, other)).rejects.toMatchObject({ code: 'object_missing' });
  });
});
