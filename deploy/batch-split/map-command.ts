// `pavostore split-map`: the first pass of a split over one part of the input.

import { defineCommand } from '../../shared/command.ts';
import { formatCount } from '../../shared/quantities.ts';
import { sourceFlags, sourceOptionsIn } from '../split/source-flags.ts';
import { batchFlags } from './batch-flags.ts';

const { rejects: _, ...mapFlags } = sourceFlags;

export const splitMapCommand = defineCommand({
  command: 'split-map <files..>',
  describe: 'first step of a split on many machines: read one part of the files',
  positionals: {
    files: {
      type: 'string',
      array: true,
      demandOption: true,
      describe: 'text files, .gz or .zst; the same for each part, in the same order',
    },
  },
  options: {
    work: batchFlags.work,
    part: { type: 'string', demandOption: true, describe: 'which part of how many: 0/16 to 15/16', requiresArg: true },
    ...mapFlags,
    json: batchFlags.json,
  },
  examples: [
    ['split-map --work /shared/work --part 3/16 /shared/big.data', 'reads the fourth of 16 parts'],
    ['split-map --work /shared/work --part 0/2 --slices 1024 a.gz b.gz', 'a compressed file goes whole to one part'],
  ],
  run: async (args) => {
    const { mapPart } = await import('./map-part.ts');
    const { parsePart } = await import('./work-folder.ts');
    const { runWithProgress } = await import('./progress.ts');
    const { rejectsPath: _unused, ...sourceOptions } = sourceOptionsIn({ ...args, rejects: undefined });
    const report = await runWithProgress((watch) =>
      mapPart({ files: args.files, workDir: args.work, part: parsePart(args.part), ...sourceOptions, ...watch }),
    );
    const { part, reused, lines, records } = report;
    const state = reused ? 'was complete already' : 'complete';
    const text = `part ${part.index} of ${part.count} ${state}: ${formatCount(lines)} lines, ${formatCount(records)} records`;
    console.log(args.json ? JSON.stringify(report) : text);
  },
});
