// `pavostore prune`: removes versions that nobody needs any more, from the data folder or from a backup.

import { commonOptions, defineCommand, wholeNumber } from '../../shared/command.ts';
import { limits } from '../../shared/limits.ts';
import { placeFlags, placeOptionsIn } from '../../shared/place-flags.ts';
import { formatSize } from '../../shared/quantities.ts';
import type { PruneBackupReport } from '../backup/prune-backup.ts';
import type { PrunedVersion } from './prune.ts';

export const pruneCommand = defineCommand({
  command: 'prune',
  describe: 'remove old versions from the data folder, or from a backup',
  options: {
    data: commonOptions.data,
    keep: { type: 'number', default: limits.pruneKeepDefault, describe: 'how many of the newest stay in any case', requiresArg: true },
    members: { ...commonOptions.members, describe: 'shards that are asked what they hold: that stays' },
    backup: { type: 'string', describe: 'remove them from this place instead: a folder, or s3://bucket/prefix', requiresArg: true },
    ...placeFlags,
    'dry-run': { type: 'boolean', default: false, describe: 'only say what would go' },
    json: commonOptions.json,
  },
  examples: [
    ['prune --members dns://shard:7070', 'never the published one, the one before, a pinned one, or one replaced less than an hour ago'],
    ['prune --keep 10 --dry-run', 'says what would go, and why the others stay'],
    ['prune --backup s3://bucket/prefix --keep 30', 'the backups of older versions; while no backup is running'],
  ],
  run: async (args) => {
    const { data, keep, members, backup, dryRun, json } = args;
    const { runUntilSignal } = await import('../split/interruption.ts');
    wholeNumber('--keep', keep, 1, limits.pruneKeepMax);
    const reportedBy = await askMembers(members);
    if (backup !== undefined) {
      const { pruneBackup } = await import('../backup/prune-backup.ts');
      const { openPlace } = await import('../../shared/place.ts');
      const { versionsNeededIn } = await import('./prune.ts');
      const neededFor = new Map([
        ...(await versionsNeededIn(data, say)),
        ...[...reportedBy].map(([id, names]) => [id, heldBy(names)] as const),
      ]);
      const store = openPlace(backup, placeOptionsIn(args));
      try {
        const report = await runUntilSignal((signal) => pruneBackup({ store, keep, dryRun, neededFor, signal }));
        console.log(json ? JSON.stringify(backupToJson(report, dryRun)) : formatBackup(report, dryRun));
      } finally {
        await store.close();
      }
      return;
    }
    const { pruneVersions } = await import('./prune.ts');
    const pruned = await runUntilSignal((signal) => pruneVersions({ dataDir: data, keep, dryRun, reportedBy, onWarning: say, signal }));
    console.log(json ? JSON.stringify(toJson(pruned, dryRun)) : format(pruned, dryRun));
  },
});

function say(message: string): void {
  console.error(`pavostore: ${message}`);
}

/** Which members report each version, by its id. */
async function askMembers(members: string | undefined): Promise<Map<string, string[]>> {
  const reportedBy = new Map<string, string[]>();
  if (members === undefined) {
    say('no --members: what shards still hold was not asked');
    return reportedBy;
  }
  const { pollMembers } = await import('../tools/polled-members.ts');
  for (const { name, address, report } of await pollMembers(members)) {
    // What a shard holds in memory does not need the file any more; what it is about to load was published within the hour.
    if (!report) say(`member ${address} does not answer: what it holds is not known`);
    for (const { id } of report?.versions ?? []) reportedBy.set(id, [...(reportedBy.get(id) ?? []), name]);
  }
  return reportedBy;
}

function heldBy(names: readonly string[]): string {
  return `held by ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`;
}

function toJson(pruned: readonly PrunedVersion[], dryRun: boolean): object {
  const went = pruned.filter(({ keptFor }) => keptFor === undefined);
  return {
    dryRun,
    removed: went.map(({ version }) => ({ id: version.id, sliceBytes: version.sliceBytes ?? null })),
    kept: pruned.flatMap(({ version, keptFor }) => (keptFor === undefined ? [] : [{ id: version.id, reason: keptFor }])),
  };
}

function backupToJson({ place, versions, removedSlices, removedBytes }: PruneBackupReport, dryRun: boolean): object {
  return {
    dryRun,
    place,
    removed: versions.flatMap(({ id, sliceBytes, keptFor }) => (keptFor === undefined ? [{ id, sliceBytes }] : [])),
    kept: versions.flatMap(({ id, keptFor }) => (keptFor === undefined ? [] : [{ id, reason: keptFor }])),
    removedSlices,
    removedBytes,
  };
}

function format(pruned: readonly PrunedVersion[], dryRun: boolean): string {
  const lines = pruned.map(({ version: { id, sliceBytes }, keptFor }) =>
    formatLine(id, keptFor, sliceBytes === undefined ? 'damaged' : formatSize(sliceBytes), dryRun),
  );
  return lines.length === 0 ? 'no version' : lines.join('\n');
}

function formatBackup({ place, versions, removedSlices, removedBytes }: PruneBackupReport, dryRun: boolean): string {
  const lines = versions.map(({ id, sliceBytes, keptFor }) => formatLine(id, keptFor, formatSize(sliceBytes), dryRun));
  return [...lines, `${place}: ${removedSlices} slices ${wentOr(dryRun)}, ${formatSize(removedBytes)}`].join('\n');
}

function formatLine(id: string, keptFor: string | undefined, size: string, dryRun: boolean): string {
  return keptFor === undefined ? `${id}  ${wentOr(dryRun)}, ${size}` : `${id}  kept: ${keptFor}`;
}

function wentOr(dryRun: boolean): string {
  return dryRun ? 'would go' : 'removed';
}
