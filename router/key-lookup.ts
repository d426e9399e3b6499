// One key on its way: bound to one version when its request is admitted, asked of a holder, at most once more of another,
// settled exactly once: by an answer, by a failure, or by its deadline. Requests extend it and say what an answer means to them.
//
// It may be on its way to two holders at once, by a hedge or a probe: the first answer counts, and a failure only when it is the last.
//
// The same key asked again while it is on its way is not asked twice: the later lookup follows the first and is settled with it. A
// leader whose own deadline passes stays on its way as long as a follower waits.

import { writeKey } from '../shared/batch-wire.ts';
import type { ErrorCode } from '../shared/errors.ts';
import { keyHash32OfLatin1, type SliceIndex, sliceIndexOf } from '../shared/key-hash.ts';
import type { WordBuffer } from '../shared/word-copy.ts';
import { WheelEntry } from './deadline-wheel.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { MemberLane } from './member-lane.ts';
import type { RoutedVersion } from './routed-version.ts';

export abstract class KeyLookup extends WheelEntry {
  /** One character a byte. */
  readonly key: string;
  readonly version: RoutedVersion;
  readonly keyHash32: number;
  readonly sliceIndex: SliceIndex;
  /** Owned by `Flights`: the next in its chain. */
  nextFlight: KeyLookup | undefined = undefined;
  /** One of many keys of an /mget: single GETs go before it. */
  readonly isBulk: boolean;
  readonly #engine: LookupEngine;
  /** Owned by the engine: how many lanes have it, waiting or under way. */
  outstanding = 0;
  /** Owned by the engine: how often it was queued, not counting repetitions that the shard asked for. */
  asks = 0;
  /** Owned by the engine: how often it was taken out of the queue of a lane that stood still, for another one. */
  moves = 0;
  /** Owned by the engine: how many members failed to answer it. */
  tries = 0;
  /** Owned by the engine: the member that was asked last, and the one before. */
  lastLane: MemberLane | undefined = undefined;
  previousLane: MemberLane | undefined = undefined;
  /** Owned by the engine: the member that has failed to answer it; a second one ends it. */
  failedLane: MemberLane | undefined = undefined;
  #settled = false;
  #leader: KeyLookup | undefined = undefined;
  #followers: KeyLookup[] | undefined = undefined;
  /** Itself and its followers, as far as they are not settled. */
  #waiting = 1;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, isBulk: boolean) {
    super();
    this.#engine = engine;
    this.version = version;
    this.key = key;
    this.isBulk = isBulk;
    this.keyHash32 = keyHash32OfLatin1(key);
    this.sliceIndex = sliceIndexOf(this.keyHash32, version.sliceBits);
  }

  get keyCount(): number {
    return 1;
  }

  get wireSize(): number {
    return 2 + this.key.length;
  }

  writeTo(target: WordBuffer, at: number): number {
    return writeKey(target, at, this.key);
  }

  /** Nobody waits for it any more. */
  get isSettled(): boolean {
    return this.#waiting === 0;
  }

  /** It has been told its end, though followers may still wait. */
  get isOver(): boolean {
    return this.#settled;
  }

  get followerCount(): number {
    return this.#followers?.length ?? 0;
  }

  /** `follower` asks for the same key of the same version: it gets what this one gets. */
  lead(follower: KeyLookup): void {
    follower.#leader = this;
    this.#waiting++;
    if (this.#followers) this.#followers.push(follower);
    else this.#followers = [follower];
  }

  /** The value is `reply[start, end)`; nobody changes the bytes any more. */
  settleFound(reply: Buffer, start: number, end: number): void {
    this.#engine.endFlight(this);
    if (this.#settle()) this.onFound(reply, start, end);
    if (this.#followers) for (const follower of this.#followers) if (follower.#settle()) follower.onFound(reply, start, end);
  }

  settleMissing(): void {
    this.#engine.endFlight(this);
    if (this.#settle()) this.onMissing();
    if (this.#followers) for (const follower of this.#followers) if (follower.#settle()) follower.onMissing();
  }

  settleFailed(code: ErrorCode): void {
    this.#engine.endFlight(this);
    if (this.#settle()) this.onFailure(code);
    if (this.#followers) for (const follower of this.#followers) if (follower.#settle()) follower.onFailure(code);
  }

  /** Its own deadline: that of its followers is later. The last of them ends the flight, since nobody asks on for it. */
  override expire(): void {
    this.#engine.counts.expired++;
    if (this.#settle()) this.onFailure('deadline_exceeded');
    const leader = this.#leader ?? this;
    if (leader.isSettled) this.#engine.endFlight(leader);
  }

  protected abstract onFound(reply: Buffer, start: number, end: number): void;
  protected abstract onMissing(): void;
  /** `version_not_held`: everybody who was asked says that it has no such slice of the version. Not for clients: see `clientCodeOf`. */
  protected abstract onFailure(code: ErrorCode): void;

  /** False when it was settled before: a late reply after the deadline. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    (this.#leader ?? this).#waiting--;
    this.#engine.release(this);
    return true;
  }
}

/** What a client is told of a failure. */
export function clientCodeOf(code: ErrorCode): ErrorCode {
  return code === 'version_not_held' ? 'slice_unavailable' : code;
}
