import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsOf, bucketIndexOf, isPowerOfTwo, keyHash32, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import golden from './golden/key-hash.json' with { type: 'json' };

const anyHash = fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff));

describe('the hash of a key', () => {
  test.each([
    // Ian Boyd, stackoverflow.com/a/31929528: the ends of the algorithm, one each.
    ['', 0x00000000],
    ['\xff\xff\xff\xff', 0x76293b50],
    ['\x21\x43\x65\x87', 0xf55b516b],
    ['\x21\x43\x65', 0x7e4a8634],
    ['\x21\x43', 0xa0f7b07a],
    ['\x21', 0x72661cf4],
    ['\0\0\0\0', 0x2362f9de],
    ['\0\0\0', 0x85f0b427],
    ['\0\0', 0x30f4c306],
    ['\0', 0x514e28b7],
    // The tests of github.com/spaolacci/murmur3.
    ['hello', 0x248bfa47],
    ['hello, world', 0x149bbb7f],
    ['19 Jan 2038 at 3:14:07 AM', 0xe31e8a70],
    ['The quick brown fox jumps over the lazy dog.', 0xd5c48bfc],
    // Wikipedia, "MurmurHash".
    ['The quick brown fox jumps over the lazy dog', 0x2e4ff723],
    ['Hello, world!', 0xc0363e43],
    ['test', 0xba6bd213],
  ])('of %j is the published one', (key, hash) => {
    expect(keyHash32(Buffer.from(key, 'latin1'))).toBe(hash);
    expect(keyHash32OfLatin1(key)).toBe(hash);
  });

  test('of 354 keys is that of an independent implementation', () => {
    const hashes = Object.keys(golden).map((hex) => [hex, keyHash32(Buffer.from(hex, 'hex'))]);
    expect(hashes).toHaveLength(354);
    expect(Object.fromEntries(hashes)).toEqual(golden);
  });

  test('is the same for bytes and for the latin1 string of them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(keyHash32OfLatin1(Buffer.from(bytes).toString('latin1'))).toBe(keyHash32(bytes));
      }),
    );
  });

  test('is that of the part it is asked for, wherever this stands', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.uint8Array({ maxLength: 40 }),
        fc.uint8Array({ maxLength: 9 }),
        (before, key, after) => {
          const bytes = Buffer.concat([before, key, after]);
          expect(keyHash32(bytes, before.length, before.length + key.length)).toBe(keyHash32(key));
        },
      ),
    );
  });
});

describe('slice and bucket', () => {
  test('are the top bits of the hash and those that follow', () => {
    fc.assert(
      fc.property(anyHash, fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 32 }), (hash, sliceBits, bucketBitsMax) => {
        const bucketBits = Math.min(bucketBitsMax, 32 - sliceBits);
        const digits = hash.toString(2).padStart(32, '0');
        expect(sliceIndexOf(hash, sliceBits)).toBe(Number.parseInt(`0${digits.slice(0, sliceBits)}`, 2));
        expect(bucketIndexOf(hash, sliceBits, bucketBits)).toBe(Number.parseInt(`0${digits.slice(sliceBits, sliceBits + bucketBits)}`, 2));
      }),
      { numRuns: 2_000 },
    );
  });

  test('are 0 where there is only one of them', () => {
    expect(sliceIndexOf(0xffffffff, 0)).toBe(0);
    expect(bucketIndexOf(0xffffffff, 0, 0)).toBe(0);
    expect(bucketIndexOf(0xffffffff, 12, 0)).toBe(0);
  });

  test('take 12 bits, and the 20 below them', () => {
    expect(sliceIndexOf(0xabcdef01, 12)).toBe(0xabc);
    expect(bucketIndexOf(0xabcdef01, 12, 20)).toBe(0xdef01);
    expect(bucketIndexOf(0xabcdef01, 12, 4)).toBe(0xd);
    expect(sliceIndexOf(0xffffffff, 12)).toBe(4095);
    expect(bucketIndexOf(0xffffffff, 12, 20)).toBe(2 ** 20 - 1);
  });

  test('do not take a sign for a bit', () => {
    expect(sliceIndexOf(0x80000000, 1)).toBe(1);
    expect(bucketIndexOf(0x40000000, 1, 1)).toBe(1);
    expect(bucketIndexOf(0xffffffff, 0, 32)).toBe(0xffffffff);
  });
});

describe('powers of two', () => {
  test('are told from all else', () => {
    for (let bits = 0; bits <= 31; bits++) expect([isPowerOfTwo(2 ** bits), bitsOf(2 ** bits)]).toEqual([true, bits]);
    for (const n of [0, -1, -2, 3, 5, 6, 0.5, 1.5, 4095, 4097, 2 ** 31 + 1, 2 ** 32, 2 ** 33, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(isPowerOfTwo(n), String(n)).toBe(false);
    }
  });
});
