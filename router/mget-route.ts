// `/mget`: 1 to 500 keys, all of one version, answered in their order. A key without an answer is `unavailable` with its code and
// fails none of the others.
//
// In the JSON, text is UTF-8. A value that is not is given in base64 beside `"encoding":"base64"`, a key beside
// `"keyEncoding":"base64"`; a request may name such a key as `{"base64":"…"}`.

import type { ErrorCode } from '../shared/errors.ts';
import { limits } from '../shared/limits.ts';
import type { Outgoing } from '../shared/outgoing.ts';
import { asWordBuffer, makeWordBuffer, type WordBuffer } from '../shared/word-copy.ts';
import type { Admission } from './admission.ts';
import { BulkLookup } from './bulk-lookup.ts';
import { fieldOf, JsonBytes } from './json-bytes.ts';
import { clientCodeOf, KeyLookup } from './key-lookup.ts';
import { type KeyRanges, keyOf } from './key-ranges.ts';
import type { Binding, LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

/** The memory of `body` is held in the `owed` of the router: whoever sends it drops it then. */
export type MgetResponse = { readonly versionId: string; readonly body: Outgoing };

/** Of a router, what its look-ups need. */
export type MgetRouter = { readonly engine: LookupEngine; readonly admission: Admission };

/** Looks all keys up in `version`; resolves when each is settled, within the deadline. When nobody holds that version any more, all in another one. */
export async function answerMget(router: MgetRouter, version: RoutedVersion, keys: KeyRanges): Promise<MgetResponse> {
  const answer = await lookUpAll(router, keys, { version, isRebound: false });
  // A second time there is no other.
  return 'body' in answer ? answer : ((await lookUpAll(router, keys, { ...answer, isRebound: true })) as MgetResponse);
}

/** The answer; or what to bind anew, unless that was done. */
function lookUpAll(
  { engine, admission }: MgetRouter,
  keys: KeyRanges,
  { version, remainingMs, isRebound }: Partial<Binding> & { readonly version: RoutedVersion; readonly isRebound: boolean },
): Promise<MgetResponse | Binding> {
  return new Promise((resolve) => {
    const onDone = (body: Outgoing): void => resolve({ versionId: version.id, body });
    const results = new MgetResults({ versionId: version.id, keys, admission, onDone });
    const onRebinding = (binding: Binding): void => {
      results.abandon();
      resolve(binding);
    };
    const rebind = isRebound ? undefined : rebindOnce(engine, onRebinding);
    engine.submitBulk(new MgetLookup({ engine, version, keys, results, rebind }), remainingMs);
  });
}

/** For the keys of one request that find their version gone: the first of them binds the whole request anew. */
function rebindOnce(engine: LookupEngine, onRebinding: (binding: Binding) => void): (binding: Binding) => Promise<boolean> {
  let isRebound: Promise<boolean> | undefined;
  return (binding) => {
    isRebound ??= engine.rebind(binding).then((other) => {
      if (other) onRebinding(other);
      return other !== undefined;
    });
    return isRebound;
  };
}

type MgetRequest = {
  readonly engine: LookupEngine;
  readonly version: RoutedVersion;
  readonly keys: KeyRanges;
  readonly results: MgetResults;
  /** Resolves to false when there is no other version to bind; undefined: it was bound anew once. */
  readonly rebind: ((binding: Binding) => Promise<boolean>) | undefined;
};

/** A key has no answer; with its version it may be another one that is to be asked. */
function failKey({ engine, results, rebind }: MgetRequest, binding: Binding, keyIndex: number, code: ErrorCode): void {
  if (rebind && engine.mayRebind(binding, code))
    void rebind(binding).then((isRebound) => isRebound || results.fail(keyIndex, clientCodeOf(code)));
  else results.fail(keyIndex, clientCodeOf(code));
}

class MgetLookup extends BulkLookup {
  readonly #request: MgetRequest;

  constructor(request: MgetRequest) {
    super(request.engine, request.version, request.keys);
    this.#request = request;
  }

  override lookupOf(keyIndex: number): KeyLookup {
    return new MgetKeyLookup(this.#request, keyIndex);
  }

  protected override onFound(keyIndex: number, reply: Buffer, start: number, end: number): void {
    this.#request.results.find(keyIndex, reply, start, end);
  }

  protected override onMissing(): void {
    this.#request.results.miss();
  }

  protected override onFailure(keyIndex: number, code: ErrorCode): void {
    failKey(this.#request, this, keyIndex, code);
  }
}

/** One key of an /mget that goes a way of its own. */
class MgetKeyLookup extends KeyLookup {
  readonly #request: MgetRequest;
  readonly #keyIndex: number;

  constructor(request: MgetRequest, keyIndex: number) {
    super(request.engine, request.version, keyOf(request.keys, keyIndex), true);
    this.#request = request;
    this.#keyIndex = keyIndex;
  }

  protected override onFound(reply: Buffer, start: number, end: number): void {
    this.#request.results.find(this.#keyIndex, reply, start, end);
  }

  protected override onMissing(): void {
    this.#request.results.miss();
  }

  protected override onFailure(code: ErrorCode): void {
    failKey(this.#request, this, this.#keyIndex, code);
  }
}

const texts = {
  key: ready('{"key":"'),
  nextKey: ready(',{"key":"'),
  found: ready(',"status":"found","value":"'),
  missing: ready(',"status":"missing"}'),
  end: ready('}'),
};
/** Of one result, besides its key and its value. */
const resultOverhead = 64;

type ReadyText = { readonly source: WordBuffer; readonly size: number };

function ready(text: string): ReadyText {
  const source = makeWordBuffer(text.length);
  source.bytes.write(text, 'latin1');
  return { source, size: text.length };
}

/** The results of one request until the last key is settled: where each value lies in a shard's reply, or what is said instead. */
class MgetResults {
  readonly #versionId: string;
  readonly #keys: KeyRanges;
  readonly #admission: Admission;
  readonly #onDone: (body: Outgoing) => void;
  /** By key; undefined for those without a value. */
  readonly #replies: (WordBuffer | undefined)[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  /** By key; undefined for those that were found or are missing. */
  readonly #failures: (ErrorCode | undefined)[] = [];
  /** The values of a request lie in few replies, and come from one after the other. */
  #lastReply: WordBuffer | undefined;
  /** What is held: where the replies lie. */
  #memories: ArrayBufferLike[] = [];
  #isAbandoned = false;
  #unsettled: number;
  #valuesSize = 0;

  constructor(options: { versionId: string; keys: KeyRanges; admission: Admission; onDone: (body: Outgoing) => void }) {
    const { versionId, keys, admission, onDone } = options;
    this.#versionId = versionId;
    this.#keys = keys;
    this.#admission = admission;
    this.#onDone = onDone;
    this.#unsettled = keys.starts.length;
    for (let i = 0; i < this.#unsettled; i++) {
      this.#replies.push(undefined);
      this.#starts.push(0);
      this.#ends.push(0);
      this.#failures.push(undefined);
    }
  }

  /** The value is `reply[start, end)`. */
  find(keyIndex: number, reply: Buffer, start: number, end: number): void {
    if (this.#isAbandoned) return;
    if (this.#valuesSize + end - start > limits.mgetValuesSizeMax) return this.fail(keyIndex, 'response_full');
    if (this.#lastReply?.bytes !== reply && !this.#hold(reply)) return this.fail(keyIndex, 'overloaded');
    this.#valuesSize += end - start;
    this.#replies[keyIndex] = this.#lastReply;
    this.#starts[keyIndex] = start;
    this.#ends[keyIndex] = end;
    this.#settled();
  }

  miss(): void {
    this.#settled();
  }

  /** Nobody waits for them any more, and not all will come. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#drop();
  }

  fail(keyIndex: number, code: ErrorCode): void {
    this.#failures[keyIndex] = code;
    this.#settled();
  }

  #settled(): void {
    if (--this.#unsettled > 0) return;
    const body = this.#write();
    this.#admission.owed.hold(body.buffer.bytes.buffer);
    this.#drop();
    this.#onDone(body);
  }

  /** False when there is no room for it. */
  #hold(reply: Buffer): boolean {
    if (this.#admission.refusesValue(reply.buffer)) return false;
    this.#admission.owed.hold(reply.buffer);
    this.#memories.push(reply.buffer);
    this.#lastReply = asWordBuffer(reply);
    return true;
  }

  #drop(): void {
    for (const memory of this.#memories) this.#admission.owed.drop(memory);
    this.#memories = [];
    this.#replies.length = 0;
    this.#lastReply = undefined;
  }

  #write(): Outgoing {
    const { starts, ends } = this.#keys;
    const count = starts.length;
    let keysSize = 0;
    for (let i = 0; i < count; i++) keysSize += ends[i]! - starts[i]!;
    const json = new JsonBytes(resultOverhead * (count + 1) + keysSize + this.#valuesSize);
    json.raw(`{"version":"${this.#versionId}","results":[`);
    for (let i = 0; i < count; i++) {
      this.#writeKey(json, i);
      if (this.#replies[i]) this.#writeValue(json, i, this.#replies[i]!);
      else if (this.#failures[i]) json.raw(`,"status":"unavailable","code":"${this.#failures[i]}"}`);
      else json.bytes(texts.missing.source, 0, texts.missing.size);
    }
    json.raw(']}');
    return json.written;
  }

  #writeKey(json: JsonBytes, i: number): void {
    const { source, starts, ends } = this.#keys;
    const text = i === 0 ? texts.key : texts.nextKey;
    json.bytes(text.source, 0, text.size);
    if (json.plainText(source, starts[i]!, ends[i]!)) return;
    json.unwrite(text.size);
    json.raw(`${i === 0 ? '{' : ',{'}${fieldOf('key', 'keyEncoding', source.bytes.subarray(starts[i], ends[i]))}`);
  }

  #writeValue(json: JsonBytes, i: number, reply: WordBuffer): void {
    const start = this.#starts[i]!;
    const end = this.#ends[i]!;
    json.bytes(texts.found.source, 0, texts.found.size);
    if (!json.plainText(reply, start, end)) {
      json.unwrite(valueNameSize);
      json.raw(fieldOf('value', 'encoding', reply.bytes.subarray(start, end)));
    }
    json.bytes(texts.end.source, 0, texts.end.size);
  }
}

const valueNameSize = '"value":"'.length;
