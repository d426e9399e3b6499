// What is refused before anything is made for it: the engine is full of keys, or memory of answers.

import { limits } from '../shared/limits.ts';
import type { OwedMemory } from '../shared/owed-memory.ts';
import type { LookupEngine } from './lookup-engine.ts';

export class Admission {
  readonly owed: OwedMemory;
  readonly #engine: Pick<LookupEngine, 'isFull' | 'isFullForBulk' | 'counts'>;

  constructor(engine: Pick<LookupEngine, 'isFull' | 'isFullForBulk' | 'counts'>, { owed }: { readonly owed: OwedMemory }) {
    this.#engine = engine;
    this.owed = owed;
  }

  /** Counts a GET that is. */
  refusesGet(): boolean {
    return this.#counted(this.#engine.isFull || this.owed.isFull);
  }

  /** Counts an /mget that is. */
  refusesMget(): boolean {
    return this.#counted(this.#engine.isFullForBulk || this.owed.isFullForLarge);
  }

  /** Counts a value that there is no room for: it lies in `memory`. */
  refusesValue(memory: ArrayBufferLike): boolean {
    return this.#counted(!this.owed.hasRoomFor(memory));
  }

  #counted(isRefused: boolean): boolean {
    if (isRefused) this.#engine.counts.overloaded++;
    return isRefused;
  }
}

/** How much memory answers may take in a router that is one of `workers`, of what is `available` to all of them; in bytes. */
export function owedSizeMaxFor(available: number, workers: number): number {
  const share = Math.floor((available * limits.owedMemoryShare) / workers);
  return Math.min(limits.owedSizeMax, Math.max(limits.owedSizeMin, share));
}
