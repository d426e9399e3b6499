// What docs/benchmarks.md shows is what the JSON files beside it hold.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { drawPlots, markersOf, readResults, tableOf, withTables } from '../../bench/results.ts';

const document = readFileSync(new URL('../../docs/benchmarks.md', import.meta.url), 'utf8');
const folder = fileURLToPath(new URL('../../docs/benchmarks/', import.meta.url));
const results = readResults();

test('the tables of the document are those of the results', () => {
  expect(withTables(document, results)).toBe(document);
});

test('every result has its place in the document', () => {
  expect(markersOf(document)).toEqual(expect.arrayContaining([...results.keys()]));
});

test('the plots are those of the results, and none is left of others', () => {
  const plots = drawPlots(results);
  const expected = [...plots.keys()].map((name) => `${name}.svg`);
  const there = readdirSync(folder).filter((file) => file.endsWith('.svg'));
  expect(there.toSorted()).toEqual(expected.toSorted());
  for (const [name, svg] of plots) expect(readFileSync(`${folder}/${name}.svg`, 'utf8')).toBe(svg);
});

test('what stands at a place without a result stays, and other text as well', () => {
  const text =
    'before\n<!-- bench split -->\nby hand\n<!-- /bench split -->\nbetween\n<!-- bench redis -->\nold\n<!-- /bench redis -->\nafter\n';
  const about = { machine: 'one', commit: 'abc', date: '2026-01-02', command: 'npm run bench redis' };
  const redis = { about, entries: 1_000, loadSeconds: 1, loadCpuSeconds: 2, overheadPerEntry: 93.88 };
  const made = withTables(text, new Map([['redis', redis]]));
  expect(made).toContain('<!-- bench split -->\nby hand\n<!-- /bench split -->');
  expect(made).toContain('| above key and value | 93.9 bytes an entry |');
  expect(made).toContain('2026-01-02, commit abc: `npm run bench redis`.');
  expect(made).not.toContain('old');
  expect(made.startsWith('before\n') && made.endsWith('\nafter\n')).toBe(true);
});

test('a rival that cannot do half of the rate is said to be unable', () => {
  const one = { median: 1, lowest: 1, highest: 1 };
  const contender = { us: 30, frontUs: 20, ratio: one, frontRatio: one, perSecond: 40_000, aloneMs: 0.1 };
  const result = {
    ...{ entries: 1_000, valueSize: 90, pairs: 1, shardAloneMs: 0.03, halfPerSecond: 20_000, checked: 1 },
    contenders: [
      { ...contender, name: 'Pavostore', half: { p50Ms: 1, p99Ms: 2, p999Ms: 3 } },
      { ...contender, name: 'undici', perSecond: 8_000, aloneMs: 0.17 },
    ],
    shardGet: { us: 20, fastifyUs: 25, ratio: one },
  };
  const table = tableOf('cpu-per-get', result);
  expect(table).toContain('| p50, p99, p99.9 at 20,000 requests a second, open loop | 1, 2, 3 ms | more than it can do |');
  expect(table).toContain('| what the router adds to a shard alone, over what this adds | | 0.50 |');
});

test('a difference of which nothing is left is said to be not measurable', () => {
  const load = { entries: 1_000, rounds: 1, sliceBytes: 1e9, cpuSeconds: 0, wallSeconds: -0.1, digestCpuSeconds: 0.5 };
  const table = tableOf('load', load);
  expect(table).toContain('| a shard, less what an empty one takes | not measurable | not measurable | not measurable |');
  expect(table).toContain('| 0.50 s | 2.00 GB/s | |');
  const one = { median: 1, lowest: 1, highest: 1 };
  const contender = { us: 30, frontUs: 20, ratio: one, frontRatio: one, perSecond: 40_000, half: undefined };
  for (const aloneMs of [
    [0.1, 0.03],
    [0.1, 0.02],
    [0.03, 0.1],
  ]) {
    const contenders = (['Pavostore', 'nginx'] as const).map((name, i) => ({ ...contender, name, aloneMs: aloneMs[i] }));
    const shardGet = { us: 20, fastifyUs: 25, ratio: one };
    const result = { entries: 1_000, valueSize: 90, pairs: 1, contenders, shardGet, shardAloneMs: 0.03, halfPerSecond: 20_000, checked: 1 };
    expect(tableOf('cpu-per-get', result)).toContain('over what this adds | | not measurable |');
  }
});

test('a result of no benchmark is refused', () => {
  expect(() => tableOf('nothing', {})).toThrow('nothing');
});
