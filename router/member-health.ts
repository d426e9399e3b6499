// How one member fares, as its own requests show it. Pure state over a clock and a source of chance from outside;
// the member's lane tells it what happens and does what it says.
//
//               5 failures in a row, or 500 ms of silence
//     in service ────────────────────────────────────────> ejected ──1 s, 2 s, ... 30 s──> probe due ──> probe under way
//         ^                                                   ^                                          │      │
//         └──────────────────── an answer ────────────────────┼──────────────────────────────────────────┘      │
//                                                             └──────────────── failure, or silence ────────────┘
//
// An ejected member is asked only where nobody else holds the slice. One that has been silent for `memberGoneMs` is *gone*: not even there.
// Silence is the time without any answer while something is under way; it ends with any answer, and with a connection that ends.

import { limits } from '../shared/limits.ts';
import { LatencyQuantile } from './latency-quantile.ts';

export type EjectionCause = 'failures' | 'silence';

export class MemberHealth {
  /** From 0 to below 1. */
  readonly #random: () => number;
  readonly #latency = new LatencyQuantile();
  #inFlight = 0;
  /** The last answer, or the moment since when something is under way. */
  #quietSinceMs = 0;
  #failuresInRow = 0;
  #ejectedFor: EjectionCause | undefined;
  /** Ejected or found silent, and not one answer since. */
  #isSilent = false;
  #probeDelayMs = 0;
  /** Infinite while a probe is under way, or none is needed. */
  #probeDueMs = Number.POSITIVE_INFINITY;
  #returnedMs = Number.NEGATIVE_INFINITY;
  /** Since the start: for `/status`. */
  readonly counts = { ejections: 0, probes: 0 };

  constructor(random: () => number) {
    this.#random = random;
  }

  get ejectedFor(): EjectionCause | undefined {
    return this.#ejectedFor;
  }

  get isEjected(): boolean {
    return this.#ejectedFor !== undefined;
  }

  /** When the next probe may go; infinite when none should. */
  get probeDueMs(): number {
    return this.#probeDueMs;
  }

  /** The latency that most of its batches stay below; undefined as long as too little is known. */
  get latencyMs(): number | undefined {
    return this.#latency.estimateMs;
  }

  /** After which the keys of a batch are sent to another holder as well. */
  get hedgeDelayMs(): number {
    const usualMs = this.#latency.estimateMs ?? limits.hedgeDelayUnknownMs;
    return Math.min(limits.ejectSilenceMs, Math.max(limits.hedgeDelayMinMs, usualMs));
  }

  /** Nothing has come since `sinceMs`. */
  isQuietSince(sinceMs: number): boolean {
    return this.#inFlight > 0 && this.#quietSinceMs <= sinceMs;
  }

  /** How long nothing has come while something was under way. */
  silentForMs(nowMs: number): number {
    return this.#inFlight > 0 || this.#isSilent ? nowMs - this.#quietSinceMs : 0;
  }

  /** Silent for so long that nobody should wait for it. */
  isGone(nowMs: number): boolean {
    return this.#isSilent && nowMs - this.#quietSinceMs >= limits.memberGoneMs;
  }

  sent(nowMs: number): void {
    // Whoever is silent stays so, also when the sockets of its last batches have been given up.
    if (this.#inFlight++ === 0 && !this.#isSilent) this.#quietSinceMs = nowMs;
  }

  /** A reply came, whole and well-formed, `latencyMs` after its batch was sent. `isProbe`: to the probe that is under way. */
  answered(nowMs: number, { latencyMs, isProbe }: { latencyMs: number; isProbe: boolean }): void {
    this.#heard(nowMs);
    this.#failuresInRow = 0;
    this.#latency.note(latencyMs);
    if (this.isEjected && (isProbe || nowMs >= this.#probeDueMs)) this.#return(nowMs);
  }

  /** A batch has no answer. `isSilence`: nothing came at all, not even the end of the connection. True when that ejects the member. */
  failed(nowMs: number, { isSilence, isProbe }: { isSilence: boolean; isProbe: boolean }): boolean {
    if (isSilence) this.#inFlight--;
    else this.#heard(nowMs);
    if (isProbe) this.probeFailed(nowMs);
    if (++this.#failuresInRow < limits.ejectFailures || this.isEjected) return false;
    this.#eject('failures', nowMs);
    return true;
  }

  /** Looks at the clock. True when its silence ejects the member now. */
  checkSilence(nowMs: number): boolean {
    if (this.silentForMs(nowMs) < limits.ejectSilenceMs) return false;
    this.#isSilent = true;
    if (this.isEjected) return false;
    this.#eject('silence', nowMs);
    return true;
  }

  isProbeDue(nowMs: number): boolean {
    return nowMs >= this.#probeDueMs;
  }

  probeSent(): void {
    this.counts.probes++;
    this.#probeDueMs = Number.POSITIVE_INFINITY;
  }

  /** The probe under way has failed, or nothing has come for `ejectSilenceMs`: the next one waits twice as long. */
  probeFailed(nowMs: number): void {
    if (!this.isEjected || this.#probeDueMs !== Number.POSITIVE_INFINITY) return;
    this.#scheduleProbe(nowMs, 2 * this.#probeDelayMs);
  }

  /** The polls say that it is back: worth a probe, if none is under way. */
  cameBack(nowMs: number): void {
    if (this.#probeDueMs !== Number.POSITIVE_INFINITY) this.#probeDueMs = Math.min(this.#probeDueMs, nowMs);
  }

  #heard(nowMs: number): void {
    this.#inFlight--;
    this.#quietSinceMs = nowMs;
    this.#isSilent = false;
  }

  #eject(cause: EjectionCause, nowMs: number): void {
    this.counts.ejections++;
    this.#ejectedFor = cause;
    const isRelapse = nowMs - this.#returnedMs < limits.probeForgiveMs;
    this.#scheduleProbe(nowMs, isRelapse ? 2 * this.#probeDelayMs : limits.probeDelayMinMs);
  }

  #return(nowMs: number): void {
    this.#ejectedFor = undefined;
    this.#failuresInRow = 0;
    this.#probeDueMs = Number.POSITIVE_INFINITY;
    this.#returnedMs = nowMs;
  }

  #scheduleProbe(nowMs: number, delayMs: number): void {
    this.#probeDelayMs = Math.min(limits.probeDelayMaxMs, Math.max(limits.probeDelayMinMs, delayMs));
    this.#probeDueMs = nowMs + this.#probeDelayMs * (1 + limits.probeJitter * (2 * this.#random() - 1));
  }
}
