// `npm run bench`: every benchmark in turn, small by default, in full size with `--full`. Prints what each measures; results that count
// are written down in docs/benchmarks.md with machine, commit and command.

import { benchCpuPerGet } from './cpu-per-get.ts';
import { benchRecordCache } from './record-cache.ts';
import { benchServing } from './serving.ts';
import { benchSplit } from './split.ts';

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
    benchCpuPerGet(isFull ? { entries: 1_000_000, seconds: 8, pairs: 5, log } : { entries: 100_000, seconds: 2, pairs: 3, log }),
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
  'record-cache': () =>
    benchRecordCache(
      isFull
        ? { records: 10_000_000, asks: 50_000_000, timedBytes: 1 * 2 ** 30, log }
        : { records: 200_000, asks: 1_000_000, timedBytes: 64 * 2 ** 20, log },
    ),
  split: () => benchSplit({ entries: isFull ? 10_000_000 : 200_000, log }),
};

for (const [name, run] of Object.entries(benchmarks)) {
  if (only !== undefined && only !== name) continue;
  console.log(JSON.stringify({ benchmark: name, isFull, ...((await run()) as object) }, null, 1));
}
