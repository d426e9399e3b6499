// `pavostore backup`: a version to another disk or an object store; with --check, how good the backup there is.

import { commonOptions, defineCommand, exitCode } from '../../shared/command.ts';
import { durationBetween, formatCount, formatDuration, formatSize } from '../../shared/quantities.ts';
import type { BackupReport } from './backup.ts';
import type { CheckReport } from './check.ts';
import { transferFlags, withPlace } from './transfer-flags.ts';

export const backupCommand = defineCommand({
  command: 'backup [id]',
  describe: 'copy a version to another disk or an object store, or check the copy',
  positionals: {
    id: { type: 'string', describe: 'id of the version; by default the published one' },
  },
  options: {
    to: { type: 'string', demandOption: true, describe: 'the place: a folder, or s3://bucket/prefix', requiresArg: true },
    data: commonOptions.data,
    ...transferFlags,
    verify: { type: 'boolean', default: true, describe: 'read back what was sent; --no-verify trusts the store' },
    deep: { type: 'boolean', default: false, describe: 'read what is there already as well; send again what is damaged' },
    check: {
      type: 'boolean',
      default: false,
      describe: 'send nothing: say how old and how whole the backup is; exit code 1 when it is not good',
    },
    maxAge: {
      type: 'string',
      describe: 'with --check: how long what is published may be without a backup, for instance 24h [0s]',
      requiresArg: true,
    },
    json: commonOptions.json,
  },
  examples: [
    ['backup --to /mnt/other/pavostore', 'what is published in ./data, to another disk'],
    ['backup --to s3://bucket/prefix --endpoint https://minio:9000 --rate 50MiB', 'to an object store, not too fast'],
    ['backup --to s3://bucket/prefix --check --max-age 24h', 'for a monitor'],
  ],
  run: async (args) => {
    const { openProgressDisplay } = await import('../split/progress-display.ts');
    const { runUntilSignal } = await import('../split/interruption.ts');
    const { data: dataDir, id, verify, deep, parallel } = args;
    const ageMaxMs = args.maxAge === undefined ? undefined : durationBetween('--max-age', args.maxAge, 0, 366 * 24 * 3_600_000);
    const progress = openProgressDisplay(process.stderr);
    const common = { dataDir, id, deep, parallel, onProgress: progress.show };
    try {
      await runUntilSignal((signal) =>
        withPlace(args.to, args, async (store) => {
          if (args.check) {
            const { checkBackup } = await import('./check.ts');
            const report = await checkBackup({ ...common, store, ageMaxMs, signal });
            progress.close();
            console.log(args.json ? JSON.stringify({ ...report, good: report.problems.length === 0 }) : formatCheck(report));
            if (report.problems.length > 0) process.exitCode = exitCode.failed;
          } else {
            const { backupVersion } = await import('./backup.ts');
            const report = await backupVersion({ ...common, store, verify, onWarning: progress.say, signal });
            progress.close();
            console.log(args.json ? JSON.stringify(report) : formatBackup(report));
          }
        }),
      );
    } finally {
      progress.close();
    }
  },
});

/** The report for people. */
export function formatBackup(report: BackupReport): string {
  const {
    id,
    place,
    sequence,
    latest,
    sliceCount,
    entries,
    sliceBytes,
    foundSlices,
    sentSlices,
    sentBytes,
    mendedSlices,
    verifiedSlices,
    seconds,
  } = report;
  const state = latest ? `the latest there, sequence ${sequence}` : 'not the latest there';
  const rows: [string, string][] = [
    ['version', `${id}, ${state}`],
    ['place', place],
    ['entries', formatCount(entries)],
    ['slices', `${sliceCount}, ${formatSize(sliceBytes)}`],
    [
      'sent',
      `${sentSlices}, ${formatSize(sentBytes)}${mendedSlices > 0 ? `; ${mendedSlices} were there, but damaged` : ''}; ${foundSlices} were there`,
    ],
    ['verified', `${verifiedSlices} slices`],
    ['time', formatDuration(1_000 * seconds)],
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n');
}

function formatCheck({ place, id, sequence, ageMs, behindMs, versionsBehind, sliceCount, problems }: CheckReport): string {
  const age = ageMs === undefined ? '' : `, published ${formatDuration(ageMs)} ago`;
  const behind =
    behindMs === 0
      ? ''
      : `; behind for ${formatDuration(behindMs)}, ${versionsBehind} younger ${versionsBehind === 1 ? 'version' : 'versions'} not there`;
  const summary = `${place}: version ${id ?? 'unknown'}, sequence ${sequence ?? 'unknown'}${age}, ${sliceCount} slices${behind}`;
  return [
    ...problems,
    `${summary}; ${problems.length === 0 ? 'good' : `${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`}`,
  ].join('\n');
}
