// The innermost loop of the split: bytes to records. It copies nothing; it notes of each record where key and value stand
// and what the key hashes to, in columns that the caller reuses for every batch.
//
//     bytes:   k e y SEP v a l u e [CR] LF k e y SEP …
//              │     │             │
//        keyStart  keyEnd       valueEnd            (the value starts at keyEnd + 1)
//
// Lines that are no records are noted apart. Nothing here knows files, chunks or threads.

import { keyHash32 } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { carriageReturn, type LineRules, newline, reasonAgainst } from './line-rules.ts';

export type BadLine = {
  /** Place of the line without its newline, but with its CR. */
  readonly start: number;
  readonly end: number;
  /** Number of the line among those scanned since `clearLines`, from 0. */
  readonly lineIndex: number;
  readonly reason: string;
};

/** What a scan found: one row a record in the columns, up to `recordCount`. */
export type ScannedLines = {
  readonly hashes: Uint32Array;
  readonly keyStarts: Uint32Array;
  readonly keyEnds: Uint32Array;
  readonly valueEnds: Uint32Array;
  readonly lineIndexes: Uint32Array;
  recordCount: number;
  badLines: BadLine[];
  /** These two run on from batch to batch. */
  lineCount: number;
  blankCount: number;
};

export function makeScannedLines(recordsMax: number): ScannedLines {
  const column = (): Uint32Array => new Uint32Array(recordsMax);
  return {
    hashes: column(),
    keyStarts: column(),
    keyEnds: column(),
    valueEnds: column(),
    lineIndexes: column(),
    recordCount: 0,
    badLines: [],
    lineCount: 0,
    blankCount: 0,
  };
}

/** Makes room for the next batch of the same chunk. */
export function clearBatch(lines: ScannedLines): void {
  lines.recordCount = 0;
  lines.badLines = [];
}

/** Makes ready for another chunk. */
export function clearLines(lines: ScannedLines): void {
  clearBatch(lines);
  lines.lineCount = 0;
  lines.blankCount = 0;
}

/**
 * Scans `bytes` from `from`, where a line begins, to its end, which ends a line with or without a newline. Stops
 * early when the columns are full or, if bad lines are errors, after one. Returns where the next line begins.
 */
export function scanLines(bytes: Buffer, from: number, rules: LineRules, lines: ScannedLines): number {
  const { hashes, keyStarts, keyEnds, valueEnds, lineIndexes } = lines;
  const { separator, keepCr } = rules;
  const rowsMax = hashes.length;
  let row = 0;
  let at = from;
  let separatorAt = -1;
  while (at < bytes.length && row + lines.badLines.length < rowsMax) {
    const next = indexOrEnd(bytes, newline, at);
    const end = !keepCr && next > at && bytes[next - 1] === carriageReturn ? next - 1 : next;
    // Searched again only when it is passed: lines without a separator do not make the scan quadratic.
    if (separatorAt < at) separatorAt = indexOrEnd(bytes, separator, at);
    const keySize = separatorAt - at;
    const isRecord = separatorAt < end && keySize > 0 && keySize <= limits.keySizeMax && end - separatorAt - 1 <= limits.valueSizeMax;
    if (isRecord) {
      hashes[row] = keyHash32(bytes, at, separatorAt);
      keyStarts[row] = at;
      keyEnds[row] = separatorAt;
      valueEnds[row] = end;
      lineIndexes[row] = lines.lineCount;
      row++;
    } else if (end === at) {
      lines.blankCount++;
    } else {
      const reason = reasonAgainst(bytes, at, end, separator)!;
      lines.badLines.push({ start: at, end: next, lineIndex: lines.lineCount, reason });
    }
    lines.lineCount++;
    at = next + 1;
    if (lines.badLines.length > 0 && rules.badLines === 'error') break;
  }
  lines.recordCount = row;
  return Math.min(at, bytes.length);
}

function indexOrEnd(bytes: Buffer, byte: number, from: number): number {
  const index = bytes.indexOf(byte, from);
  return index < 0 ? bytes.length : index;
}
