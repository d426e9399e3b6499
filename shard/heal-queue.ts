// What is to be healed and when it is tried: pure state over a clock. What fails is tried again after a delay that doubles.

import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';

/**
 * `slice`: it is corrupt, and not served. `file`: what is served is right, but its file on the disk is not.
 */
export type Ailment<Version> = {
  readonly version: Version;
  readonly sliceIndex: SliceIndex;
  readonly kind: 'slice' | 'file';
  /** For messages: what was found first. */
  readonly reason: string;
  readonly failures: number;
  /** The fingerprint of the file when it was last found to be damaged: it need not be read again until that changes. */
  readonly fileSeen: string | undefined;
  readonly dueMs: number;
};

/** At most one ailment a slice: what is corrupt needs its file as well. */
export class HealQueue<Version extends object> {
  readonly #ailments: Ailment<Version>[] = [];

  get ailments(): readonly Ailment<Version>[] {
    return this.#ailments;
  }

  /** Due at once, unless it was healed `relapses` times shortly before. False when the slice is known to ail in this way or in a worse one. */
  add(found: Pick<Ailment<Version>, 'version' | 'sliceIndex' | 'kind' | 'reason'>, nowMs: number, relapses = 0): boolean {
    const known = this.find(found.version, found.sliceIndex);
    if (known && (known.kind === 'slice' || found.kind === 'file')) return false;
    if (known) this.remove(known);
    this.#ailments.push({ ...found, failures: relapses, fileSeen: undefined, dueMs: nowMs + delayAfter(relapses) });
    return true;
  }

  find(version: Version, sliceIndex: SliceIndex): Ailment<Version> | undefined {
    return this.#ailments.find((ailment) => ailment.version === version && ailment.sliceIndex === sliceIndex);
  }

  /** The one that is due the longest. */
  next(nowMs: number): Ailment<Version> | undefined {
    const first = this.#first();
    return first && first.dueMs <= nowMs ? first : undefined;
  }

  /** Until the next one is due; undefined when there is none. */
  delayMs(nowMs: number): number | undefined {
    const first = this.#first();
    return first && Math.max(0, first.dueMs - nowMs);
  }

  /** Could not be healed, and is tried again later; `isBusy`: soon, since that was nobody's fault. */
  failed(ailment: Ailment<Version>, { nowMs, isBusy, fileSeen }: { nowMs: number; isBusy: boolean; fileSeen: string | undefined }): void {
    if (!this.remove(ailment)) return;
    const failures = ailment.failures + (isBusy ? 0 : 1);
    const delayMs = isBusy ? limits.fetchBusyDelayMs : delayAfter(failures);
    this.#ailments.push({ ...ailment, failures, fileSeen, dueMs: nowMs + delayMs });
  }

  /** False when it was not there. */
  remove(ailment: Ailment<Version>): boolean {
    const at = this.#ailments.indexOf(ailment);
    if (at < 0) return false;
    this.#ailments.splice(at, 1);
    return true;
  }

  #first(): Ailment<Version> | undefined {
    let first: Ailment<Version> | undefined;
    for (const ailment of this.#ailments) if (!first || ailment.dueMs < first.dueMs) first = ailment;
    return first;
  }
}

function delayAfter(failures: number): number {
  return failures === 0 ? 0 : Math.min(limits.healDelayMaxMs, limits.healDelayMinMs * 2 ** (failures - 1));
}
