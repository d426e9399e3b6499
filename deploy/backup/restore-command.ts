// `pavostore restore`: a version from a backup into the data folder, checked and published.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { formatCount, formatDuration, formatSize } from '../../shared/quantities.ts';
import { guardFlags, guardsIn } from '../publish/guard-flags.ts';
import type { RestoreReport } from './restore.ts';
import { transferFlags, withPlace } from './transfer-flags.ts';

export const restoreCommand = defineCommand({
  command: 'restore [id]',
  describe: 'fetch a version from a backup, check it, and publish it',
  positionals: {
    id: { type: 'string', describe: 'id of the version; by default the latest of the backup' },
  },
  options: {
    from: { type: 'string', demandOption: true, describe: 'the place: a folder, or s3://bucket/prefix', requiresArg: true },
    data: commonOptions.data,
    ...transferFlags,
    publish: { type: 'boolean', default: true, describe: 'make it the published version; --no-publish only writes it' },
    ...guardFlags,
    json: commonOptions.json,
  },
  examples: [
    ['restore --from /mnt/other/pavostore', 'the latest backup there, into ./data'],
    ['restore --from s3://bucket/prefix --data /srv/data', 'from an object store'],
  ],
  run: async (args) => {
    const { restoreVersion } = await import('./restore.ts');
    const { openProgressDisplay } = await import('../split/progress-display.ts');
    const { runUntilSignal } = await import('../split/interruption.ts');
    const { data: dataDir, id, publish, parallel } = args;
    const guards = guardsIn(args);
    const progress = openProgressDisplay(process.stderr);
    try {
      const report = await runUntilSignal((signal) =>
        withPlace(args.from, args, async (store) =>
          restoreVersion({ dataDir, store, id, publish, guards, parallel, onProgress: progress.show, onWarning: progress.say, signal }),
        ),
      );
      progress.close();
      console.log(args.json ? JSON.stringify(report) : formatReport(report));
    } finally {
      progress.close();
    }
  },
});

/** The report for people. */
function formatReport({
  id,
  place,
  published,
  sequence,
  reused,
  entries,
  sliceCount,
  sliceBytes,
  fetchedSlices,
  fetchedBytes,
  seconds,
}: RestoreReport): string {
  const state = published ? `published, sequence ${sequence}` : 'not published';
  const rows: [string, string][] = [
    ['version', `${id}, ${state}${reused ? '; it was there already' : ''}`],
    ['place', place],
    ['entries', formatCount(entries)],
    ['slices', `${sliceCount}, ${formatSize(sliceBytes)}`],
    ['fetched', `${fetchedSlices}, ${formatSize(fetchedBytes)}; ${sliceCount - fetchedSlices} were here`],
    ['time', formatDuration(1_000 * seconds)],
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n');
}
