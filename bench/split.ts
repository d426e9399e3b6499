// The split against programs that also read a whole text file, order it by key and write it: GNU sort, and `cdb -c -m` of tinycdb,
// which makes the file of a constant database. The same input from a warm file cache, alternating in one run; what each leaves
// unwritten is synced, and timed apart, before the next one starts. The version is verified, the rivals' results are sampled.
//
// CPU and peak memory are the kernel's account of each child process, by GNU time.

import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateLines, recordOf } from '../deploy/generate/records.ts';
import type { SplitReport } from '../deploy/split/split.ts';
import { verifyDataSet } from '../deploy/verify/verify.ts';
import { isInstalled } from './tools.ts';

export type SplitBenchOptions = {
  /** Records of 128 bytes: key, space, value and newline. */
  readonly entries: number;
  readonly pairs?: number;
  readonly log: (line: string) => void;
};

/** One run of a program, or medians of several. `syncSeconds` is apart from `wallSeconds`. */
export type RunCost = {
  readonly wallSeconds: number;
  readonly syncSeconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
};

/** A rival's medians, and medians of the pairs' ratios: what the split took over what the rival took. */
export type RivalCost = RunCost & { readonly wallRatio: number; readonly cpuRatio: number };

export type SplitBenchResult = {
  readonly entries: number;
  readonly inputMiB: number;
  readonly pairs: number;
  readonly split: RunCost;
  readonly linesPerSecond: number;
  readonly overheadPerEntry: number;
  readonly sort: RivalCost;
  /** Undefined where tinycdb is not installed. */
  readonly cdb: RivalCost | undefined;
};

const seed = 1;
const valueSize = 90;
const gnuTime = '/usr/bin/time';
const program = fileURLToPath(new URL('../deploy/pavostore.ts', import.meta.url));

/** Undefined, and a word why, where GNU time or sort are missing. */
export async function benchSplit({ entries, pairs = 3, log }: SplitBenchOptions): Promise<SplitBenchResult | undefined> {
  const missing = [gnuTime, 'sort'].filter((name) => !isInstalled(name));
  if (missing.length > 0) {
    log(`split: skipped, ${missing.join(' and ')} not installed`);
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'pavostore-bench-'));
  try {
    const input = join(folder, 'input.data');
    writeInput(input, entries);
    return await runPairs({ folder, input, entries, pairs, log });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

type Contest = {
  readonly folder: string;
  readonly input: string;
  readonly entries: number;
  readonly pairs: number;
  readonly log: (line: string) => void;
};

type Round = { readonly split: RunCost; readonly report: SplitReport; readonly sort: RunCost; readonly cdb: RunCost | undefined };

async function runPairs(contest: Contest): Promise<SplitBenchResult> {
  const { entries, input, pairs, log } = contest;
  const hasCdb = isInstalled('cdb');
  if (!hasCdb) log('split: tinycdb (cdb) is not installed, left out');
  const rounds: Round[] = [];
  for (let round = 1; round <= pairs; round++) {
    const { cost: split, report } = await runSplit(contest);
    const sort = runSort(contest);
    const cdb = hasCdb ? runCdb(contest) : undefined;
    rounds.push({ split, report, sort, cdb });
    log(`split: round ${round}: split ${format(split)}; sort ${format(sort)}${cdb ? `; cdb ${format(cdb)}` : ''}`);
  }
  const split = mediansOf(rounds.map((round) => round.split));
  const { totals } = rounds[0]!.report;
  return {
    entries,
    inputMiB: statSync(input).size / 2 ** 20,
    pairs,
    split,
    linesPerSecond: entries / split.wallSeconds,
    overheadPerEntry: (totals.sliceBytes - totals.keyBytes - totals.valueBytes) / totals.entries,
    sort: rivalOf(rounds.map((round) => ({ split: round.split, rival: round.sort }))),
    cdb: hasCdb ? rivalOf(rounds.map((round) => ({ split: round.split, rival: round.cdb! }))) : undefined,
  };
}

/** The split does its own sync: it counts as that, not as work. */
async function runSplit({ folder, input, entries }: Contest): Promise<{ cost: RunCost; report: SplitReport }> {
  const dataDir = join(folder, 'data');
  const run = measure([process.execPath, program, 'split', input, '--data', dataDir, '--json']);
  const report = JSON.parse(run.stdout) as SplitReport;
  const { problems, entries: entriesFound } = await verifyDataSet(dataDir, report.id);
  if (problems.length > 0 || entriesFound !== entries)
    throw new Error(`the split is wrong: ${entriesFound} entries; ${problems.join('; ')}`);
  rmSync(dataDir, { recursive: true });
  const { sync } = report.seconds;
  return { cost: { ...run.cost, wallSeconds: run.cost.wallSeconds - sync, syncSeconds: run.cost.syncSeconds + sync }, report };
}

function runSort({ folder, input, entries }: Contest): RunCost {
  const output = join(folder, 'sorted');
  // Memory for the whole input, as its manual advises for speed, up to what the split may take.
  const memory = `${Math.min(1024, Math.ceil((2 * statSync(input).size) / 2 ** 20) + 16)}M`;
  const { cost } = measure(['sort', `--parallel=${availableParallelism()}`, '-S', memory, '-T', folder, '-o', output, input], {
    LC_ALL: 'C',
  });
  execFileSync('sort', ['-c', output], { env: { ...process.env, LC_ALL: 'C' } });
  if (statSync(output).size !== statSync(input).size) throw new Error(`sort lost some of the ${entries} lines`);
  rmSync(output);
  return cost;
}

function runCdb({ folder, input, entries }: Contest): RunCost {
  const output = join(folder, 'records.cdb');
  const { cost } = measure(['cdb', '-c', '-m', output, input]);
  for (let i = 0; i < 100; i++) {
    const { key, value } = recordOf(seed, Math.floor((i * entries) / 100), valueSize);
    if (execFileSync('cdb', ['-q', output, key], { encoding: 'utf8' }) !== value) throw new Error(`cdb has another value of ${key}`);
  }
  rmSync(output);
  return cost;
}

/** Runs a command to its end and syncs what it wrote. Throws when it fails. */
function measure(command: readonly string[], env: NodeJS.ProcessEnv = {}): { cost: RunCost; stdout: string } {
  const { status, stdout, stderr } = spawnSync(gnuTime, ['-f', 'TIME %e %U %S %M', ...command], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  const [, wall, user, system, peakKiB] = /TIME ([\d.]+) ([\d.]+) ([\d.]+) (\d+)\n$/.exec(stderr) ?? [];
  if (status !== 0 || wall === undefined) throw new Error(`${command.join(' ')} ended with exit code ${status}: ${stderr}`);
  const startedMs = performance.now();
  execFileSync('sync');
  const syncSeconds = (performance.now() - startedMs) / 1_000;
  const cost = { wallSeconds: Number(wall), syncSeconds, cpuSeconds: Number(user) + Number(system), peakMiB: Number(peakKiB) / 1_024 };
  return { cost, stdout };
}

function writeInput(path: string, entries: number): void {
  const fd = openSync(path, 'w');
  for (const lines of generateLines({ entries, seed, valueSize })) writeSync(fd, lines);
  fsyncSync(fd);
  closeSync(fd);
}

function rivalOf(pairs: readonly { split: RunCost; rival: RunCost }[]): RivalCost {
  return {
    ...mediansOf(pairs.map(({ rival }) => rival)),
    wallRatio: median(pairs.map(({ split, rival }) => split.wallSeconds / rival.wallSeconds)),
    cpuRatio: median(pairs.map(({ split, rival }) => split.cpuSeconds / rival.cpuSeconds)),
  };
}

function mediansOf(costs: readonly RunCost[]): RunCost {
  return {
    wallSeconds: median(costs.map(({ wallSeconds }) => wallSeconds)),
    syncSeconds: median(costs.map(({ syncSeconds }) => syncSeconds)),
    cpuSeconds: median(costs.map(({ cpuSeconds }) => cpuSeconds)),
    peakMiB: median(costs.map(({ peakMiB }) => peakMiB)),
  };
}

function median(numbers: readonly number[]): number {
  const ordered = [...numbers].sort((a, b) => a - b);
  const middle = ordered.length >> 1;
  return ordered.length % 2 === 1 ? ordered[middle]! : (ordered[middle - 1]! + ordered[middle]!) / 2;
}

function format({ wallSeconds, syncSeconds, cpuSeconds, peakMiB }: RunCost): string {
  return `${wallSeconds.toFixed(1)} s and ${syncSeconds.toFixed(1)} s of sync, ${cpuSeconds.toFixed(1)} s of CPU, ${peakMiB.toFixed(0)} MiB`;
}
