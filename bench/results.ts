// What was measured, in docs/benchmarks/: one JSON file for each benchmark. From these, and from nothing else, come the plots beside them and
// the tables that stand in docs/benchmarks.md between `<!-- bench NAME -->` and `<!-- /bench NAME -->`; what stands there stays as long as there is no such
// file. The prose around is written by hand.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plots } from './plots.ts';
import { tables } from './tables.ts';

/** What is measured: each has its table. */
export type Benchmark = keyof typeof tables;

/** What is needed to judge a result. */
export type About = {
  readonly machine: string;
  readonly commit: string;
  readonly date: string;
  readonly command: string;
  readonly note?: string;
};

/** By the name of its file, without the ending: that of the benchmark, or the benchmark's, a hyphen and more. */
export type Results = ReadonlyMap<string, { readonly about: About }>;

const folder = fileURLToPath(new URL('../docs/benchmarks/', import.meta.url));
const documentPath = fileURLToPath(new URL('../docs/benchmarks.md', import.meta.url));

/** Keeps a result under the name; then `writeDocument`. */
export function writeResult(name: string, result: object): void {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const machine = `${cpus().length} x ${cpus()[0]!.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`;
  const about: About = { machine, commit, date: new Date().toISOString().slice(0, 10), command: commandOf(process.argv.slice(2)) };
  writeFileSync(join(folder, `${name}.json`), `${formatResult({ about, ...result })}\n`);
}

/** Lists of numbers in one line each. */
function formatResult(result: object): string {
  return JSON.stringify(result, null, 1).replace(/\[\n\s+[-\d.e,\s]+\]/g, (list) => list.replace(/\s+/g, ' '));
}

/** Draws all plots and sets all tables anew. */
export function writeDocument(): void {
  const results = readResults();
  for (const [name, svg] of drawPlots(results)) writeFileSync(join(folder, `${name}.svg`), svg);
  writeFileSync(documentPath, withTables(readFileSync(documentPath, 'utf8'), results));
}

export function readResults(): Results {
  const names = readdirSync(folder).flatMap((file) => (file.endsWith('.json') ? [file.slice(0, -'.json'.length)] : []));
  return new Map(
    names.toSorted().map((name) => [name, JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as { about: About }]),
  );
}

/** The document with what each result gives between its markers. */
export function withTables(document: string, results: Results): string {
  return document.replace(/(<!-- bench (\S+) -->\n).*?(<!-- \/bench \2 -->)/gs, (block, start: string, name: string, end: string) => {
    const result = results.get(name);
    return result === undefined ? block : `${start}${blockOf(name, result)}${end}`;
  });
}

/** The names of all places for results in the document. */
export function markersOf(document: string): string[] {
  return [...document.matchAll(/<!-- bench (\S+) -->/g)].map(([, name]) => name!);
}

/** SVG by name. */
export function drawPlots(results: Results): Map<string, string> {
  const drawn = new Map<string, string>();
  for (const [name, result] of results) {
    for (const { ending, draw } of plotsOf(name)) drawn.set(`${name}${ending}`, draw(result as never));
  }
  return drawn;
}

/** The result as a table, as a benchmark prints it. Throws when there is no such benchmark. */
export function tableOf(name: string, result: object): string {
  return tables[benchmarkOf(name)](result as never);
}

function blockOf(name: string, result: { readonly about: About }): string {
  const images = plotsOf(name).map(({ ending, title }) => `![${title}](benchmarks/${name}${ending}.svg)\n\n`);
  const { date, commit, command, note } = result.about;
  const origin = `${date}, commit ${commit}: \`${command}\`.${note === undefined ? '' : ` ${note}`}`;
  return `${images.join('')}${tableOf(name, result)}\n${origin}\n`;
}

function plotsOf(name: string) {
  const benchmark = benchmarkOf(name);
  return benchmark in plots ? plots[benchmark as keyof typeof plots] : [];
}

/** The longest benchmark's name that this one is or begins with; throws when there is none. */
export function benchmarkOf(name: string): Benchmark {
  const of = (Object.keys(tables) as Benchmark[]).filter((benchmark) => name === benchmark || name.startsWith(`${benchmark}-`));
  if (of.length === 0) throw new Error(`${name}: a result's name is its benchmark's, or begins with it and a hyphen`);
  return of.reduce((longest, benchmark) => (benchmark.length > longest.length ? benchmark : longest));
}

/** As one would type it: npm takes flags for its own unless `--` stands before them. Where the data lay says nothing to anybody else. */
function commandOf(args: readonly string[]): string {
  const flagsFrom = args.findIndex((arg) => arg.startsWith('--'));
  const typed = flagsFrom < 0 ? args : args.toSpliced(flagsFrom, 0, '--');
  return `npm run bench ${typed.join(' ').replace(/--data \S+/, '--data DIR')}`;
}
