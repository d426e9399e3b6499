// `pavostore reslice`: the same version in another number of slices, made from its slices alone.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { formatCount, formatDuration, formatSize } from '../../shared/quantities.ts';
import { guardFlags, guardsIn } from '../publish/guard-flags.ts';
import type { ResliceReport } from './reslice.ts';

export const resliceCommand = defineCommand({
  command: 'reslice',
  describe: 'cut or join the slices of a version, without the text, and publish the result',
  options: {
    slices: { type: 'number', demandOption: true, describe: 'how many slices, a power of two up to 4096', requiresArg: true },
    data: commonOptions.data,
    version: { type: 'string', describe: 'id of the version; by default the published one', requiresArg: true },
    publish: { type: 'boolean', default: true, describe: 'make it the published version; --no-publish only writes it' },
    ...guardFlags,
    jobs: { type: 'number', describe: 'worker threads [one for each core]', requiresArg: true },
    json: commonOptions.json,
  },
  examples: [
    ['reslice --slices 1024', 'cuts what is published in ./data into 1024 slices and publishes that'],
    ['reslice --slices 16 --no-publish', 'joins the slices to 16; writes the version only'],
  ],
  run: async ({ slices, data, version, publish, maxShrink, force, jobs, json }) => {
    const { resliceVersion } = await import('./reslice.ts');
    const { openProgressDisplay } = await import('../split/progress-display.ts');
    const { runUntilSignal } = await import('../split/interruption.ts');
    const guards = guardsIn({ maxShrink, force });
    const progress = openProgressDisplay(process.stderr);
    try {
      const report = await runUntilSignal((signal) =>
        resliceVersion({
          dataDir: data,
          sliceCount: slices,
          id: version,
          jobs,
          publish,
          guards,
          onProgress: progress.show,
          onWarning: progress.say,
          signal,
        }),
      );
      progress.close();
      console.log(json ? JSON.stringify(report) : formatReport(report));
    } finally {
      progress.close();
    }
  },
});

/** The report for people. */
function formatReport(report: ResliceReport): string {
  const { id, sourceId, published, reused, sequence, sliceCount, sourceSliceCount, totals, seconds } = report;
  if (id === sourceId) return `version ${id} has ${sliceCount} slices already: nothing was done`;
  const state = published ? `published, sequence ${sequence}` : 'not published';
  const rows: [string, string][] = [
    ['version', `${id}, ${state}${reused ? '; it was there already' : ''}`],
    ['made of', `${sourceId}, ${sourceSliceCount} slices`],
    ['entries', formatCount(totals.entries)],
    ['slices', `${sliceCount}, ${formatSize(totals.sliceBytes)}`],
    ['time', `${formatDuration(1_000 * seconds.seal)}, and ${formatDuration(1_000 * seconds.sync)} for the disk and publishing`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n');
}
