// `pavostore split FILE…`: text files to a version of the data folder.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { formatCount, formatDuration, formatSize } from '../../shared/quantities.ts';
import { formatBackup } from '../backup/backup-command.ts';
import { transferFlags, withPlace } from '../backup/transfer-flags.ts';
import { guardFlags, guardsIn } from '../publish/guard-flags.ts';
import { ifPinnedChoices } from '../publish/guards.ts';
import { sourceFlags, sourceOptionsIn } from './source-flags.ts';
import type { SplitReport } from './split.ts';

export const splitCommand = defineCommand({
  command: 'split <files..>',
  describe: 'turn text files into a new version and publish it',
  positionals: {
    files: { type: 'string', array: true, demandOption: true, describe: 'text files, .gz, .zst, or - for standard input' },
  },
  options: {
    data: commonOptions.data,
    ...sourceFlags,
    publish: { type: 'boolean', default: true, describe: 'make it the published version; --no-publish only writes it' },
    ...guardFlags,
    'if-pinned': {
      type: 'string',
      choices: ifPinnedChoices,
      default: 'fail',
      describe: 'while a version is pinned: fail, or keep it and only write the new one',
      requiresArg: true,
    },
    backup: { type: 'string', describe: 'back it up at once: a folder, or s3://bucket/prefix; see `pavostore backup`', requiresArg: true },
    ...transferFlags,
    json: commonOptions.json,
  },
  examples: [
    ['split input_data/example.data', 'publishes it in ./data'],
    ['split --separator tab --bad-lines skip a.tsv.gz b.tsv.zst', 'two compressed files of one data set'],
    ['split - --no-publish < records.data', 'standard input; writes the version only'],
  ],
  run: async (args) => {
    const { splitFiles } = await import('./split.ts');
    const { openProgressDisplay } = await import('./progress-display.ts');
    const { runUntilSignal } = await import('./interruption.ts');
    const guards = guardsIn(args);
    const progress = openProgressDisplay(process.stderr);
    try {
      const common = { dataDir: args.data, onProgress: progress.show, onWarning: progress.say };
      await runUntilSignal(async (signal) => {
        const split = async (): Promise<SplitReport> =>
          await splitFiles({
            ...common,
            files: args.files,
            ...sourceOptionsIn(args),
            publish: args.publish,
            guards,
            ifPinned: args.ifPinned,
            signal,
          });
        const say = (report: object, text: string): void => {
          progress.close();
          console.log(args.json ? JSON.stringify(report) : text);
        };
        if (args.backup === undefined) {
          const report = await split();
          return say(report, formatReport(report));
        }
        const { backupVersion } = await import('../backup/backup.ts');
        // Opened first: a wrong place is told before the work, not after it.
        await withPlace(args.backup, args, async (store) => {
          const report = await split();
          if (!args.json) say(report, formatReport(report));
          const backup = await backupVersion({ ...common, store, id: report.id, parallel: args.parallel, signal }).catch(
            (error: unknown) => {
              // What was split stands, whatever became of its backup.
              if (args.json) say(report, '');
              throw error;
            },
          );
          say({ ...report, backup }, `\nbackup\n${formatBackup(backup)}`);
        });
      });
    } finally {
      progress.close();
    }
  },
});

/** The report for people. */
function formatReport({ id, published, reused, sequence, sliceCount, inputBytes, totals, rejectsPath, seconds }: SplitReport): string {
  const workMs = 1_000 * (seconds.read + seconds.seal);
  const rate = (amount: number): number => Math.round((1_000 * amount) / Math.max(1, workMs));
  const state = published ? `published, sequence ${sequence}` : 'not published';
  const rows: [string, string][] = [
    ['version', `${id}, ${state}${reused ? '; it was there already' : ''}`],
    ['entries', formatCount(totals.entries)],
    ['duplicates', formatCount(totals.duplicates)],
    ['rejected', `${formatCount(totals.rejectedLines)}${rejectsPath === undefined ? '' : `, in ${rejectsPath}`}`],
    ['blank lines', formatCount(totals.blankLines)],
    ['slices', `${sliceCount}, ${formatSize(totals.sliceBytes)} of ${formatSize(inputBytes)} read`],
    ['rate', `${formatCount(rate(totals.lines))} lines/s, ${formatSize(rate(inputBytes))}/s`],
    ['time', `${formatDuration(workMs)}, and ${formatDuration(1_000 * seconds.sync)} for the disk and publishing`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n');
}
