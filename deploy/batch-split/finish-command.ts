// `pavostore split-finish`: puts the slices of all ranges together and publishes the version.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { formatCount, formatSize } from '../../shared/quantities.ts';
import { guardFlags, guardsIn } from '../publish/guard-flags.ts';
import { sourceFlags } from '../split/source-flags.ts';
import { batchFlags } from './batch-flags.ts';
import type { FinishReport } from './finish-split.ts';

export const splitFinishCommand = defineCommand({
  command: 'split-finish',
  describe: 'last step of a split on many machines: check all slices and publish them',
  options: {
    work: batchFlags.work,
    data: commonOptions.data,
    rejects: sourceFlags.rejects,
    jobs: batchFlags.jobs,
    publish: { type: 'boolean', default: true, describe: 'make it the published version; --no-publish only writes it' },
    ...guardFlags,
    json: batchFlags.json,
  },
  examples: [['split-finish --work /shared/work --data /srv/data', 'publishes it; /shared/work can be removed then']],
  run: async ({ work, data, rejects, jobs, publish, maxShrink, force, json }) => {
    const { finishSplit } = await import('./finish-split.ts');
    const { runWithProgress } = await import('./progress.ts');
    const guards = guardsIn({ maxShrink, force });
    const report = await runWithProgress((watch) =>
      finishSplit({ workDir: work, dataDir: data, rejectsPath: rejects, jobs, publish, guards, ...watch }),
    );
    console.log(json ? JSON.stringify(report) : formatReport(report));
  },
});

/** The report for people. */
function formatReport({ id, sequence, published, reused, sliceCount, totals, rejectsPath }: FinishReport): string {
  const state = published ? `published, sequence ${sequence}` : 'not published';
  const rows: [string, string][] = [
    ['version', `${id}, ${state}${reused ? '; it was there already' : ''}`],
    ['entries', formatCount(totals.entries)],
    ['duplicates', formatCount(totals.duplicates)],
    ['rejected', `${formatCount(totals.rejectedLines)}${rejectsPath === undefined ? '' : `, in ${rejectsPath}`}`],
    ['blank lines', formatCount(totals.blankLines)],
    ['slices', `${sliceCount}, ${formatSize(totals.sliceBytes)}`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n');
}
