import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findHeat, hotKeysOfSlice, readHotKeys, saveHotKeys } from '../../shard/hot-keys.ts';
import { RecordCache } from '../../shard/record-cache.ts';
import { keyHash32, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pavostore-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const keyCount = 1_000;
const keySize = 12;

/** Each tenth key is asked for again and again. */
function cacheWithKeys(): { cache: RecordCache; hashes: number[] } {
  const cache = new RecordCache({ bytes: 2 ** 20, recordSize: 64 });
  const match = { bytes: Buffer.alloc(0), valueStart: 0, valueEnd: 0 };
  const hashes: number[] = [];
  for (let n = 0; n < keyCount; n++) {
    const record = Buffer.from(`key-${n}`.padEnd(keySize) + 'v'.repeat(52));
    const hash = keyHash32(record, 0, keySize);
    hashes.push(hash);
    cache.put(hash, record, 0, keySize, record.length);
    if (n % 10 === 0) for (let round = 0; round < 64; round++) cache.find(hash, record, 0, keySize, match);
  }
  return { cache, hashes };
}

test('what was in the cache is saved in the order of its hashes, the hot hotter than the rest', async () => {
  const { cache, hashes } = cacheWithKeys();
  expect(await saveHotKeys(join(folder, 'state'), cache)).toBe(keyCount);
  const hotKeys = readHotKeys(join(folder, 'state'))!;
  expect([...hotKeys.hashes]).toEqual(hashes.toSorted((a, b) => a - b));
  const heatOf = (n: number): number => findHeat(hotKeys, hashes[n]!, 0).heat!;
  // Heats are told from one set of the cache to the next by the time that has passed there: their means are far apart.
  const meanFrom = (first: number): number => {
    let sum = 0;
    for (let n = first; n < keyCount; n += 10) sum += heatOf(n);
    return sum / (keyCount / 10);
  };
  expect(meanFrom(0)).toBeGreaterThan(meanFrom(1) + 1);
});

test('a slice has its own keys of them, each once', async () => {
  const { cache } = cacheWithKeys();
  await saveHotKeys(folder, cache);
  const hotKeys = readHotKeys(folder)!;
  let seen = 0;
  for (let sliceIndex = 0; sliceIndex < 16; sliceIndex++) {
    const { hashes, heats } = hotKeysOfSlice(hotKeys, sliceIndex as SliceIndex, 4);
    expect(heats.length).toBe(hashes.length);
    for (const hash of hashes) expect(sliceIndexOf(hash, 4)).toBe(sliceIndex);
    seen += hashes.length;
  }
  expect(seen).toBe(keyCount);
});

test('a list that is damaged in any byte, cut off, or not there is not used', async () => {
  const { cache } = cacheWithKeys();
  await saveHotKeys(folder, cache);
  const path = join(folder, 'hot-keys');
  const file = readFileSync(path);
  for (let at = 0; at < file.length; at += 37) {
    const damaged = Buffer.from(file);
    damaged[at]! ^= 0x10;
    writeFileSync(path, damaged);
    expect(readHotKeys(folder), `byte ${at}`).toBeUndefined();
  }
  writeFileSync(path, file.subarray(0, -1));
  expect(readHotKeys(folder)).toBeUndefined();
  rmSync(path);
  expect(readHotKeys(folder)).toBeUndefined();
});
