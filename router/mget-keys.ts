// The keys of a `/mget`: from the usual body as they stand in it, by one scan; from any other by JSON.parse, with the exact words for what is
// wrong with it. `{"keys":["a",{"base64":"…"}]}`.

import { isUtf8 } from 'node:buffer';
import { PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import { asWordBuffer } from '../shared/word-copy.ts';
import { endOfPlainText } from './json-bytes.ts';
import { type KeyRanges, packKeys } from './key-ranges.ts';

/** The keys of a request body. Throws `body_malformed`, or the code of the key at fault. */
export function readMgetBody(body: Buffer): KeyRanges {
  return scanPlainKeys(body) ?? packKeys(parseMgetBody(body));
}

const bodyStart = Buffer.from('{"keys":');
const codeOf = { space: 0x20, quote: 0x22, comma: 0x2c, opening: 0x5b, closing: 0x5d, closingBrace: 0x7d } as const;

/** The keys where they lie in `body`, when it has no other field, no space but single ones, and only plain keys of a right size and number. */
function scanPlainKeys(body: Buffer): KeyRanges | undefined {
  if (body.compare(bodyStart, 0, bodyStart.length, 0, Math.min(bodyStart.length, body.length)) !== 0) return undefined;
  let at = bodyStart.length;
  if (body[at] === codeOf.space) at++;
  if (body[at++] !== codeOf.opening) return undefined;
  const source = asWordBuffer(body);
  const starts: number[] = [];
  const ends: number[] = [];
  for (;;) {
    if (body[at++] !== codeOf.quote) return undefined;
    const start = at;
    at = endOfPlainText(source, at);
    if (body[at] !== codeOf.quote || at === start || at - start > limits.keySizeMax) return undefined;
    starts.push(start);
    ends.push(at++);
    if (body[at] !== codeOf.comma) break;
    at++;
    if (body[at] === codeOf.space) at++;
  }
  const isWhole = body[at] === codeOf.closing && body[at + 1] === codeOf.closingBrace && at + 2 === body.length;
  return isWhole && starts.length <= limits.mgetKeysMax ? { source, starts, ends } : undefined;
}

/** As latin1 strings. */
export function parseMgetBody(body: Buffer): string[] {
  if (!isUtf8(body)) throw new PavostoreError('body_malformed', 'The body is not UTF-8');
  let read: unknown;
  try {
    read = JSON.parse(body.toString());
  } catch (error) {
    throw new PavostoreError('body_malformed', `The body is not JSON: ${(error as Error).message}`);
  }
  const keys = (read as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys)) throw new PavostoreError('keys_malformed', 'The body is not an object with a list of keys: {"keys":["a","b"]}');
  checkKeyCount(keys.length);
  return keys.map((key: unknown, i) => parseKey(key, i));
}

/** Throws `keys_malformed` or `keys_too_many`. */
export function checkKeyCount(count: number): void {
  if (count === 0) throw new PavostoreError('keys_malformed', 'The list of keys is empty');
  if (count > limits.mgetKeysMax) throw new PavostoreError('keys_too_many', `${count} keys; at most ${limits.mgetKeysMax} in one request`);
}

/** One byte a character in UTF-8 as in latin1. */
const isPrintableAscii = /^[ -~]*$/;

function parseKey(key: unknown, i: number): string {
  if (typeof key === 'string' && key.length > 0 && key.length <= limits.keySizeMax && isPrintableAscii.test(key)) return key;
  const bytes = keyBytesOf(key, i);
  if (bytes.length === 0) throw new PavostoreError('key_empty', `Key ${i} is empty`);
  if (bytes.length > limits.keySizeMax)
    throw new PavostoreError('key_too_long', `Key ${i} has ${bytes.length} bytes; at most ${limits.keySizeMax}`);
  return bytes.toString('latin1');
}

function keyBytesOf(key: unknown, i: number): Buffer {
  if (typeof key === 'string') {
    if (!key.isWellFormed()) throw new PavostoreError('keys_malformed', `Key ${i} has a lone surrogate, which no UTF-8 text has`);
    return Buffer.from(key);
  }
  const base64 = (key as { base64?: unknown } | null)?.base64;
  if (typeof base64 !== 'string') throw new PavostoreError('keys_malformed', `Key ${i} is neither a string nor {"base64":"…"}`);
  const bytes = Buffer.from(base64, 'base64');
  // Buffer skips what is not base64: what it read must say the same again.
  if (bytes.toString('base64').replace(/=+$/, '') !== base64.replace(/=+$/, '')) {
    throw new PavostoreError('keys_malformed', `Key ${i}: not valid base64`);
  }
  return bytes;
}
