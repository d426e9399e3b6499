import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatCount, formatDuration, formatSize, parseDuration, parseSize } from '../../shared/quantities.ts';

describe('a size', () => {
  test.each([
    ['0', 0],
    ['512', 512],
    ['512B', 512],
    ['5GiB', 5 * 2 ** 30],
    ['5 GiB', 5 * 2 ** 30],
    [' 5gib ', 5 * 2 ** 30],
    ['1.5 GB', 1_500_000_000],
    ['0.5KiB', 512],
    ['1.9B', 1],
    ['3MB', 3_000_000],
    ['3MiB', 3 * 2 ** 20],
    ['2TiB', 2 ** 41],
    ['2TB', 2e12],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('%j is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each([
    '',
    ' ',
    'GiB',
    '-1',
    '+1',
    '1e3',
    '0x10',
    '1,5GB',
    '.5GB',
    '5.GB',
    '5G',
    '5 gigabytes',
    '5GiB/s',
    '5 GiB 3',
    'Infinity',
    'NaN',
    '5 constructor',
    '9007199254740992',
    '9000000TiB',
    `1${'0'.repeat(400)}`,
  ])('%j is none, which is wrong usage and says what was given', (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringContaining(`"${text}"`) }));
  });

  test('shown to people is the size that was meant, to a hundredth', () => {
    fc.assert(
      fc.property(fc.oneof(fc.nat(5_000), fc.integer({ min: 0, max: 2 ** 50 })), (bytes) => {
        expect(Math.abs(parseSize(formatSize(bytes)) - bytes)).toBeLessThanOrEqual(bytes / 100);
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [1536, '1.50 KiB'],
    [50 * 2 ** 20, '50.0 MiB'],
    [999 * 2 ** 30, '999 GiB'],
    [2 ** 40, '1.00 TiB'],
    [2 ** 51, '2048 TiB'],
  ])('of %i bytes is shown as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});

describe('a duration', () => {
  test.each([
    ['250ms', 250],
    ['1s', 1_000],
    ['1.5s', 1_500],
    ['2m', 120_000],
    ['1 h', 3_600_000],
    [' 0s ', 0],
  ])('%j is %i ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(['', '5', '5d', '5S', '-5s', '1e3ms', '5 sec', 'ms', '1s500ms'])(
    '%j is none, which is wrong usage and says what was given',
    (text) => {
      expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringContaining(`"${text}"`) }));
    },
  );

  test.each([
    [0, '0 ms'],
    [850.4, '850 ms'],
    [12_340, '12.3 s'],
    [185_000, '3 min 05 s'],
    [3_599_600, '60 min 00 s'],
  ])('of %d ms is shown as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

test('a count is shown in groups of three digits, whatever the locale of the machine', () => {
  expect([0, 999, 1_234_567].map(formatCount)).toEqual(['0', '999', '1,234,567']);
});
