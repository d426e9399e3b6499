// The keys of one /mget on their way together: bound to one version, one deadline for all. Those for one shard are a `BulkPart`, which waits, leaves
// and is answered as one; what is `found` or `missing` is settled there and then, and that is all that happens to nearly every key.
//
// A key that has to go another way, since its batch failed or is late, or its shard says anything else, is taken out: from then on it is a
// `KeyLookup` like that of a GET, with all that can happen to one. So whatever is decided about failures is decided in one place, for single keys.
//
//     BulkLookup ─┬─ BulkPart for lane a ─ reply ─> settled, settled, …, taken out ─> KeyLookup ─> settled
//                 └─ BulkPart for lane b ─ late ──> taken apart ─> a KeyLookup for each
//
// It neither follows flights nor asks the hot answers: to look a key up there costs as much as all of this.

import { writeKeyBytes } from '../shared/batch-wire.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { WordBuffer } from '../shared/word-copy.ts';
import { WheelEntry } from './deadline-wheel.ts';
import type { KeyLookup } from './key-lookup.ts';
import type { KeyRanges } from './key-ranges.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

export abstract class BulkLookup extends WheelEntry {
  readonly version: RoutedVersion;
  readonly keys: KeyRanges;
  readonly #engine: LookupEngine;
  /** 1 for a key that is settled, or was taken out. */
  readonly #isGone: Uint8Array;
  #leftCount: number;

  constructor(engine: LookupEngine, version: RoutedVersion, keys: KeyRanges) {
    super();
    this.#engine = engine;
    this.version = version;
    this.keys = keys;
    this.#leftCount = keys.starts.length;
    this.#isGone = new Uint8Array(this.#leftCount);
  }

  /** Nothing of it waits any more, but for the keys that were taken out. */
  get isSettled(): boolean {
    return this.#leftCount === 0;
  }

  /** The value of key `i` is `reply[start, end)`; nobody changes the bytes any more. */
  settleFound(i: number, reply: Buffer, start: number, end: number): void {
    this.#leave(i);
    this.#engine.releaseBulk(this);
    this.onFound(i, reply, start, end);
  }

  settleMissing(i: number): void {
    this.#leave(i);
    this.#engine.releaseBulk(this);
    this.onMissing(i);
  }

  settleFailed(i: number, code: ErrorCode): void {
    this.#leave(i);
    this.#engine.releaseBulk(this);
    this.onFailure(i, code);
  }

  /** Key `i` as a look-up of its own; what it counted for counts for that from now on. */
  takeOut(i: number): KeyLookup {
    this.#leave(i);
    return this.lookupOf(i);
  }

  override expire(): void {
    this.#engine.counts.expired += this.#leftCount;
    for (let i = 0; i < this.#isGone.length; i++) if (this.#isGone[i] === 0) this.settleFailed(i, 'deadline_exceeded');
  }

  protected abstract onFound(i: number, reply: Buffer, start: number, end: number): void;
  protected abstract onMissing(i: number): void;
  protected abstract onFailure(i: number, code: ErrorCode): void;
  /** A look-up of key `i` alone, which tells the same request. */
  abstract lookupOf(i: number): KeyLookup;

  #leave(i: number): void {
    this.#isGone[i] = 1;
    this.#leftCount--;
  }
}

/** Some keys of a request, for one lane. */
export class BulkPart {
  readonly isBulk = true;
  readonly request: BulkLookup;
  /** Of its keys in the request. */
  readonly indices: number[] = [];
  /** Once it was taken apart: for each key its look-up. Empty when nobody waited for them any more. */
  lookups: readonly KeyLookup[] | undefined = undefined;
  #wireSize = 0;

  constructor(request: BulkLookup) {
    this.request = request;
  }

  add(keyIndex: number): void {
    const { starts, ends } = this.request.keys;
    this.indices.push(keyIndex);
    this.#wireSize += 2 + ends[keyIndex]! - starts[keyIndex]!;
  }

  get version(): RoutedVersion {
    return this.request.version;
  }

  get keyCount(): number {
    return this.indices.length;
  }

  get isSettled(): boolean {
    return this.request.isSettled;
  }

  get wheelDueTick(): number {
    return this.request.wheelDueTick;
  }

  get wireSize(): number {
    return this.#wireSize;
  }

  writeTo(target: WordBuffer, at: number): number {
    const { source, starts, ends } = this.request.keys;
    let end = at;
    for (const i of this.indices) end = writeKeyBytes(target, end, source, starts[i]!, ends[i]!);
    return end;
  }
}
