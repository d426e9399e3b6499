import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sortByHash, survivorsOf } from '../../../deploy/split/record-order.ts';
import { recordSizeOf, writeRecordHead } from '../../../shared/slice-layout.ts';

type Row = { readonly hash: number; readonly key: string };

// Few hashes and few keys, so that different keys share a hash: what real hashes hardly ever do.
const anyHash = fc.oneof(fc.constantFrom(0, 1, 0x800, 0x7fffffff, 0x80000000, 0xffffffff), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const anyRows = fc.array(fc.record({ hash: anyHash, key: fc.constantFrom('a', 'b', 'ab', 'a\xff', 'c'.repeat(200)) }), { maxLength: 60 });

function columnsOf(rows: readonly Row[]): Parameters<typeof survivorsOf>[0] {
  const bytes = Buffer.alloc(rows.reduce((size, { key }) => size + recordSizeOf(key.length, 0), 0));
  const starts = new Uint32Array(rows.length);
  const ends = new Uint32Array(rows.length);
  let at = 0;
  for (const [row, { key }] of rows.entries()) {
    starts[row] = at;
    at = writeRecordHead(bytes, at, key.length, 0);
    at += bytes.write(key, at, 'latin1');
    ends[row] = at;
  }
  return { bytes, hashes: Uint32Array.from(rows, ({ hash }) => hash), starts, ends, count: rows.length };
}

describe('the order of records', () => {
  test('is by hash, and rows of one hash stay as they came', () => {
    fc.assert(
      fc.property(fc.array(anyHash, { maxLength: 300 }), (hashes) => {
        const expected = hashes.map((_, row) => row).sort((a, b) => hashes[a]! - hashes[b]! || a - b);
        expect([...sortByHash(Uint32Array.from(hashes), hashes.length)]).toEqual(expected);
      }),
    );
  });

  test('is then by the bytes of the key, with one row for each: the last or the first', () => {
    fc.assert(
      fc.property(anyRows, fc.constantFrom('last', 'first', 'error'), (rows, policy) => {
        const kept = new Map<string, number>();
        for (const [row, { hash, key }] of rows.entries())
          if (policy === 'last' || !kept.has(`${hash} ${key}`)) kept.set(`${hash} ${key}`, row);
        const expected = [...kept.values()].sort(
          (a, b) =>
            rows[a]!.hash - rows[b]!.hash || Buffer.compare(Buffer.from(rows[a]!.key, 'latin1'), Buffer.from(rows[b]!.key, 'latin1')),
        );
        const repeated: number[] = [];
        const survivors = survivorsOf(columnsOf(rows), policy, (group, keptRow) => {
          expect(group.length).toBeGreaterThan(1);
          expect([...group]).toEqual([...group].sort((a, b) => a - b));
          expect(keptRow).toBe(policy === 'last' ? group.at(-1) : group[0]);
          repeated.push(group.length - 1);
        });
        expect([...survivors]).toEqual(expected);
        expect(repeated.reduce((sum, count) => sum + count, 0)).toBe(rows.length - expected.length);
      }),
    );
  });
});
