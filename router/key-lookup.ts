// One key on its way: bound to one version when its request is admitted, asked of a holder, at most once more of another,
// settled exactly once: by an answer, by a failure, or by its deadline. Requests extend it and say what an answer means to them.

import type { ErrorCode } from '../shared/errors.ts';
import { keyHash32OfLatin1, type SliceIndex, sliceIndexOf } from '../shared/key-hash.ts';
import { WheelEntry } from './deadline-wheel.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { MemberLane } from './member-lane.ts';
import type { RoutedVersion } from './routed-version.ts';

export abstract class KeyLookup extends WheelEntry {
  /** One character a byte. */
  readonly key: string;
  readonly version: RoutedVersion;
  readonly sliceIndex: SliceIndex;
  readonly #engine: LookupEngine;
  /** How often it was sent, not counting repetitions that the shard asked for. */
  tries = 0;
  /** The member that was asked last. */
  lastLane: MemberLane | undefined = undefined;
  #settled = false;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string) {
    super();
    this.#engine = engine;
    this.version = version;
    this.key = key;
    this.sliceIndex = sliceIndexOf(keyHash32OfLatin1(key), version.sliceBits);
  }

  get isSettled(): boolean {
    return this.#settled;
  }

  /** The value is `bytes` from `start` to `end` (exclusive); the receiver may keep the view. */
  settleFound(bytes: Buffer, start: number, end: number): void {
    if (this.#settle()) this.onFound(bytes, start, end);
  }

  settleMissing(): void {
    if (this.#settle()) this.onMissing();
  }

  settleFailed(code: ErrorCode): void {
    if (this.#settle()) this.onFailed(code);
  }

  override expire(): void {
    this.#engine.counts.expired++;
    this.settleFailed('deadline_exceeded');
  }

  protected abstract onFound(bytes: Buffer, start: number, end: number): void;
  protected abstract onMissing(): void;
  protected abstract onFailed(code: ErrorCode): void;

  /** False when it was settled before: a late reply after the deadline. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#engine.release(this);
    return true;
  }
}
