// `pavostore prune`: removes versions that nobody needs any more.

import { commonOptions, defineCommand, wholeNumber } from '../../shared/command.ts';
import { limits } from '../../shared/limits.ts';
import { formatSize } from '../../shared/quantities.ts';
import type { PrunedVersion } from './prune.ts';

export const pruneCommand = defineCommand({
  command: 'prune',
  describe: 'remove old versions from the data folder',
  options: {
    data: commonOptions.data,
    keep: { type: 'number', default: limits.pruneKeepDefault, describe: 'how many of the newest stay in any case', requiresArg: true },
    members: { ...commonOptions.members, describe: 'shards that are asked what they hold: that stays' },
    'dry-run': { type: 'boolean', default: false, describe: 'only say what would go' },
    json: commonOptions.json,
  },
  examples: [
    ['prune --members dns://shard:7070', 'never the published one, the one before, a pinned one, or one replaced less than an hour ago'],
    ['prune --keep 10 --dry-run', 'says what would go, and why the others stay'],
  ],
  run: async ({ data, keep, members, dryRun, json }) => {
    const { pruneVersions } = await import('./prune.ts');
    const { runUntilSignal } = await import('../split/interruption.ts');
    const say = (message: string): void => console.error(`pavostore: ${message}`);
    wholeNumber('--keep', keep, 1, limits.pruneKeepMax);
    const reportedBy = await askMembers(members, say);
    const pruned = await runUntilSignal((signal) => pruneVersions({ dataDir: data, keep, dryRun, reportedBy, onWarning: say, signal }));
    console.log(json ? JSON.stringify(toJson(pruned, dryRun)) : format(pruned, dryRun));
  },
});

/** Which members report each version, by its id. */
async function askMembers(members: string | undefined, say: (message: string) => void): Promise<Map<string, string[]>> {
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

function toJson(pruned: readonly PrunedVersion[], dryRun: boolean): object {
  const went = pruned.filter(({ keptFor }) => keptFor === undefined);
  return {
    dryRun,
    removed: went.map(({ version }) => ({ id: version.id, sliceBytes: version.sliceBytes ?? null })),
    kept: pruned.flatMap(({ version, keptFor }) => (keptFor === undefined ? [] : [{ id: version.id, reason: keptFor }])),
  };
}

function format(pruned: readonly PrunedVersion[], dryRun: boolean): string {
  const verb = dryRun ? 'would go' : 'removed';
  const lines = pruned.map(({ version: { id, sliceBytes }, keptFor }) =>
    keptFor === undefined ? `${id}  ${verb}, ${sliceBytes === undefined ? 'damaged' : formatSize(sliceBytes)}` : `${id}  kept: ${keptFor}`,
  );
  return lines.length === 0 ? 'no version' : lines.join('\n');
}
