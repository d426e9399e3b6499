// A version in a simulated shard: what held-version.ts is, as an array of states.

import { reportOf, type SliceState } from '../../shard/held-version.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import type { VersionReport } from '../../shared/status-report.ts';

export class SimulatedVersion {
  readonly id: string;
  readonly sliceCount: number;
  readonly states: SliceState[];
  sequence: number;
  isSettled = false;
  readonly #lastAskedMs: (number | undefined)[];
  #endsFromReport: number | undefined;
  #report: VersionReport | undefined;

  constructor(version: { readonly id: string; readonly sequence: number; readonly sliceCount: number }) {
    this.id = version.id;
    this.sequence = version.sequence;
    this.sliceCount = version.sliceCount;
    this.states = new Array<SliceState>(version.sliceCount).fill('absent');
    this.#lastAskedMs = new Array(version.sliceCount).fill(undefined);
  }

  readonly stateOf = (i: SliceIndex): SliceState => this.states[i]!;
  readonly lastAskedMs = (i: SliceIndex): number | undefined => this.#lastAskedMs[i];

  /** It can answer from the slice. */
  has(sliceIndex: number): boolean {
    const state = this.states[sliceIndex];
    return state === 'kept' || state === 'yielding';
  }

  become(i: number, state: SliceState): void {
    if (state === 'yielding') this.#lastAskedMs[i] = undefined;
    this.states[i] = state;
    this.#report = undefined;
  }

  /** Somebody asks for a key of the slice, at `nowMs`. */
  asked(i: number, nowMs: number): void {
    if (this.states[i] === 'yielding') this.#lastAskedMs[i] = nowMs;
  }

  /** Reported as yielding from this report on; undefined: not any more. */
  end(fromReport: number | undefined): void {
    this.#endsFromReport = fromReport;
    this.#report = undefined;
  }

  get endsFromReport(): number | undefined {
    return this.#endsFromReport;
  }

  /** The same object as long as nothing has changed: comparing reports is most of what a simulation does. */
  report(inUse: boolean): VersionReport {
    const settled = this.isSettled && this.#endsFromReport === undefined;
    const known = this.#report;
    if (known?.sequence === this.sequence && known.inUse === inUse && known.settled === settled) return known;
    this.#report = reportOf(this, inUse);
    return this.#report;
  }
}
