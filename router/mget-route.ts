// `/mget`: 1 to 500 keys, all of one version, answered in their order. A key without an answer is `unavailable` with its code and
// fails none of the others.
//
// In the JSON, text is UTF-8. A value that is not is given in base64 beside `"encoding":"base64"`, a key beside
// `"keyEncoding":"base64"`; a request may name such a key as `{"base64":"…"}`.

import { isUtf8 } from 'node:buffer';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import type { Answer } from './hot-answers.ts';
import { KeyLookup } from './key-lookup.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

/** Every character of the body is one byte of its UTF-8: written as latin1. */
export type MgetResponse = { readonly versionId: string; readonly body: string };

/** Looks all keys up in `version`; resolves when each is settled, within the deadline. */
export function answerMget(engine: LookupEngine, version: RoutedVersion, keys: readonly string[]): Promise<MgetResponse> {
  return new Promise((resolve) => {
    const results = new MgetResults(keys, (joined) => {
      resolve({ versionId: version.id, body: `{"version":"${version.id}","results":[${joined}]}` });
    });
    for (let i = 0; i < keys.length; i++) {
      const hot = engine.findHot(version, keys[i]!);
      if (hot === undefined) engine.submit(new MgetLookup(engine, version, keys[i]!, i, results));
      else results.answer(i, hot);
    }
  });
}

/** The keys of a request body `{"keys":["a",{"base64":"…"}]}` as latin1 strings. Throws `body_malformed`, or the code of the key at fault. */
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

function parseKey(key: unknown, i: number): string {
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

/** The results of one request, as JSON text with one character a byte, until the last key is settled. */
class MgetResults {
  readonly #keys: readonly string[];
  readonly #onDone: (joined: string) => void;
  readonly #texts: string[];
  #unsettled: number;
  #valuesSize = 0;

  constructor(keys: readonly string[], onDone: (joined: string) => void) {
    this.#keys = keys;
    this.#onDone = onDone;
    this.#texts = new Array<string>(keys.length);
    this.#unsettled = keys.length;
  }

  answer(keyIndex: number, answer: Answer): void {
    if (answer === null) return this.#put(keyIndex, '"status":"missing"');
    if (this.#valuesSize + answer.length > limits.mgetValuesSizeMax) return this.fail(keyIndex, 'response_full');
    this.#valuesSize += answer.length;
    this.#put(keyIndex, `"status":"found",${jsonOf('value', 'encoding', answer)}`);
  }

  fail(keyIndex: number, code: ErrorCode): void {
    this.#put(keyIndex, `"status":"unavailable","code":"${code}"`);
  }

  #put(keyIndex: number, fields: string): void {
    this.#texts[keyIndex] = `{${jsonOf('key', 'keyEncoding', this.#keys[keyIndex]!)},${fields}}`;
    if (--this.#unsettled === 0) this.#onDone(this.#texts.join(','));
  }
}

class MgetLookup extends KeyLookup {
  readonly #keyIndex: number;
  readonly #results: MgetResults;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, keyIndex: number, results: MgetResults) {
    super(engine, version, key);
    this.#keyIndex = keyIndex;
    this.#results = results;
  }

  protected override onAnswer(answer: Answer): void {
    this.#results.answer(this.#keyIndex, answer);
  }

  protected override onFailure(code: ErrorCode): void {
    this.#results.fail(this.#keyIndex, code);
  }
}

/** What stands in a JSON string as it is: printable ASCII but the quote and the backslash. */
const isPlain = /^[ !#-[\]-~]*$/;

/** The field `name` with these bytes: text where they are UTF-8, else base64, said by a second field `marker`. */
function jsonOf(name: string, marker: string, bytes: string | Buffer): string {
  if (typeof bytes === 'string' && isPlain.test(bytes)) return `"${name}":"${bytes}"`;
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
  if (!isUtf8(buffer)) return `"${name}":"${buffer.toString('base64')}","${marker}":"base64"`;
  return `"${name}":${Buffer.from(JSON.stringify(buffer.toString())).toString('latin1')}`;
}
