import fc from 'fast-check';
import { expect, test } from 'vitest';
import { asWordBuffer, copyWords, makeWordBuffer, wordCopySlack } from '../../shared/word-copy.ts';

test('a copy is exact, whatever its place and size, and touches nothing but the slack behind it', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 600 }),
      fc.integer({ min: 0, max: 600 }),
      fc.integer({ min: 0, max: 600 }),
      fc.integer({ min: 0, max: 40 }),
      (content, a, b, at) => {
        const [start, end] = [Math.min(a, b, content.length), Math.min(Math.max(a, b), content.length)];
        const target = makeWordBuffer(700);
        target.bytes.fill(0x55);
        const after = copyWords(target, at, asWordBuffer(Buffer.from(content)), start, end);
        expect(after).toBe(at + end - start);
        expect(target.bytes.subarray(at, after).equals(content.subarray(start, end))).toBe(true);
        expect(target.bytes.subarray(0, at).every((byte) => byte === 0x55)).toBe(true);
        expect(target.bytes.subarray(after + wordCopySlack).every((byte) => byte === 0x55)).toBe(true);
      },
    ),
  );
});

test('without slack on either side nothing beyond is touched', () => {
  const source = asWordBuffer(Buffer.from('abcdefghij'));
  const target = asWordBuffer(Buffer.alloc(10, '.'));
  expect(copyWords(target, 0, source, 0, 3)).toBe(3);
  expect(copyWords(target, 5, source, 5, 10)).toBe(10);
  expect(target.bytes.toString('latin1', 0, 3)).toBe('abc');
  expect(target.bytes.toString('latin1', 5)).toBe('fghij');
  const small = asWordBuffer(Buffer.from('abc'));
  const backdrop = Buffer.alloc(20, '.');
  copyWords(asWordBuffer(backdrop.subarray(0, 10)), 7, small, 0, 3);
  expect(backdrop.toString('latin1')).toBe('.......abc..........');
});
