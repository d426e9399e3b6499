import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LineRules } from '../../../deploy/split/line-rules.ts';
import { clearBatch, makeScannedLines, type ScannedLines, scanLines } from '../../../deploy/split/line-scanner.ts';
import { keyHash32 } from '../../../shared/key-hash.ts';
import { splitPlainly } from './plain-split.ts';

const rules: LineRules = { separator: 0x20, keepCr: false, badLines: 'skip', duplicates: 'last' };

type Scan = { records: [string, string][]; hashes: number[]; lineIndexes: number[]; bad: string[]; reasons: string[]; lines: ScannedLines };

/** All batches of a text, as strings. */
function scanAll(text: string, options: Partial<LineRules> = {}, rowsMax = 4): Scan {
  const bytes = Buffer.from(text, 'latin1');
  const lines = makeScannedLines(rowsMax);
  const scan: Scan = { records: [], hashes: [], lineIndexes: [], bad: [], reasons: [], lines };
  for (let at = 0; at < bytes.length; ) {
    clearBatch(lines);
    at = scanLines(bytes, at, { ...rules, ...options }, lines);
    for (let row = 0; row < lines.recordCount; row++) {
      const keyEnd = lines.keyEnds[row]!;
      const key = bytes.toString('latin1', lines.keyStarts[row], keyEnd);
      scan.records.push([key, bytes.toString('latin1', keyEnd + 1, lines.valueEnds[row])]);
      scan.hashes.push(lines.hashes[row]!);
      scan.lineIndexes.push(lines.lineIndexes[row]!);
    }
    for (const { start, end, reason } of lines.badLines) {
      scan.bad.push(bytes.toString('latin1', start, end));
      scan.reasons.push(reason);
    }
    if (lines.badLines.length > 0 && options.badLines === 'error') break;
  }
  return scan;
}

const anyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(' ', ' ', '\n', '\n', '\r\n', '\r', ',', 'k', 'key', 'value', 'k'.repeat(2048)),
      fc.integer({ min: 0, max: 255 }).map((n) => String.fromCharCode(n)),
    ),
    {
      maxLength: 60,
    },
  )
  .map((parts) => parts.join(''));

describe('the line scanner', () => {
  test('finds what a split by strings finds, in batches of any size', () => {
    fc.assert(
      fc.property(anyText, fc.boolean(), fc.constantFrom(' ', ','), fc.integer({ min: 1, max: 9 }), (text, keepCr, separator, rowsMax) => {
        // A scanner sees no byte order mark: whoever reads a file skips it.
        const plain = splitPlainly([text.startsWith('\xef\xbb\xbf') ? `\xef\xbb\xbf${text}` : text], {
          separator,
          keepCr,
          duplicates: 'last',
        });
        const scan = scanAll(text, { keepCr, separator: separator.charCodeAt(0) }, rowsMax);
        expect(new Map(scan.records)).toEqual(plain.records);
        expect(scan.records).toHaveLength(plain.records.size + plain.duplicates);
        expect(scan.bad).toEqual(plain.rejected);
        expect([scan.lines.lineCount, scan.lines.blankCount]).toEqual([plain.lines, plain.blankLines]);
        expect(scan.hashes).toEqual(scan.records.map(([key]) => keyHash32(Buffer.from(key, 'latin1'))));
      }),
      { numRuns: 1_000 },
    );
  });

  test('numbers the lines through, blank and bad ones too', () => {
    const scan = scanAll('a 1\n\nbad\nb 2\n\r\nc 3');
    expect(scan.lineIndexes).toEqual([0, 3, 5]);
    expect(scan.lines).toMatchObject({ lineCount: 6, blankCount: 2 });
  });

  test('stops after a bad line where bad lines are errors', () => {
    const scan = scanAll('a 1\nbad\nb 2\n', { badLines: 'error' });
    expect(scan.records).toEqual([['a', '1']]);
    expect(scan.bad).toEqual(['bad']);
    expect(scan.lines.lineCount).toBe(2);
  });

  test.for([
    ['bad', 'no separator (space)'],
    [' value', 'the key is empty'],
    ['k'.repeat(2048), 'no separator (space)'],
    ['k'.repeat(2049), 'no separator (space) after a key of at most 2048 bytes'],
    [`${'k'.repeat(2049)} v`, 'no separator (space) after a key of at most 2048 bytes'],
    [`k ${'v'.repeat(8 * 2 ** 20 + 1)}`, 'the value is longer than 8388608 bytes'],
  ] as const)('says what is wrong with a line: case %$', ([line, reason]) => {
    expect(scanAll(`${line}\r\nok 1\n`)).toMatchObject({ reasons: [reason], records: [['ok', '1']] });
  });

  test('is not slower on a text without separators than its size explains', () => {
    const startedMs = performance.now();
    const scan = scanAll('x\n'.repeat(500_000), {}, 1_000_000);
    expect(scan.bad).toHaveLength(500_000);
    // Each line looking for a separator to the end of the text would take minutes.
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });
});
