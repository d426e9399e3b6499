import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseCurrent } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { bitsOf, bucketIndexOf, keyHash32, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest, parseManifest } from '../../shared/manifest.ts';
import {
  bucketCountFor,
  findRecord,
  lookup,
  type Match,
  type RecordPlace,
  readSlice,
  readSliceHeader,
  recordsOf,
  type Slice,
  sliceHeaderSize,
  sliceSizeOf,
} from '../../shared/slice-layout.ts';
import { crc32ByHand, recordByHand, type SliceByHand, sliceByHand } from './slice-by-hand.ts';
import { type Entry, eachBitFlipped, eachTruncated, encodeEntries, entriesOf } from './slice-fixture.ts';

// Two pairs of keys with one hash each: only their bytes tell them apart, and only the bytes order them.
const collidingKeys = ['key-16086', 'key-29464', 'key-16710', 'key-58481'];
// Few and short, so that absent keys resemble present ones.
const anyKey = fc
  .oneof(
    fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 6 }),
    fc.constantFrom(...collidingKeys),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 300 }),
  )
  .map((text) => Buffer.from(text));
const anyValue = fc.oneof(fc.uint8Array({ maxLength: 12 }), fc.uint8Array({ maxLength: 20_000 })).map((bytes) => Buffer.from(bytes));
const anyEntries = fc.uniqueArray(fc.tuple(anyKey, anyValue), { selector: ([key]) => key.toString('latin1'), maxLength: 60 });
const anySliceCount = fc.constantFrom(1, 2, 16, 4096);

describe('a slice against a plain map', () => {
  test('every key of it is found with its value, and no other key is', () => {
    fc.assert(
      fc.property(anyEntries, fc.array(anyKey, { maxLength: 30 }), anySliceCount, (entries, asked, sliceCount) => {
        const map = new Map(entries.map(([key, value]) => [key.toString('latin1'), value.toString('latin1')]));
        for (const key of [...entries.map(([entryKey]) => entryKey), ...asked]) {
          const slice = readSlice(encodeEntries(entries, sliceOfKey(key, sliceCount), sliceCount), 'slice');
          expect(lookUp(slice, key)).toBe(map.get(key.toString('latin1')));
        }
      }),
    );
  });

  test('its records, one by one, are those of the map that hash into it, in the order of hash and key', () => {
    fc.assert(
      fc.property(anyEntries, anySliceCount, (entries, sliceCount) => {
        const sliceIndex = entries[0] ? sliceOfKey(entries[0][0], sliceCount) : 0;
        const slice = readSlice(encodeEntries(entries, sliceIndex, sliceCount), 'slice');
        const expected = entries
          .filter(([key]) => sliceOfKey(key, sliceCount) === sliceIndex)
          .sort(([a], [b]) => keyHash32(a) - keyHash32(b) || (a.toString('hex') < b.toString('hex') ? -1 : 1));
        const read = [...recordsOf(slice, 'slice')].map((place) => textsOf(slice, place));
        expect(read).toEqual(expected.map(([key, value]) => [key.toString('latin1'), value.toString('latin1')]));
        expect(slice.header).toMatchObject({ sliceIndex, sliceCount, entryCount: expected.length });
      }),
    );
  });

  test('20,000 records lie 4 to 8 in a bucket and cost at most 5 bytes each beside key and value', () => {
    const entries = Array.from({ length: 20_000 }, (_, index): Entry => [Buffer.from(`key-${index}`), Buffer.alloc(index % 100, index)]);
    const file = encodeEntries(entries, 0, 1);
    const slice = readSlice(file, 'slice');
    const perBucket = entries.length / slice.header.bucketCount;
    expect(perBucket > 4 && perBucket <= 8).toBe(true);
    expect(file.length - entries.reduce((sum, [key, value]) => sum + key.length + value.length, 0)).toBeLessThan(5 * entries.length);
    for (const [key, value] of entries) if (lookUp(slice, key) !== value.toString('latin1')) expect.unreachable(`${key} is not found`);
    for (let index = 20_000; index < 40_000; index++) expect(lookUp(slice, Buffer.from(`key-${index}`))).toBe(undefined);
  });

  test('the longest key and the largest value come back', () => {
    const entries: Entry[] = [
      [Buffer.alloc(limits.keySizeMax, 'k'), Buffer.alloc(limits.valueSizeMax, 'v')],
      [Buffer.from([0]), Buffer.alloc(0)],
    ];
    const slice = readSlice(encodeEntries(entries, 0, 1), 'slice');
    expect(lookUp(slice, entries[0]![0])?.length).toBe(limits.valueSizeMax);
    expect(lookUp(slice, entries[1]![0])).toBe('');
    expect([...recordsOf(slice, 'slice')]).toHaveLength(2);
  });

  test('an empty slice finds nothing, in one empty bucket', () => {
    const slice = readSlice(encodeEntries([], 3, 4), 'slice');
    expect(slice.bytes).toHaveLength(sliceSizeOf(0, 0, 4));
    expect(slice.header).toMatchObject({ sliceIndex: 3, entryCount: 0, bucketCount: 1 });
    expect(lookUp(slice, Buffer.from('key'))).toBe(undefined);
    expect([...recordsOf(slice, 'slice')]).toEqual([]);
  });

  test('the number of buckets is a function of the number of entries, and never uses more bits than the hash has', () => {
    const counts = [0, 1, 8, 9, 16, 17, 32, 33, 1_000_000, 2 ** 32 - 1];
    expect(counts.map((entryCount) => bucketCountFor(entryCount, 256))).toEqual([1, 1, 1, 2, 2, 4, 4, 8, 131_072, 2 ** 24]);
    expect(bucketCountFor(2 ** 32 - 1, 1)).toBe(2 ** 29);
    expect(bucketCountFor(2 ** 32 - 1, 4096)).toBe(2 ** 20);
  });
});

describe('the bytes of format 1', () => {
  // Also the worked example of docs/slice-format.md.
  const orchard: [key: string, value: string, bucket: number][] = [
    ['orange', 'citrus', 0],
    ['avocado', 'laurel', 0],
    ['Äpfel', 'rose', 0],
    ['kiwi', 'actinidia', 0],
    ['pear', '', 0],
    ['grape', 'g'.repeat(128), 0],
    ['quince', 'rose', 1],
    ['lemon', 'citrus', 1],
    ['key-16086', 'first', 1],
    ['key-29464', 'second', 1],
    ['banana', 'musa', 1],
  ];
  const golden = bytesOfDump(readFileSync(new URL('golden/slice.txt', import.meta.url), 'utf8'));

  test('are the golden ones, whatever order the entries come in', () => {
    const entries = orchard.map(([key, value]): Entry => [Buffer.from(key), Buffer.from(value)]);
    expect(encodeEntries(entries, 1, 2).toString('hex')).toBe(golden.toString('hex'));
    expect(encodeEntries(entries.toReversed(), 1, 2).toString('hex')).toBe(golden.toString('hex'));
  });

  test('are those that a writer makes that shares nothing with ours', () => {
    const buckets = [0, 1].map((bucket) => orchard.filter((row) => row[2] === bucket).map(([key, value]) => recordByHand(key, value)));
    expect(sliceByHand({ sliceIndex: 1, sliceCount: 2, buckets }).toString('hex')).toBe(golden.toString('hex'));
  });

  test('are read back', () => {
    const slice = readSlice(golden, 'slice');
    expect([...recordsOf(slice, 'slice')].map((place) => bytesOf(slice, place).map(String))).toEqual(
      orchard.map(([key, value]) => [key, value]),
    );
  });

  test('are the same for any entries, from either writer', () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        expect(byHand(entries).equals(encodeEntries(entries, 0, 1))).toBe(true);
      }),
    );
  });

  test('stand in the document as they stand in the golden file', () => {
    expect(blocksOfDocument('text')).toEqual([readFileSync(new URL('golden/slice.txt', import.meta.url), 'utf8')]);
  });

  test('stand in the manifest and the `current` of the document, with those of an empty slice beside them', () => {
    const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
    const files = [sliceByHand({ sliceIndex: 0, sliceCount: 2, buckets: [[]] }), golden];
    const [text] = blocksOfDocument('json');
    const manifest = parseManifest(text!, 'docs/slice-format.md');
    expect(formatManifest(manifest)).toBe(text);
    expect(manifest.identity.slices).toEqual(
      files.map((file, index) => ({
        entries: [0, orchard.length][index],
        bytes: file.length,
        headerSha256: sha256(file.subarray(0, sliceHeaderSize)),
        sha256: sha256(file),
      })),
    );
    const keysAndValues = orchard.map(([key, value]) => [Buffer.from(key).length, Buffer.from(value).length]);
    expect(manifest.totals).toMatchObject({
      entries: orchard.length,
      keyBytes: keysAndValues.reduce((sum, [size]) => sum + size!, 0),
      valueBytes: keysAndValues.reduce((sum, [, size]) => sum + size!, 0),
      sliceBytes: files[0]!.length + files[1]!.length,
    });
    expect(parseCurrent(blocksOfDocument('current')[0]!, 'docs/slice-format.md').id).toBe(manifest.id);
  });
});

describe('a damaged file', () => {
  const file = encodeEntries(entriesOf(20), 0, 1);

  test('is refused with any single bit changed', () => {
    for (const { damaged, bit } of eachBitFlipped(file))
      expect(
        codeOf(() => readSlice(damaged, 'slice')),
        `bit ${bit}`,
      ).toBe('slice_malformed');
  });

  test('is refused when it ends early, anywhere, or goes on', () => {
    for (const truncated of eachTruncated(file)) expect(codeOf(() => readSlice(truncated, 'slice'))).toBe('slice_malformed');
    for (const more of [1, 4, 4096])
      expect(codeOf(() => readSlice(Buffer.concat([file, Buffer.alloc(more)]), 'slice'))).toBe('slice_malformed');
  });

  test('is refused with any stretch of it overwritten', () => {
    const anyStretch = fc.tuple(fc.nat(file.length - 1), fc.uint8Array({ minLength: 1, maxLength: 64 }));
    fc.assert(
      fc.property(anyStretch, ([at, noise]) => {
        const damaged = Buffer.from(file);
        damaged.set(noise.subarray(0, damaged.length - at), at);
        fc.pre(!damaged.equals(file));
        expect(codeOf(() => readSlice(damaged, 'slice'))).toBe('slice_malformed');
      }),
      { numRuns: 1_000 },
    );
  });

  test('is not looked at where its numbers would stand askew in memory, which is a bug of the caller', () => {
    const askew = Buffer.concat([Buffer.alloc(1), file]).subarray(1);
    expect(() => readSlice(askew, 'slice')).toThrow(/aligned/);
    expect(lookUp(readSlice(Buffer.concat([Buffer.alloc(4), file]).subarray(4), 'slice'), Buffer.from('key-7'))).toBe('value-7');
  });

  test('is no slice file when it is text, another file or nothing', () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(4096), Buffer.from('key value\n'.repeat(50)), Buffer.alloc(200, 0xff)]) {
      expect(codeOf(() => readSlice(bytes, 'slice'))).toBe('slice_malformed');
    }
  });
});

describe('memory that went bad after the check', () => {
  const entries = entriesOf(60);
  const file = encodeEntries(entries, 0, 1);
  const intact = readSlice(file, 'slice');
  const sections = [intact.header.directory, intact.header.bucketCrcs, intact.header.records];

  test('of one bit: no look-up throws or reads outside, and every bucket but the damaged one answers as before', () => {
    for (const { damaged, bit } of eachBitFlipped(file)) {
      if (bit < 8 * sliceHeaderSize) continue;
      const slice: Slice = { ...readSlice(Buffer.from(file), 'slice'), bytes: damaged, directory: directoryIn(damaged, intact) };
      for (const [key, value] of entries) {
        const found = lookUp(slice, key);
        if (isIntact(slice, intact, key) && found !== value.toString()) expect.unreachable(`bit ${bit}: ${key} became ${found}`);
      }
      for (const key of ['key-60', 'key-61', 'k', 'value-1']) {
        const found = lookUp(slice, Buffer.from(key));
        if (isIntact(slice, intact, Buffer.from(key)) && found !== undefined) expect.unreachable(`bit ${bit}: ${key} is ${found}`);
      }
    }
  });

  test('of any extent: no look-up throws, reads outside or does not end', () => {
    const anySection = fc.constantFrom(...sections);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(anySection, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 200 })), { minLength: 1, maxLength: 4 }),
        (damages) => {
          const damaged = Buffer.from(file);
          for (const [section, at, noise] of damages) {
            const start = section.offset + (at % section.length);
            damaged.set(noise.subarray(0, section.offset + section.length - start), start);
          }
          const slice: Slice = { ...intact, bytes: damaged, directory: directoryIn(damaged, intact) };
          for (const [key, value] of entries) {
            const found = lookUp(slice, key);
            if (isIntact(slice, intact, key)) expect(found).toBe(value.toString());
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('a file whose checksums all fit', () => {
  const records = entriesOf(12).map(([key, value]) => ({ key: key.toString(), hash: keyHash32(key), record: recordByHand(key, value) }));
  records.sort((a, b) => a.hash - b.hash);
  const bucketOf = (bucket: number): Uint8Array[] => records.filter(({ hash }) => hash >>> 31 === bucket).map(({ record }) => record);
  const right = { sliceIndex: 0, sliceCount: 1, buckets: [bucketOf(0), bucketOf(1)] };
  const [low, high] = right.buckets as [Uint8Array[], Uint8Array[]];
  const size = Buffer.concat([...low, ...high]).length;

  test('and whose meaning is right is accepted', () => {
    const slice = readSlice(sliceByHand(right), 'slice');
    expect([...recordsOf(slice, 'slice')]).toHaveLength(12);
  });

  test.each<[string, Partial<SliceByHand>, RegExp]>([
    ['two records in the wrong order', { buckets: [low.with(0, low[1]!).with(1, low[0]!), high] }, /not greater than the one before/],
    ['a record twice', { buckets: [low.with(1, low[0]!), high] }, /not greater than the one before/],
    [
      'keys of one hash in the wrong order',
      { buckets: [low, [recordByHand('key-29464', ''), recordByHand('key-16086', ''), ...high]] },
      /not greater than the one before/,
    ],
    ['the records of one bucket in another', { buckets: [high, low] }, /not in bucket 0/],
    ['a record in the bucket before its own', { buckets: [[...low, high[0]!], high.slice(1)] }, /not in bucket 0/],
    ['records of another slice', { sliceCount: 2, buckets: [[...low, ...high].slice(-8)] }, /not in bucket 0 of slice 0/],
    ['fewer records than it says', { wrong: { entryCount: 13 } }, /12 records, but its header says 13/],
    ['more records than it says', { wrong: { entryCount: 11 } }, /12 records, but its header says 11/],
    [
      'a bucket with the CRC of another',
      { wrong: { bucketCrcs: [0, 1].map((b) => crc32ByHand(Buffer.concat(right.buckets[1 - b]!))) } },
      /CRC of bucket 0/,
    ],
    ['a directory that does not start at 0', { wrong: { directory: [1, Buffer.concat(low).length, size] } }, /directory runs from 1/],
    [
      'a directory that does not end with the records',
      { wrong: { directory: [0, Buffer.concat(low).length, size - 1] } },
      /directory runs from 0/,
    ],
    ['a directory out of order', { wrong: { directory: [0, size + 1, size] } }, /out of order or beyond/],
    ['a directory beyond the file', { wrong: { directory: [0, 2 ** 32 - 1, size] } }, /out of order or beyond/],
    ['a key of no bytes', { buckets: [[recordByHand('', 'v'), ...low.slice(1)], high] }, /malformed/],
    ['a key over its limit', { buckets: [[recordByHand('k'.repeat(2049), 'v'), ...low.slice(1)], high] }, /malformed/],
    [
      'a value over its limit',
      { buckets: [[recordByHand('k', Buffer.alloc(limits.valueSizeMax + 1)), ...low.slice(1)], high] },
      /malformed/,
    ],
    ['a length that is not in its shortest form', { buckets: [[Buffer.from([0x81, 0, 0, 0x6b]), ...low.slice(1)], high] }, /malformed/],
    ['a record that reaches beyond its bucket', { buckets: [[...low.slice(0, -1), low.at(-1)!.subarray(0, -1)], high] }, /malformed/],
  ])('and has %s is refused by the reader of all records', (_, change, reason) => {
    const bytes = sliceByHand({ ...right, ...change });
    const readAll = (): unknown => [...recordsOf(readSlice(bytes, 'slice 0000'), 'slice 0000')];
    expect(readAll).toThrow(PavostoreError);
    expect(readAll).toThrow(reason);
    expect(codeOf(readAll)).toBe('slice_malformed');
  });

  test.each<[string, (header: Buffer) => unknown, RegExp]>([
    ['another magic number', (header) => header.write('PAVO', 0, 'latin1'), /magic/],
    ['an older format', (header) => header.writeUInt32LE(0, 8), /slice format 0; this Pavostore reads format 1/],
    ['a newer format', (header) => header.writeUInt32LE(2, 8), /slice format 2; this Pavostore reads format 1/],
    ['another header length', (header) => header.writeUInt32LE(100, 12), /header length 100/],
    ['another hash', (header) => header.write('xxh3_64\0\0\0\0\0\0\0\0\0', 16, 'latin1'), /key hash "xxh3_64"/],
    ['something after the name of the hash', (header) => header.write('x', 31, 'latin1'), /key hash/],
    ['a slice index out of range', (header) => header.writeUInt32LE(1, 32), /slice index 1 of 1/],
    ['no slices', (header) => header.writeUInt32LE(0, 36), /slice count 0/],
    ['a slice count that is no power of two', (header) => header.writeUInt32LE(3, 36), /slice count 3/],
    ['a slice count over the limit', (header) => header.writeUInt32LE(8192, 36), /slice count 8192/],
    ['an entry count that needs more buckets', (header) => header.writeUInt32LE(17, 40), /2 buckets for 17 entries, not 4/],
    ['the largest entry count', (header) => header.writeUInt32LE(0xffffffff, 40), /2 buckets for 4294967295 entries/],
    ['more buckets than its entries make', (header) => header.writeUInt32LE(4, 44), /4 buckets for 12 entries, not 2/],
    ['a directory elsewhere', (header) => header.writeUInt32LE(100, 48), /section directory at 100/],
    ['a directory too long', (header) => header.writeUInt32LE(16, 52), /section directory at 96, length 16/],
    ['bucket CRCs elsewhere', (header) => header.writeUInt32LE(96, 60), /section bucketCrcs at 96/],
    ['too few bucket CRCs', (header) => header.writeUInt32LE(4, 64), /section bucketCrcs at 108, length 4/],
    ['records elsewhere', (header) => header.writeUInt32LE(120, 72), /section records at 120/],
    ['records that end before the file', (header) => header.writeUInt32LE(size - 1, 76), /sections end at/],
    ['records that end after the file', (header) => header.writeUInt32LE(0xffffffff, 76), /sections end at/],
    ['a directory with another CRC', (header) => header.writeUInt32LE(1, 56), /CRC of directory is 00000001/],
    ['bucket CRCs with another CRC', (header) => header.writeUInt32LE(1, 68), /CRC of bucketCrcs is 00000001/],
    ['records with another CRC', (header) => header.writeUInt32LE(1, 80), /CRC of records is 00000001/],
    ['a reserved byte in use', (header) => header.writeUInt8(1, 91), /reserved bytes/],
  ])('and has %s in its header is refused', (_, header, reason) => {
    const bytes = sliceByHand({ ...right, wrong: { header: (target) => void header(target) } });
    expect(() => readSlice(bytes, 'slice 0000')).toThrow(reason);
    expect(codeOf(() => readSlice(bytes, 'slice 0000'))).toBe('slice_malformed');
  });

  test('and is said to be larger than a slice may be is refused before anything is allocated', () => {
    const header = sliceByHand(right).subarray(0, sliceHeaderSize);
    expect(() => readSliceHeader(header, 2 ** 30 + 1, 'slice 0000')).toThrow(/1073741825 bytes, more than 1073741824/);
    expect(readSliceHeader(header, sliceByHand(right).length, 'slice 0000').entryCount).toBe(12);
  });
});

/** The value of a key in latin1; undefined when it is missing; when it is corrupt, what no latin1 text equals. */
function lookUp(slice: Slice, key: Buffer): string | undefined {
  const match: Match = { valueStart: -1, valueEnd: -1 };
  const outcome = findRecord(slice, keyHash32(key), key, 0, key.length, match);
  if (outcome !== lookup.found) return outcome === lookup.missing ? undefined : '\u2260 corrupt';
  const { offset, length } = slice.header.records;
  if (match.valueStart < offset || match.valueEnd < match.valueStart || match.valueEnd > offset + length) {
    throw new Error(`the match from ${match.valueStart} to ${match.valueEnd} lies outside of the records`);
  }
  return slice.bytes.toString('latin1', match.valueStart, match.valueEnd);
}

function bytesOf(slice: Slice, { keyStart, valueStart, end }: RecordPlace): [key: Buffer, value: Buffer] {
  return [slice.bytes.subarray(keyStart, valueStart), slice.bytes.subarray(valueStart, end)];
}

function textsOf(slice: Slice, place: RecordPlace): string[] {
  return bytesOf(slice, place).map((bytes) => bytes.toString('latin1'));
}

function sliceOfKey(key: Buffer, sliceCount: number): number {
  return sliceIndexOf(keyHash32(key), bitsOf(sliceCount));
}

function directoryIn(bytes: Buffer, { header }: Slice): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset + header.directory.offset, header.bucketCount + 1);
}

/** Whether the bucket of `key` and its two directory entries are in `slice` what they are in `intact`. */
function isIntact(slice: Slice, intact: Slice, key: Buffer): boolean {
  const bucket = bucketIndexOf(keyHash32(key), intact.sliceBits, intact.bucketBits);
  const [start, end] = [intact.directory[bucket]!, intact.directory[bucket + 1]!];
  if (slice.directory[bucket] !== start || slice.directory[bucket + 1] !== end) return false;
  const at = intact.header.records.offset;
  return slice.bytes.compare(intact.bytes, at + start, at + end, at + start, at + end) === 0;
}

/** All entries in the one slice of 1, by the other writer. */
function byHand(entries: readonly Entry[]): Buffer {
  const bits = Math.max(0, Math.ceil(Math.log2(entries.length / 8)));
  const ordered = [...entries].sort(([a], [b]) => keyHash32(a) - keyHash32(b) || Buffer.compare(a, b));
  const buckets = Array.from({ length: 2 ** bits }, (_, bucket) =>
    ordered.filter(([key]) => Math.floor(keyHash32(key) / 2 ** (32 - bits)) === bucket).map(([key, value]) => recordByHand(key, value)),
  );
  return sliceByHand({ sliceIndex: 0, sliceCount: 1, buckets });
}

/** What stands in docs/slice-format.md in blocks of this kind. */
function blocksOfDocument(kind: string): string[] {
  const document = readFileSync(new URL('../../docs/slice-format.md', import.meta.url), 'utf8');
  return [...document.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].filter((block) => block[1] === kind).map((block) => block[2]!);
}

/** The bytes of lines of offset, two spaces, hex, two spaces, remark. */
function bytesOfDump(dump: string): Buffer {
  return Buffer.from(
    dump
      .split('\n')
      .map((line) => line.slice(6, 53))
      .join(' ')
      .replaceAll(' ', ''),
    'hex',
  );
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof PavostoreError ? error.code : String(error);
  }
  return 'nothing thrown';
}
