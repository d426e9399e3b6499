// `/mget`: 1 to 500 keys, all of one version, answered in their order. A key without an answer is `unavailable` with its code and
// fails none of the others.
//
// In the JSON, text is UTF-8. A value that is not is given in base64 beside `"encoding":"base64"`, a key beside
// `"keyEncoding":"base64"`; a request may name such a key as `{"base64":"…"}`.

import { isUtf8 } from 'node:buffer';
import { type ErrorCode, PavostoreError } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import { fieldOf, JsonBytes } from './json-bytes.ts';
import { clientCodeOf, KeyLookup } from './key-lookup.ts';
import type { LookupEngine, Rebinding } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

export type MgetResponse = { readonly versionId: string; readonly body: Buffer };

/** Looks all keys up in `version`; resolves when each is settled, within the deadline. When nobody holds that version any more, all in another one. */
export async function answerMget(engine: LookupEngine, version: RoutedVersion, keys: readonly string[]): Promise<MgetResponse> {
  const answer = await lookUpAll(engine, keys, { version, isRebound: false });
  // A second time there is no other.
  return 'body' in answer ? answer : ((await lookUpAll(engine, keys, { ...answer, isRebound: true })) as MgetResponse);
}

type Binding = { readonly version: RoutedVersion; readonly remainingMs?: number; readonly isRebound: boolean };

/** The answer; or what to bind anew, unless that was done. */
function lookUpAll(engine: LookupEngine, keys: readonly string[], binding: Binding): Promise<MgetResponse | Rebinding> {
  const { version, remainingMs, isRebound } = binding;
  return new Promise((resolve) => {
    const results = new MgetResults(version.id, keys, (body) => resolve({ versionId: version.id, body }));
    const request: MgetRequest = { engine, results, rebind: isRebound ? undefined : rebindOnce(engine, resolve) };
    for (let i = 0; i < keys.length; i++) {
      const hot = engine.findHot(version, keys[i]!);
      if (hot === undefined) engine.submit(new MgetLookup(request, version, keys[i]!, i), remainingMs);
      else if (hot === null) results.settle(i, missing);
      else results.find(i, Buffer.from(hot, 'latin1'));
    }
  });
}

/** For the keys of one request that find their version gone: the first of them binds the whole request anew. */
function rebindOnce(engine: LookupEngine, onRebinding: (rebinding: Rebinding) => void): (lookup: KeyLookup) => Promise<boolean> {
  let isRebound: Promise<boolean> | undefined;
  return (lookup) => {
    isRebound ??= engine.rebind(lookup).then((rebinding) => {
      if (rebinding) onRebinding(rebinding);
      return rebinding !== undefined;
    });
    return isRebound;
  };
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

const missing = '"status":"missing"';
/** Of one result, besides its key and its value. */
const resultOverhead = 64;

/** The results of one request until the last key is settled: where each value lies in a shard's reply, or what is said instead. */
class MgetResults {
  readonly #versionId: string;
  readonly #keys: readonly string[];
  readonly #onDone: (body: Buffer) => void;
  readonly #replies: (Buffer | undefined)[];
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  /** Fields of the keys without a value. */
  readonly #said: (string | undefined)[];
  #unsettled: number;
  #valuesSize = 0;

  constructor(versionId: string, keys: readonly string[], onDone: (body: Buffer) => void) {
    const { length } = keys;
    this.#versionId = versionId;
    this.#keys = keys;
    this.#onDone = onDone;
    this.#replies = new Array<Buffer | undefined>(length).fill(undefined);
    this.#starts = new Uint32Array(length);
    this.#ends = new Uint32Array(length);
    this.#said = new Array<string | undefined>(length).fill(undefined);
    this.#unsettled = length;
  }

  /** The value is `reply[start, end)`. */
  find(keyIndex: number, reply: Buffer, start = 0, end = reply.length): void {
    if (this.#valuesSize + end - start > limits.mgetValuesSizeMax) return this.fail(keyIndex, 'response_full');
    this.#valuesSize += end - start;
    this.#replies[keyIndex] = reply;
    this.#starts[keyIndex] = start;
    this.#ends[keyIndex] = end;
    this.#settled();
  }

  fail(keyIndex: number, code: ErrorCode): void {
    this.settle(keyIndex, `"status":"unavailable","code":"${code}"`);
  }

  settle(keyIndex: number, fields: string): void {
    this.#said[keyIndex] = fields;
    this.#settled();
  }

  #settled(): void {
    if (--this.#unsettled === 0) this.#onDone(this.#write());
  }

  #write(): Buffer {
    const keysSize = this.#keys.reduce((sum, { length }) => sum + length, 0);
    const json = new JsonBytes(resultOverhead * (this.#keys.length + 1) + keysSize + this.#valuesSize);
    json.raw(`{"version":"${this.#versionId}","results":[`);
    for (let i = 0; i < this.#keys.length; i++) {
      const key = `${i === 0 ? '{' : '},{'}${fieldOf('key', 'keyEncoding', this.#keys[i]!)},`;
      const reply = this.#replies[i];
      if (reply) {
        json.raw(`${key}"status":"found",`);
        json.bytesField('value', 'encoding', reply, this.#starts[i]!, this.#ends[i]!);
      } else {
        json.raw(`${key}${this.#said[i]}`);
      }
    }
    json.raw('}]}');
    return json.written;
  }
}

type MgetRequest = {
  readonly engine: LookupEngine;
  readonly results: MgetResults;
  /** Resolves to false when there is no other version to bind; undefined: it was bound anew once. */
  readonly rebind: ((lookup: KeyLookup) => Promise<boolean>) | undefined;
};

class MgetLookup extends KeyLookup {
  readonly #keyIndex: number;
  readonly #request: MgetRequest;

  constructor(request: MgetRequest, version: RoutedVersion, key: string, keyIndex: number) {
    super(request.engine, version, key, true);
    this.#keyIndex = keyIndex;
    this.#request = request;
  }

  protected override onFound(reply: Buffer, start: number, end: number): void {
    this.#request.results.find(this.#keyIndex, reply, start, end);
  }

  protected override onMissing(): void {
    this.#request.results.settle(this.#keyIndex, missing);
  }

  protected override onFailure(code: ErrorCode): void {
    const { engine, results, rebind } = this.#request;
    if (rebind && engine.mayRebind(this, code))
      void rebind(this).then((isRebound) => isRebound || results.fail(this.#keyIndex, clientCodeOf(code)));
    else results.fail(this.#keyIndex, clientCodeOf(code));
  }
}
