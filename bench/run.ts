// `npm run bench`: every benchmark in turn with every rival that is installed, small by default, in full size with `--full`; `npm run bench NAME` one of
// them. Prints what each measures as a table, or as JSON with `--json`; with `--write` results go to docs/benchmarks/ as JSON with machine, commit and command,
// under the benchmark's name or that of `--as`, and the plots there and the tables of docs/benchmarks.md are made anew.

import { benchCpuPerGet } from './cpu-per-get.ts';
import { benchLoad } from './load.ts';
import { benchLookUp } from './look-up.ts';
import { benchMemory } from './memory.ts';
import { benchMemoryShard } from './memory-shard.ts';
import { benchRouterOverload, benchShardOverload } from './overload.ts';
import { benchRecordCache } from './record-cache.ts';
import { benchRedis } from './redis.ts';
import { type Benchmark, benchmarkOf, tableOf, writeDocument, writeResult } from './results.ts';
import { benchScaling } from './scaling.ts';
import { benchServing } from './serving.ts';
import { benchSoak } from './soak.ts';
import { benchSplit } from './split.ts';
import { benchSwap } from './swap.ts';

/** `--name=value` of the command line, or `--name value`. */
function flagOf(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
}

const isFull = process.argv.includes('--full');
const only = process.argv[2]?.startsWith('--') ? undefined : process.argv[2];
const log = (line: string): void => console.error(line);

/** In bytes; the usual records have 128 with key, space and newline. */
const valueSize = Number(flagOf('value-size') ?? 90);
/** As many entries as make the same number of bytes with values of that size. */
const entriesOf = (usual: number): number => Number(flagOf('entries') ?? Math.ceil((usual * 128) / (valueSize + 38)));

const benchmarks: Readonly<Record<Benchmark, () => Promise<object | undefined>>> = {
  'cpu-per-get': () =>
    benchCpuPerGet({
      entries: entriesOf(isFull ? 1_000_000 : 100_000),
      ...{ valueSize, seconds: 2, pairs: isFull ? 12 : 3, warmUps: 1, openLoopSeconds: isFull ? 5 : 2, log },
    }),
  // `serving --entries 100000000 --data DIR` takes a version that is there.
  serving: () => {
    const entries = entriesOf(isFull ? 10_000_000 : 200_000);
    return benchServing({
      entries,
      valueSize,
      shards: Number(flagOf('shards') ?? 4),
      seconds: isFull ? 10 : 2,
      warmUpSeconds: 1,
      samples: Number(flagOf('samples') ?? Math.min(entries, isFull ? 1_000_000 : 10_000)),
      dataDir: flagOf('data'),
      log,
    });
  },
  // `scaling --entries 100000000 --data DIR`: a version that is there beside those of its own.
  scaling: () => {
    const dataDir = flagOf('data');
    return benchScaling({
      sizes: [
        ...(isFull ? [1_000_000, 10_000_000] : [100_000, 200_000]).map((entries) => ({ entries })),
        ...(dataDir === undefined ? [] : [{ entries: Number(flagOf('entries')), dataDir }]),
      ],
      shardCounts: [1, 2, 4],
      ...{ valueSize: 90, seconds: isFull ? 5 : 1, warmUpSeconds: 1, samples: isFull ? 100_000 : 5_000, log },
    });
  },
  load: () => benchLoad({ entries: Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000)), rounds: isFull ? 7 : 2, log }),
  memory: () => benchMemory({ entries: entriesOf(isFull ? 10_000_000 : 200_000), valueSize, log }),
  'look-up': () => benchLookUp({ entries: Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000)), rounds: isFull ? 9 : 3, log }),
  'memory-shard': () => {
    const entries = Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000));
    return benchMemoryShard({ entries, asks: Number(flagOf('asks') ?? entries), memoryShare: 0.2, dataDir: flagOf('data'), log });
  },
  // `overload-shards --rate 6000` for the machine at hand: the generator and the router need the rest of it.
  'overload-shards': () =>
    benchShardOverload({ seconds: isFull ? 30 : 5, shardsPerSecond: Number(flagOf('rate') ?? 4_000), connections: 4_000, log }),
  // `overload-router --connections N`: as many as can be answered in twice the deadline, by default, or as `ulimit -n` lets there be.
  'overload-router': () =>
    benchRouterOverload({
      ...(isFull ? { entries: 1_000_000, seconds: 60 } : { entries: 50_000, seconds: 10 }),
      deadlineMs: Number(flagOf('deadline') ?? 500),
      connections: flagOf('connections') === undefined ? undefined : Number(flagOf('connections')),
      log,
    }),
  'record-cache': () =>
    benchRecordCache(
      isFull
        ? { records: 10_000_000, asks: 50_000_000, timedBytes: 1 * 2 ** 30, log }
        : { records: 200_000, asks: 1_000_000, timedBytes: 64 * 2 ** 20, log },
    ),
  redis: () => benchRedis({ entries: entriesOf(isFull ? 10_000_000 : 200_000), valueSize, seconds: isFull ? 5 : 2, log }),
  // `soak --minutes 30`: half of the top rate, or `--rate`; one process is restarted each minute, or each `--every` seconds (0: none).
  soak: () =>
    benchSoak({
      entries: Number(flagOf('entries') ?? 200_000),
      minutes: Number(flagOf('minutes') ?? (isFull ? 30 : 0.5)),
      perSecond: flagOf('rate') === undefined ? undefined : Number(flagOf('rate')),
      restartSeconds: Number(flagOf('every') ?? (isFull || flagOf('minutes') !== undefined ? 60 : 10)),
      log,
    }),
  swap: () =>
    benchSwap({
      entries: Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000)),
      shards: 3,
      replicas: 2,
      perSecond: Number(flagOf('rate') ?? (isFull ? 3_000 : 1_000)),
      seconds: isFull ? 15 : 2,
      log,
    }),
  split: () => benchSplit({ entries: isFull ? 10_000_000 : 200_000, log }),
};

const isWritten = process.argv.includes('--write');
const isJson = process.argv.includes('--json');

if (only !== undefined && !(only in benchmarks)) throw new Error(`no benchmark ${only}; there are ${Object.keys(benchmarks).join(', ')}`);
if (flagOf('data') !== undefined && flagOf('entries') === undefined)
  throw new Error('--data DIR needs --entries N: how many records it holds');

for (const [name, run] of Object.entries(benchmarks)) {
  if (only !== undefined && only !== name) continue;
  const title = flagOf('as') ?? name;
  // Before hours of work that nobody could keep.
  if (benchmarkOf(title) !== name) throw new Error(`--as ${title}: a result of ${name} is named ${name}, or ${name}-…`);
  const result = await run();
  if (result === undefined) continue;
  console.log(isJson ? JSON.stringify({ benchmark: name, isFull, ...(result as object) }, null, 1) : `${title}\n${tableOf(name, result)}`);
  if (!isWritten) continue;
  writeResult(title, result);
  writeDocument();
}
