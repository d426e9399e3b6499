import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readVarint, varintSize, writeVarint } from '../../shared/varint.ts';

const largest = 2 ** 28 - 1;
const edges = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1fffff, 0x200000, largest];

describe('a number', () => {
  test('comes back as it was written, in the bytes that its size says, and nothing around it is touched', () => {
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...edges), fc.integer({ min: 0, max: largest })), fc.nat(5), (n, at) => {
        const bytes = Buffer.alloc(12, 0xaa);
        const end = writeVarint(bytes, at, n);
        expect(end - at).toBe(varintSize(n));
        expect(readVarint(bytes, at, end)).toBe(n);
        expect(readVarint(bytes, at, bytes.length)).toBe(n);
        expect(bytes.subarray(0, at).every((byte) => byte === 0xaa) && bytes.subarray(end).every((byte) => byte === 0xaa)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    [0, '00'],
    [1, '01'],
    [127, '7f'],
    [128, '8001'],
    [300, 'ac02'],
    [16_383, 'ff7f'],
    [16_384, '808001'],
    [2_097_151, 'ffff7f'],
    [2_097_152, '80808001'],
    [8_388_608, '80808004'],
    [largest, 'ffffff7f'],
  ])('%i is %s', (n, hex) => {
    const bytes = Buffer.alloc(varintSize(n));
    writeVarint(bytes, 0, n);
    expect(bytes.toString('hex')).toBe(hex);
  });
});

describe('what is not a number', () => {
  test('is cut off, at every byte', () => {
    for (const n of edges) {
      const bytes = Buffer.alloc(4);
      const end = writeVarint(bytes, 0, n);
      for (let cut = 0; cut < end; cut++) expect(readVarint(bytes, 0, cut), `${n} cut to ${cut}`).toBe(-1);
    }
  });

  test.each(['8000', 'ff00', '808000', '80808000', 'ffffff00'])('is not in its shortest form: %s', (hex) => {
    expect(readVarint(Buffer.from(hex, 'hex'), 0, hex.length / 2)).toBe(-1);
  });

  test.each(['8080808000', '8080808001', 'ffffffff0f', 'ffffffffffffffffff01'])('is longer than four bytes: %s', (hex) => {
    expect(readVarint(Buffer.from(hex, 'hex'), 0, hex.length / 2)).toBe(-1);
  });

  test('is anything but what the writer writes: all of two bytes, and of three that go on', () => {
    const again = Buffer.alloc(4);
    const accepts = (bytes: Buffer): boolean => {
      const n = readVarint(bytes, 0, bytes.length);
      if (n === -1) return false;
      const size = writeVarint(again, 0, n);
      if (again.compare(bytes, 0, size, 0, size) !== 0) throw new Error(`${bytes.toString('hex')} was read as ${n}`);
      return true;
    };
    let accepted = 0;
    const two = Buffer.alloc(2);
    for (let word = 0; word < 2 ** 16; word++) {
      two.writeUInt16LE(word);
      if (accepts(two)) accepted++;
    }
    expect(accepted).toBe(2 ** 7 * 2 ** 8 + 2 ** 7 * (2 ** 7 - 1));

    accepted = 0;
    const three = Buffer.alloc(3);
    for (let word = 0; word < 2 ** 22; word++) {
      three[0] = 0x80 | word;
      three[1] = 0x80 | (word >>> 7);
      three[2] = word >>> 14;
      if (accepts(three)) accepted++;
    }
    expect(accepted).toBe(2 ** 14 * (2 ** 7 - 1));
  });
});
