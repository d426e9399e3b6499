// Programs that make something of the whole text file, as the split does: GNU sort, `cdb -c -m` of tinycdb, `mdb_load` of LMDB. Each in its
// best form, and what it made looked at before its speed counts.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { seed } from './bench-cluster.ts';
import { type RunCost, runCommand } from './run-cost.ts';

/** A text of records as `generate` makes them, and a folder for what becomes of it. */
export type TextInput = { readonly path: string; readonly entries: number; readonly valueSize: number; readonly folder: string };

/** What it took, and the bytes of the file that came out; the file is gone. */
export type Loaded = { readonly cost: RunCost; readonly fileBytes: number };

const samples = 100;

export function sortText(input: TextInput): Loaded {
  const output = join(input.folder, 'sorted');
  const { cost } = runCommand([...sortCommand(input), '-o', output, input.path], { env: byBytes });
  execFileSync('sort', ['-c', output], { env: { ...process.env, ...byBytes } });
  const fileBytes = takeSize(output);
  if (fileBytes !== statSync(input.path).size) throw new Error(`sort lost some of the ${input.entries} lines`);
  return { cost, fileBytes };
}

export function loadCdb(input: TextInput): Loaded {
  const output = join(input.folder, 'records.cdb');
  const { cost } = runCommand(['cdb', '-c', '-m', output, input.path]);
  for (const { key, value } of sampleOf(input)) {
    if (execFileSync('cdb', ['-q', output, key], { encoding: 'utf8' }) !== value) throw new Error(`cdb has another value of ${key}`);
  }
  return { cost, fileBytes: takeSize(output) };
}

/**
 * Sorted first, since keys in order fill each page and come to the same few; made in memory and copied, since `mdb_load` has no way to leave
 * out its sync after every hundred records.
 */
export function loadLmdb(input: TextInput): Loaded {
  const output = join(input.folder, 'records.mdb');
  const made = mkdtempSync(join(existsSync(sharedMemory) ? sharedMemory : input.folder, 'pavostore-bench-'));
  const mapBytes = 2 ** 30 + 4 * statSync(input.path).size;
  const head = `VERSION=3\\nformat=print\\ntype=btree\\nmapsize=${mapBytes}\\nHEADER=END\\n`;
  const asDump = `sed -e 's/\\\\/\\\\\\\\/g; s/ /\\n /; s/^/ /'`;
  try {
    const lines = `${sortCommand(input).join(' ')} '${input.path}' | ${asDump}`;
    const load = `{ printf '${head}'; ${lines}; echo DATA=END; } | mdb_load -n '${made}/mdb' && cp '${made}/mdb' '${output}'`;
    const { cost } = runCommand(['sh', '-c', load], { env: byBytes });
    checkLmdb(input, output);
    return { cost, fileBytes: takeSize(output) };
  } finally {
    rmSync(made, { recursive: true, force: true });
    rmSync(`${output}-lock`, { force: true });
  }
}

const sharedMemory = '/dev/shm';
const byBytes = { LC_ALL: 'C' } as const;

/** With memory for the whole input, as its manual advises for speed, up to what the split may take. */
function sortCommand({ path, folder }: TextInput): string[] {
  const memory = `${Math.min(1024, Math.ceil((2 * statSync(path).size) / 2 ** 20) + 16)}M`;
  return ['sort', `--parallel=${availableParallelism()}`, '-S', memory, '-T', folder];
}

/** The whole file is read for the sampled keys: LMDB brings no program that asks for one. */
function checkLmdb(input: TextInput, file: string): void {
  const found = /^ {2}Entries: (\d+)$/m.exec(execFileSync('mdb_stat', ['-n', file], { encoding: 'utf8' }))?.[1];
  if (Number(found) !== input.entries) throw new Error(`LMDB holds ${found} entries, not ${input.entries}`);
  const records = sampleOf(input);
  const patterns = records.map(({ key }) => ` ${key}\n`).join('');
  const dump = execFileSync(
    'sh',
    ['-c', `mdb_dump -n -p '${file}' | grep --no-group-separator -F -x -A1 -f /dev/fd/3 3<<'END'\n${patterns}END\n`],
    {
      env: { ...process.env, ...byBytes },
      encoding: 'utf8',
    },
  );
  const lines = dump.split('\n');
  const values = new Map(lines.map((line, i) => [line.slice(1), lines[i + 1]?.slice(1)]));
  for (const { key, value } of records)
    if (values.get(key) !== value) throw new Error(`LMDB has ${values.get(key)} for ${key}, not ${value}`);
}

function sampleOf({ entries, valueSize }: TextInput): { key: string; value: string }[] {
  return Array.from({ length: samples }, (_, i) => recordOf(seed, Math.floor((i * entries) / samples), valueSize));
}

function takeSize(path: string): number {
  const { size } = statSync(path);
  rmSync(path);
  return size;
}
