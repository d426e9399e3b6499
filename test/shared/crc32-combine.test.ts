import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { combineCrc32 } from '../../shared/crc32-combine.ts';

test('the CRC of two stretches is that of both together', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), fc.uint8Array({ maxLength: 5_000 }), (first, second) => {
      expect(combineCrc32(crc32(first), crc32(second), second.length)).toBe(crc32(Buffer.concat([first, second])));
    }),
  );
});

test.for([0, 1, 4095, 4096, 4097, 8_388_608, 20_000_001])('a second stretch of %d bytes is as good as any', (length) => {
  const first = Buffer.from('the first stretch');
  const second = randomBytes(length);
  expect(combineCrc32(crc32(first), crc32(second), length)).toBe(crc32(second, crc32(first)));
});
