import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { formatVersionUse, parseVersionUse } from '../../shared/version-use.ts';

const hex = (size: number) => fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: size, maxLength: size });

test('what a router says comes through', () => {
  const anySeen = fc.option(fc.record({ incarnation: hex(16), counter: fc.nat() }), { nil: undefined });
  const anyUse = fc.record({ router: hex(16), versionIds: fc.array(hex(32), { maxLength: limits.versionsInUseMax }), seen: anySeen });
  fc.assert(
    fc.property(anyUse, (use) => {
      expect(parseVersionUse(formatVersionUse(use))).toEqual(use);
    }),
  );
});

test('more versions than may be named are left out, the one that is served is not', () => {
  const versionIds = Array.from({ length: 20 }, (_, i) => i.toString(16).padStart(32, '0'));
  const use = parseVersionUse(formatVersionUse({ router: 'f0', versionIds, seen: undefined }));
  expect(use?.versionIds).toEqual(versionIds.slice(0, limits.versionsInUseMax));
});

test('an incarnation that is no header field is left out', () => {
  const use = formatVersionUse({ router: 'f0', versionIds: [], seen: { incarnation: 'x\r\nHost: y', counter: 1 } });
  expect(use).toBe('f0 - -');
});

describe('what is no such field is nobody', () => {
  const id = 'a'.repeat(32);
  test.each([
    undefined,
    '',
    'f0',
    `f0 ${id}`,
    `f0 ${id} x`,
    `router ${id} -`,
    `f0 ${id.slice(1)} -`,
    `f0 ${id}, -`,
    `f0 ${id} f0:-1`,
    `f0 ${id} f0:1e9`,
    `f0 ${Array.from({ length: limits.versionsInUseMax + 1 }, () => id).join()} -`,
    [`f0 ${id} -`],
    `${'f'.repeat(65)} ${id} -`,
  ])('%j', (text) => expect(parseVersionUse(text)).toBeUndefined());
});
