import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { originFormOf, parseGetKey, parseKeys, pathOf } from '../../shared/key-query.ts';
import { limits } from '../../shared/limits.ts';
import { percentEncode } from '../raw-http.ts';

const anyBytes = fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('latin1'));

/** Every way to write a key: each byte escaped in either case of hex, a space as a plus, what is harmless as it is. */
const anyWritingOf = (key: string): fc.Arbitrary<string> =>
  fc.array(fc.nat(3), { minLength: key.length, maxLength: key.length }).map((choices) =>
    [...key]
      .map((character, i) => {
        const hex = percentEncode(character);
        if (choices[i] === 0) return hex;
        if (choices[i] === 1) return hex.toLowerCase();
        return character === ' ' ? '+' : /[\w.~!$'()*,;:@/?=-]/.test(character) ? character : hex;
      })
      .join(''),
  );

const anyWrittenKey = anyBytes.chain((key) => anyWritingOf(key).map((text) => ({ key, text })));
const anyOtherParameter = fc.constantFrom('', 'other=1', 'KEY=x', 'keys=x', 'key%5B%5D=x', '%ZZ=%', '=', '=key', '&', 'a=%F');
const anyNameOfKey = fc.constantFrom('key', 'key', '%6bey', 'k%65y', '%6B%65%79');

describe('the key of a query', () => {
  test('is the bytes that were written, in whatever way', () => {
    fc.assert(
      fc.property(
        anyWrittenKey,
        anyNameOfKey,
        fc.array(anyOtherParameter),
        fc.array(anyOtherParameter),
        ({ key, text }, name, before, after) => {
          expect(parseGetKey(`/get?${[...before, `${name}=${text}`, ...after].join('&')}`)).toBe(key);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is what URLSearchParams says for every text that this can tell', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('key', 'other', 'KEY'), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 })), {
          minLength: 1,
        }),
        (pairs) => {
          const search = new URLSearchParams(pairs.map(([name, value]) => [name, value]));
          const keys = search.getAll('key').map((key) => Buffer.from(key).toString('latin1'));
          expect(parseKeys(`/mget?${search}`)).toEqual(keys.length > 0 ? keys : { code: 'key_required' });
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is what encodeURIComponent wrote', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => {
        expect(parseGetKey(`/get?key=${encodeURIComponent(text)}`)).toBe(Buffer.from(text).toString('latin1'));
      }),
    );
  });

  test('is the same for one that is asked for alone and among others', () => {
    fc.assert(
      fc.property(fc.array(anyWrittenKey, { minLength: 1, maxLength: 10 }), (written) => {
        expect(parseKeys(`/mget?${written.map(({ text }) => `key=${text}`).join('&')}`)).toEqual(written.map(({ key }) => key));
        expect(parseGetKey(`/get?key=${written[0]!.text}`)).toBe(written[0]!.key);
      }),
    );
  });

  test('is never guessed: any text gives bytes, or a problem, and no exception', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'key=&?%+#2BfF0zZ/\xff\0 ') }), (text) => {
        for (const target of [text, `/get?${text}`, `/get?key=${text}`]) {
          const key = parseGetKey(target);
          if (typeof key === 'string') expect(key.length).toBeGreaterThan(0);
          else expect(['key_required', 'key_empty', 'key_repeated', 'key_malformed', 'key_too_long']).toContain(key.code);
          if (typeof key === 'string' && target.includes('#')) expect.unreachable('a raw # is refused');
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('with an escape cut off anywhere is malformed', () => {
    for (const tail of ['%', '%2', '%%', '%2%', '%g0', '%0g', '% 0', '%0x', '%\xb20']) {
      expect(parseGetKey(`/get?key=a${tail}`)).toEqual({ code: 'key_malformed' });
      expect(parseKeys(`/mget?key=ok&key=a${tail}`)).toEqual({ code: 'key_malformed' });
    }
  });

  test('is measured in bytes, not in characters of the query', () => {
    const longest = 'k'.repeat(limits.keySizeMax);
    expect(parseGetKey(`/get?key=${longest}`)).toBe(longest);
    expect(parseGetKey(`/get?key=${percentEncode(longest)}`)).toBe(longest);
    expect(parseGetKey(`/get?key=${longest}k`)).toEqual({ code: 'key_too_long' });
    expect(parseGetKey(`/get?key=${percentEncode(`${longest}k`)}`)).toEqual({ code: 'key_too_long' });
  });
});

describe('a request target', () => {
  test.each([
    ['/get?key=a', '/get?key=a'],
    ['http://host/get?key=a', '/get?key=a'],
    ['HTTPS://user@host:99/get?key=http://x/', '/get?key=http://x/'],
    ['http://host', '/'],
    ['http://host?key=a', '/?key=a'],
    ['http://', '/'],
    ['*', '*'],
    ['ftp://host/get', 'ftp://host/get'],
    ['host:80', 'host:80'],
    ['//get?key=a', '//get?key=a'],
    ['', ''],
  ])('%j is %j in origin form', (target, originForm) => {
    expect(originFormOf(target)).toBe(originForm);
  });

  test('has the path before its query', () => {
    expect(['/get', '/get?key=a', '/get?', '/get?a?b', ''].map(pathOf)).toEqual(['/get', '/get', '/get', '/get', '']);
  });
});
