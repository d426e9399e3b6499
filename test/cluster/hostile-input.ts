// Input text with all that could go wrong between a line and an answer, from a seed; and a reader of input that is so plain that it
// can be trusted: lines into a Map.

import type { Records } from '../data-sets.ts';

/** The records of an input by its grammar: first separator, one CR at the end dropped, blank lines skipped, the last of a key counts. */
export function readPlainly(input: Buffer): Records {
  const records = new Map<string, Buffer>();
  let at = input[0] === 0xef && input[1] === 0xbb && input[2] === 0xbf ? 3 : 0;
  while (at < input.length) {
    const newline = input.indexOf(0x0a, at);
    const next = newline < 0 ? input.length : newline + 1;
    const end = newline < 0 ? input.length : newline;
    const line = input.subarray(at, end > at && input[end - 1] === 0x0d ? end - 1 : end);
    const separator = line.indexOf(0x20);
    if (separator > 0) records.set(line.toString('latin1', 0, separator), line.subarray(separator + 1));
    at = next;
  }
  return records;
}

/** Deterministic numbers below 2^32: Mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

const utf8 = (text: string): Buffer => Buffer.from(text);
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

const namedKeys: readonly Buffer[] = [
  ...[
    '+',
    '%',
    '&',
    '=',
    '#',
    '/',
    '?',
    '"',
    "'",
    '\\',
    '`',
    '<',
    '>',
    '{',
    '}',
    '|',
    '^',
    '~',
    ';',
    ',',
    '.',
    '..',
    '*',
    '@',
    ':',
    '-',
    '!',
  ],
  ...[
    'a+b',
    'a%20b',
    '%FF',
    '%',
    '%%',
    '%2',
    'a&key=b',
    'key=a',
    'a=b=c',
    '#a',
    'a#',
    '//',
    '../../etc/passwd',
    '?key=a',
    'a?b',
    '&&',
    '==',
  ],
  ...[
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    'valueOf',
    'length',
    'null',
    'undefined',
    'NaN',
    '0',
    '-0',
    '1e3',
    'true',
  ],
  ...[
    'é',
    'e\u0301',
    'ñandú',
    'ключ',
    '鍵',
    '🔑',
    '👩‍👩‍👧',
    '\u202eabc',
    '\u2028',
    '\u2029',
    '\u00a0',
    '\ufeff',
    'ſ',
    'İ',
    'ß',
    'SS',
    '\u0000',
    '\t',
    'a\tb',
    '\r',
    '\r\r',
    'a\rb',
    '\v\f',
    '\x7f',
  ],
]
  .map(utf8)
  .concat(
    [
      '\xff',
      '\xfe\xff',
      '\xc3',
      '\xc3\x28',
      '\xe2\x82',
      '\x80',
      '\xed\xa0\x80',
      '\xf0\x9f\x94',
      '\xc0\xaf',
      '\xe9',
      'a\xffb',
      '\xef\xbb\xbfbom',
    ].map(latin1),
  );

const allBytesButNewline = Buffer.from(Array.from({ length: 256 }, (_, i) => i).filter((byte) => byte !== 0x0a));

const namedValues: readonly Buffer[] = [
  ...[
    '',
    ' ',
    '  ',
    ' leading',
    'trailing ',
    '  both  ',
    '\t',
    '\ttabs\t',
    'a b c',
    '0',
    'null',
    '"quoted"',
    '\\n',
    '{"json":true}',
    '<b>',
    '%41',
    'é',
    '🔑',
    '\u2028',
    '\r in the middle',
    '\ufeff',
  ],
]
  .map(utf8)
  .concat(
    [allBytesButNewline, latin1('\xff'), latin1('\xc3\x28'), latin1('\x00'), allBytesButNewline.toReversed() as Buffer].map((bytes) =>
      Buffer.from(bytes),
    ),
  );

/** About 27 MB: every named key, keys and values at their bounds, random ones of every byte, duplicates, CRLF, blank lines, no last newline. */
export function makeHostileInput(seed: number): Buffer {
  const random = randomFrom(seed);
  const below = (n: number): number => random() % n;
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const randomBytes = (size: number, forbidden: readonly number[]): Buffer => {
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i++) {
      do bytes[i] = random() & 0xff;
      while (forbidden.includes(bytes[i]!));
    }
    return bytes;
  };
  const anyKey = (): Buffer => {
    const kind = below(6);
    if (kind === 0) return pick(namedKeys);
    if (kind === 1) return randomBytes(1, [0x0a, 0x20]);
    if (kind === 2) return randomBytes(2_047 + below(2), [0x0a, 0x20]);
    return randomBytes(1 + below(40), [0x0a, 0x20]);
  };
  const anyValue = (): Buffer => (below(3) === 0 ? pick(namedValues) : randomBytes(below(200), [0x0a]));
  const line = (key: Buffer, value: Buffer): Buffer => Buffer.concat([key, utf8(' '), value, utf8(below(3) === 0 ? '\r\n' : '\n')]);

  const keys = [...namedKeys, ...Array.from({ length: 1_200 }, anyKey), Buffer.alloc(2_048, 'k'), Buffer.alloc(2_048, 0xff), utf8('k')];
  const lines = keys.map((key) => line(key, anyValue()));
  for (let i = 0; i < 400; i++) lines.push(line(pick(keys), anyValue()));
  for (let i = 0; i < 20; i++) lines.splice(below(lines.length), 0, utf8(pick(['\n', '\r\n'])));
  const big = Buffer.alloc(8 * 1024 * 1024);
  for (let i = 0; i < big.length; i++) big[i] = allBytesButNewline[i % allBytesButNewline.length]!;
  lines.push(line(utf8('8-MiB-of-bytes'), big), line(utf8('8-MiB-of-zeros'), Buffer.alloc(8 * 1024 * 1024)));
  lines.push(line(utf8('8-MiB-of-text'), Buffer.alloc(8 * 1024 * 1024, 'Text, and "more" of it. ')));
  lines.push(Buffer.concat([utf8('last-without-newline value at the end\r')]));
  return Buffer.concat([utf8('\ufeff'), ...lines]);
}
