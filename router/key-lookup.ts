// One key on its way: bound to one version when its request is admitted, asked of a holder, at most once more of another,
// settled exactly once: by an answer, by a failure, or by its deadline. Requests extend it and say what an answer means to them.
//
// The same key asked again while it is on its way is not asked twice: the later lookup follows the first and is settled with it. A
// leader whose own deadline passes stays on its way as long as a follower waits.

import type { ErrorCode } from '../shared/errors.ts';
import { keyHash32OfLatin1, type SliceIndex, sliceIndexOf } from '../shared/key-hash.ts';
import { WheelEntry } from './deadline-wheel.ts';
import type { Answer } from './hot-answers.ts';
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
  readonly #engine: LookupEngine;
  /** How often it was sent, not counting repetitions that the shard asked for. */
  tries = 0;
  /** The member that was asked last. */
  lastLane: MemberLane | undefined = undefined;
  #settled = false;
  #leader: KeyLookup | undefined = undefined;
  #followers: KeyLookup[] | undefined = undefined;
  /** Itself and its followers, as far as they are not settled. */
  #waiting = 1;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string) {
    super();
    this.#engine = engine;
    this.version = version;
    this.key = key;
    this.keyHash32 = keyHash32OfLatin1(key);
    this.sliceIndex = sliceIndexOf(this.keyHash32, version.sliceBits);
  }

  /** Nobody waits for it any more. */
  get isSettled(): boolean {
    return this.#waiting === 0;
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

  settleAnswered(answer: Answer): void {
    this.#engine.endFlight(this);
    if (this.#settle()) this.onAnswer(answer);
    if (this.#followers) for (const follower of this.#followers) if (follower.#settle()) follower.onAnswer(answer);
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

  protected abstract onAnswer(answer: Answer): void;
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
