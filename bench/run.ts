// `npm run bench`: every benchmark in turn, small by default, in full size with `--full`; `npm run bench NAME` one of them. Prints what each
// measures; with `--write` results go to docs/benchmarks/ as JSON with machine, commit and command, and the plots there are drawn anew.

import { benchCpuPerGet } from './cpu-per-get.ts';
import { benchLookUp } from './look-up.ts';
import { benchMemoryShard } from './memory-shard.ts';
import { benchRouterOverload, benchShardOverload } from './overload.ts';
import { benchRecordCache } from './record-cache.ts';
import { benchRedis } from './redis.ts';
import { drawPlots, writeResult } from './results.ts';
import { benchServing } from './serving.ts';
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

const benchmarks: Readonly<Record<string, () => Promise<unknown>>> = {
  'cpu-per-get': () =>
    benchCpuPerGet(isFull ? { entries: 1_000_000, seconds: 2, pairs: 12, log } : { entries: 100_000, seconds: 2, pairs: 3, log }),
  // `serving --entries 100000000 --data DIR` takes a version that is there.
  serving: () =>
    benchServing({
      entries: Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000)),
      valueSize: 90,
      shards: Number(flagOf('shards') ?? 4),
      seconds: isFull ? 10 : 2,
      samples: Number(flagOf('samples') ?? (isFull ? 1_000_000 : 10_000)),
      dataDir: flagOf('data'),
      log,
    }),
  'look-up': () => benchLookUp({ entries: Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000)), rounds: isFull ? 9 : 3, log }),
  'memory-shard': () => {
    const entries = Number(flagOf('entries') ?? (isFull ? 10_000_000 : 200_000));
    return benchMemoryShard({ entries, asks: Number(flagOf('asks') ?? entries), memoryShare: 0.2, dataDir: flagOf('data'), log });
  },
  // `overload-shards --rate 6000` for the machine at hand: the generator and the router need the rest of it.
  'overload-shards': () =>
    benchShardOverload({ seconds: isFull ? 30 : 5, shardsPerSecond: Number(flagOf('rate') ?? 4_000), connections: 4_000, log }),
  'overload-router': () =>
    benchRouterOverload(
      isFull ? { entries: 1_000_000, seconds: 60, connections: 2_000, log } : { entries: 50_000, seconds: 5, connections: 1_000, log },
    ),
  'record-cache': () =>
    benchRecordCache(
      isFull
        ? { records: 10_000_000, asks: 50_000_000, timedBytes: 1 * 2 ** 30, log }
        : { records: 200_000, asks: 1_000_000, timedBytes: 64 * 2 ** 20, log },
    ),
  redis: () => benchRedis({ entries: isFull ? 10_000_000 : 200_000, valueSize: 90, seconds: isFull ? 5 : 2, log }),
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

for (const [name, run] of Object.entries(benchmarks)) {
  if (only !== undefined && only !== name) continue;
  const result = await run();
  if (result === undefined) continue;
  console.log(JSON.stringify({ benchmark: name, isFull, ...(result as object) }, null, 1));
  if (isWritten) writeResult(flagOf('as') ?? name, result as object);
}
if (isWritten) drawPlots();
