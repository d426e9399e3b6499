// `npm run bench`: every benchmark in turn, small by default, in full size with `--full`. Prints what each measures; results that count
// are written down in docs/benchmarks.md with machine, commit and command.

import { benchCpuPerGet } from './cpu-per-get.ts';
import { benchSplit } from './split.ts';

const isFull = process.argv.includes('--full');
const only = process.argv.slice(2).find((argument) => !argument.startsWith('--'));
const log = (line: string): void => console.error(line);

const benchmarks: Readonly<Record<string, () => Promise<unknown>>> = {
  'cpu-per-get': () =>
    benchCpuPerGet(isFull ? { entries: 1_000_000, seconds: 8, pairs: 5, log } : { entries: 100_000, seconds: 2, pairs: 3, log }),
  split: () => benchSplit({ entries: isFull ? 10_000_000 : 200_000, log }),
};

for (const [name, run] of Object.entries(benchmarks)) {
  if (only !== undefined && only !== name) continue;
  console.log(JSON.stringify({ benchmark: name, isFull, ...((await run()) as object) }, null, 1));
}
