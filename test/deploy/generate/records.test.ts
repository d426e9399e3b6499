import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { generateLines, recordOf, valueSizeMeanMax } from '../../../deploy/generate/records.ts';
import { runPavostore } from '../data-folder.ts';

const textOf = (options: Parameters<typeof generateLines>[0]): string => Buffer.concat([...generateLines(options)]).toString('latin1');

test('input_data/example.data is ten thousand records of seed 1, to the byte', async () => {
  const example = await readFile(new URL('../../../input_data/example.data', import.meta.url), 'latin1');
  expect(example === textOf({ entries: 10_000, seed: 1 })).toBe(true);
  const { stdout, exitCode } = await runPavostore(['generate', '--entries', '10000', '--seed', '1']);
  expect([exitCode, stdout === example]).toEqual([0, true]);
});

test('a key is a version 4 UUID, a value 1 to 10 lowercase words, and no key comes twice', () => {
  const lines = textOf({ entries: 200_000, seed: 3 }).trimEnd().split('\n');
  const wordCounts = new Set<number>();
  const keys = new Set<string>();
  for (const line of lines) {
    const [, key, value] = /^([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}) ([a-z]+(?: [a-z]+)*)$/.exec(line) ?? [];
    if (key === undefined || value === undefined) throw new Error(line);
    keys.add(key);
    wordCounts.add(value.split(' ').length);
  }
  expect(keys.size).toBe(200_000);
  expect([...wordCounts].sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

test('record i of a seed is line i of its file, whatever the size of the values', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 300 }),
      fc.maxSafeNat(),
      fc.option(fc.integer({ min: 0, max: 500 }), { nil: undefined }),
      (entries, seed, valueSize) => {
        const lines = textOf({ entries, seed, valueSize }).split('\n').slice(0, -1);
        expect(lines).toEqual(
          Array.from({ length: entries }, (_, i) => `${recordOf(seed, i, valueSize).key} ${recordOf(seed, i, valueSize).value}`),
        );
      },
    ),
    { numRuns: 50 },
  );
});

test.for([0, 1, 2, 90, 100_000])('values of mean size %d have that mean, and lie between half of it and half more', (valueSize) => {
  const count = valueSize > 1_000 ? 300 : 20_000;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const { length } = recordOf(5, i, valueSize).value;
    expect(Math.abs(length - valueSize)).toBeLessThanOrEqual(valueSize / 2);
    sum += length;
  }
  expect(Math.abs(sum / count - valueSize)).toBeLessThanOrEqual(0.05 * valueSize);
});

test('another seed gives other records, also one that differs above 32 bits', () => {
  const digestOf = (seed: number): string =>
    createHash('sha256')
      .update(textOf({ entries: 100, seed }))
      .digest('hex');
  expect(new Set([0, 1, 2, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER].map(digestOf)).size).toBe(6);
});

test('wrong numbers are wrong usage', async () => {
  const wrong = [[], ['--entries', '1', '--value-size', String(valueSizeMeanMax + 1)]];
  const runs = await Promise.all(wrong.map((args) => runPavostore(['generate', ...args])));
  for (const { exitCode, stdout } of runs) expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
});
