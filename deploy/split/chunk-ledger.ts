// What the chunks of the first pass held, by their ordinals: turns a line of a chunk into a line of a file, and picks the bad
// line that comes first in the input, whichever worker found which one first.

import type { ChunkReport, FirstBadLine } from './chunk-spiller.ts';
import type { Origin } from './record-arena.ts';

export type LedgerTotals = {
  readonly lines: number;
  readonly records: number;
  readonly blankLines: number;
  readonly rejectedLines: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
};

export class ChunkLedger {
  readonly #entries: ChunkReport[] = [];
  #totals: LedgerTotals = { lines: 0, records: 0, blankLines: 0, rejectedLines: 0, keyBytes: 0, valueBytes: 0 };
  #bad: { at: Origin; line: FirstBadLine } | undefined;

  add(report: ChunkReport): void {
    const { ordinal, lineCount, recordCount, blankCount, rejectedCount, keyBytes, valueBytes, badLine } = report;
    this.#entries[ordinal] = report;
    this.#totals = {
      lines: this.#totals.lines + lineCount,
      records: this.#totals.records + recordCount,
      blankLines: this.#totals.blankLines + blankCount,
      rejectedLines: this.#totals.rejectedLines + rejectedCount,
      keyBytes: this.#totals.keyBytes + keyBytes,
      valueBytes: this.#totals.valueBytes + valueBytes,
    };
    if (!badLine || (this.#bad && this.#bad.at.chunkOrdinal < ordinal)) return;
    this.#bad = { at: { chunkOrdinal: ordinal, lineIndex: badLine.lineIndex }, line: badLine };
  }

  /** The reports in the order of the chunks. */
  get chunks(): readonly ChunkReport[] {
    return this.#entries;
  }

  get totals(): LedgerTotals {
    return this.#totals;
  }

  /** The first bad line of the input, once the chunks before it are in; undefined when there is none. */
  get firstBadLine(): { readonly at: Origin; readonly line: FirstBadLine } | undefined {
    return this.#bad;
  }

  /** The file of a line, and its number there, from 1. The chunks before it must be in. */
  placeOf({ chunkOrdinal, lineIndex }: Origin): { inputIndex: number; lineNumber: number } {
    const { inputIndex } = this.#entries[chunkOrdinal]!;
    let lineNumber = lineIndex + 1;
    for (let ordinal = chunkOrdinal - 1; this.#entries[ordinal]?.inputIndex === inputIndex; ordinal--) {
      lineNumber += this.#entries[ordinal]!.lineCount;
    }
    return { inputIndex, lineNumber };
  }
}
