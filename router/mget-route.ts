// `/mget`: 1 to 500 keys, all of one version, answered in their order. A key without an answer is `unavailable` with its code and
// fails none of the others.
//
// In the JSON, text is UTF-8. A value that is not is given in base64 beside `"encoding":"base64"`, a key beside
// `"keyEncoding":"base64"`; a request may name such a key as `{"base64":"…"}`.

import { isUtf8 } from 'node:buffer';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import { KeyLookup } from './key-lookup.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

type KeyText = { readonly key: string; readonly keyEncoding?: 'base64' };

export type MgetResult = KeyText &
  (
    | { readonly status: 'found'; readonly value: string; readonly encoding?: 'base64' }
    | { readonly status: 'missing' }
    | { readonly status: 'unavailable'; readonly code: ErrorCode }
  );

export type MgetResponse = { readonly version: string; readonly results: readonly MgetResult[] };

/** Looks all keys up in `version`; resolves when each is settled, within the deadline. */
export function answerMget(engine: LookupEngine, version: RoutedVersion, keys: readonly string[]): Promise<MgetResponse> {
  return new Promise((resolve) => {
    const results = new Array<MgetResult>(keys.length);
    let unsettled = keys.length;
    let valuesSize = 0;
    const collect: Collect = (keyIndex, result, valueSize) => {
      valuesSize += valueSize;
      const isFull = valuesSize > limits.mgetValuesSizeMax;
      if (isFull) valuesSize -= valueSize;
      results[keyIndex] = { ...keyText(keys[keyIndex]!), ...(isFull ? { status: 'unavailable', code: 'response_full' } : result()) };
      if (--unsettled === 0) resolve({ version: version.id, results });
    };
    keys.forEach((key, keyIndex) => {
      engine.submit(new MgetLookup(engine, version, key, keyIndex, collect));
    });
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

/** `result` is called only when there is room for it. */
type Collect = (keyIndex: number, result: () => ResultOf, valueSize: number) => void;
type ResultOf =
  | { readonly status: 'found'; readonly value: string; readonly encoding?: 'base64' }
  | { readonly status: 'missing' }
  | { readonly status: 'unavailable'; readonly code: ErrorCode };

class MgetLookup extends KeyLookup {
  readonly #keyIndex: number;
  readonly #collect: Collect;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, keyIndex: number, collect: Collect) {
    super(engine, version, key);
    this.#keyIndex = keyIndex;
    this.#collect = collect;
  }

  protected override onFound(bytes: Buffer, start: number, end: number): void {
    this.#collect(this.#keyIndex, () => ({ status: 'found', ...valueText(bytes.subarray(start, end)) }), end - start);
  }

  protected override onMissing(): void {
    this.#collect(this.#keyIndex, () => ({ status: 'missing' }), 0);
  }

  protected override onFailed(code: ErrorCode): void {
    this.#collect(this.#keyIndex, () => ({ status: 'unavailable', code }), 0);
  }
}

function keyText(key: string): KeyText {
  const bytes = Buffer.from(key, 'latin1');
  return isUtf8(bytes) ? { key: bytes.toString() } : { key: bytes.toString('base64'), keyEncoding: 'base64' };
}

function valueText(bytes: Buffer): { value: string; encoding?: 'base64' } {
  return isUtf8(bytes) ? { value: bytes.toString() } : { value: bytes.toString('base64'), encoding: 'base64' };
}
