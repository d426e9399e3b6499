// The split against programs that also read a whole text file and order or index it: GNU sort, `cdb -c -m` of tinycdb, `redis-cli --pipe`
// into a Redis server, `mdb_load` of LMDB. The same input from a warm file cache, alternating in one run; what each leaves unwritten is
// synced, and timed apart, before the next one starts. The version is verified, the rivals' results are sampled.

import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateLines } from '../deploy/generate/records.ts';
import type { SplitReport } from '../deploy/split/split.ts';
import { verifyDataSet } from '../deploy/verify/verify.ts';
import { seed } from './bench-cluster.ts';
import { missingForRedis, RedisServer, writeRedisCommands } from './redis-server.ts';
import { gnuTime, mediansOf, type RunCost, runCommand } from './run-cost.ts';
import { median } from './statistics.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { writePieces } from './text-lines.ts';
import { loadCdb, loadLmdb, sortText, type TextInput } from './text-loaders.ts';
import { isInstalled } from './tools.ts';

export type SplitBenchOptions = {
  /** Records of 128 bytes: key, space, value and newline. */
  readonly entries: number;
  readonly pairs?: number;
  readonly log: (line: string) => void;
};

/** What GNU time counts in: what took less took this. */
const timeTickSeconds = 0.01;

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
  /** Undefined where tinycdb is not installed; so with the others. */
  readonly cdb: RivalCost | undefined;
  /** From commands that were made of the text before, as its manual has it. */
  readonly redis: RivalCost | undefined;
  readonly lmdb: RivalCost | undefined;
};

const valueSize = 90;
const program = fileURLToPath(new URL('../deploy/pavostore.ts', import.meta.url));

/** Undefined, and a word why, where GNU time or sort are missing. */
export async function benchSplit({ entries, pairs = 3, log }: SplitBenchOptions): Promise<SplitBenchResult | undefined> {
  const missing = [gnuTime, 'sort'].filter((name) => !isInstalled(name));
  if (missing.length > 0) {
    log(`split: skipped, ${missing.join(' and ')} not installed`);
    return undefined;
  }
  return inTemporaryFolder(async (folder) => {
    const path = join(folder, 'input.data');
    await writePieces(path, generateLines({ entries, seed, valueSize }));
    return await runPairs({ path, entries, valueSize, folder }, pairs, log);
  });
}

type Rival = { readonly name: 'sort' | 'cdb' | 'redis' | 'lmdb'; readonly run: () => RunCost | Promise<RunCost> };
type Round = { readonly split: RunCost; readonly report: SplitReport; readonly rivals: Readonly<Partial<Record<Rival['name'], RunCost>>> };

async function runPairs(input: TextInput, pairs: number, log: (line: string) => void): Promise<SplitBenchResult> {
  const rivals = await rivalsOf(input, log);
  const rounds: Round[] = [];
  for (let round = 1; round <= pairs; round++) {
    const { cost: split, report } = await runSplit(input);
    log(`split: round ${round}: split ${format(split)}`);
    const costs: Partial<Record<Rival['name'], RunCost>> = {};
    for (const { name, run } of rivals) {
      const cost = await run();
      costs[name] = cost;
      log(`split: round ${round}: ${name} ${format(cost)}`);
    }
    rounds.push({ split, report, rivals: costs });
  }
  const split = mediansOf(rounds.map((round) => round.split));
  const { totals } = rounds[0]!.report;
  return {
    entries: input.entries,
    inputMiB: statSync(input.path).size / 2 ** 20,
    pairs,
    split,
    linesPerSecond: input.entries / split.wallSeconds,
    overheadPerEntry: (totals.sliceBytes - totals.keyBytes - totals.valueBytes) / totals.entries,
    sort: rivalOf(rounds, 'sort')!,
    cdb: rivalOf(rounds, 'cdb'),
    redis: rivalOf(rounds, 'redis'),
    lmdb: rivalOf(rounds, 'lmdb'),
  };
}

/** Those that are installed. */
async function rivalsOf(input: TextInput, log: (line: string) => void): Promise<Rival[]> {
  const rivals: Rival[] = [{ name: 'sort', run: () => sortText(input).cost }];
  if (isInstalled('cdb')) rivals.push({ name: 'cdb', run: () => loadCdb(input).cost });
  else log('split: tinycdb (cdb) is not installed, left out');
  if (missingForRedis().length === 0) {
    const commands = join(input.folder, 'commands');
    await writeRedisCommands(commands, input.entries, input.valueSize);
    rivals.push({ name: 'redis', run: () => loadRedis(input, commands) });
  } else log('split: Redis is not installed, left out');
  if (isInstalled('mdb_load')) rivals.push({ name: 'lmdb', run: () => loadLmdb(input).cost });
  else log('split: LMDB (mdb_load) is not installed, left out');
  return rivals;
}

/** The split does its own sync: it counts as that, not as work. */
async function runSplit({ folder, path, entries }: TextInput): Promise<{ cost: RunCost; report: SplitReport }> {
  const dataDir = join(folder, 'data');
  const run = runCommand([process.execPath, program, 'split', path, '--data', dataDir, '--json']);
  const report = JSON.parse(run.stdout) as SplitReport;
  const { problems, entries: entriesFound } = await verifyDataSet(dataDir, report.id);
  if (problems.length > 0 || entriesFound !== entries)
    throw new Error(`the split is wrong: ${entriesFound} entries; ${problems.join('; ')}`);
  rmSync(dataDir, { recursive: true });
  const { sync } = report.seconds;
  return { cost: { ...run.cost, wallSeconds: run.cost.wallSeconds - sync, syncSeconds: run.cost.syncSeconds + sync }, report };
}

async function loadRedis({ folder, entries }: TextInput, commands: string): Promise<RunCost> {
  const redis = await RedisServer.start(folder);
  try {
    const cost = redis.load(commands);
    if (redis.entries !== entries) throw new Error(`Redis holds ${redis.entries} of ${entries} entries`);
    return cost;
  } finally {
    await redis.stop();
  }
}

function rivalOf(rounds: readonly Round[], name: Rival['name']): RivalCost | undefined {
  const pairs = rounds.flatMap(({ split, rivals }) => (rivals[name] ? [{ split, rival: rivals[name] }] : []));
  if (pairs.length === 0) return undefined;
  return {
    ...mediansOf(pairs.map(({ rival }) => rival)),
    wallRatio: median(pairs.map(({ split, rival }) => split.wallSeconds / Math.max(rival.wallSeconds, timeTickSeconds))),
    cpuRatio: median(pairs.map(({ split, rival }) => split.cpuSeconds / Math.max(rival.cpuSeconds, timeTickSeconds))),
  };
}

function format({ wallSeconds, syncSeconds, cpuSeconds, peakMiB }: RunCost): string {
  return `${wallSeconds.toFixed(1)} s and ${syncSeconds.toFixed(1)} s of sync, ${cpuSeconds.toFixed(1)} s of CPU, ${peakMiB.toFixed(0)} MiB`;
}
