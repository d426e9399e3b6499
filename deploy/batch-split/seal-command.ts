// `pavostore split-seal`: the second pass of a split over one range of hashes.

import { defineCommand } from '../../shared/command.ts';
import { formatCount } from '../../shared/quantities.ts';
import { batchFlags } from './batch-flags.ts';

export const splitSealCommand = defineCommand({
  command: 'split-seal',
  describe: 'second step of a split on many machines: write the slices of a range of hashes',
  options: {
    work: batchFlags.work,
    ranges: {
      type: 'string',
      demandOption: true,
      describe: 'of the 256 hash partitions the first and the last: 0-255 are all',
      requiresArg: true,
    },
    jobs: batchFlags.jobs,
    json: batchFlags.json,
  },
  examples: [['split-seal --work /shared/work --ranges 64-127', 'the second quarter; all parts must be complete']],
  run: async ({ work, ranges, jobs, json }) => {
    const { sealRange } = await import('./seal-range.ts');
    const { parseRange } = await import('./work-folder.ts');
    const { runWithProgress } = await import('./progress.ts');
    const report = await runWithProgress((watch) => sealRange({ workDir: work, range: parseRange(ranges), jobs, ...watch }));
    const { range, reused, slices, entries } = report;
    const state = reused ? 'was sealed already' : 'sealed';
    const text = `range ${range.first}-${range.last} ${state}: ${formatCount(slices)} slices, ${formatCount(entries)} entries`;
    console.log(json ? JSON.stringify(report) : text);
  },
});
