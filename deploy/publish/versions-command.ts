// `pavostore versions`: what lies in the data folder, and which of it is published.

import { commonOptions, defineCommand, exitCode } from '../../shared/command.ts';
import { formatCount, formatSize } from '../../shared/quantities.ts';
import type { ListedVersion, VersionList } from './version-list.ts';

export const versionsCommand = defineCommand({
  command: 'versions',
  describe: 'list the versions in the data folder, newest first',
  options: { data: commonOptions.data, json: commonOptions.json },
  examples: [
    ['versions', 'which there are, when they were published, how large they are'],
    ['versions --json', 'the same for machines, with what the guards said against them'],
  ],
  run: async ({ data, json }) => {
    const { listVersions } = await import('./version-list.ts');
    const list = await listVersions(data, (message) => {
      console.error(`pavostore: ${message}`);
      process.exitCode = exitCode.failed;
    });
    console.log(json ? JSON.stringify(toJson(list)) : format(list));
  },
});

function toJson({ current, publications, versions }: VersionList): object {
  const { pin } = publications;
  return {
    current: current ? { id: current.id, sequence: current.sequence, previousId: current.previousId ?? null } : null,
    pinned: pin?.id ?? null,
    versions: versions.map(({ sequence, publishedMs, replacedMs, placedMs, entries, sliceCount, sliceBytes, ...rest }) => ({
      ...rest,
      sequence: sequence ?? null,
      publishedAt: timeOf(publishedMs),
      replacedAt: timeOf(replacedMs),
      placedAt: timeOf(placedMs),
      entries: entries ?? null,
      sliceCount: sliceCount ?? null,
      sliceBytes: sliceBytes ?? null,
    })),
  };
}

/** The table for people; below each version what speaks against it. */
function format({ versions }: VersionList): string {
  if (versions.length === 0) return 'no version';
  const rows = [['version', 'published', 'sequence', 'entries', 'slices', 'size', 'state'], ...versions.map(rowOf)];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
  return lines.flatMap((line, index) => [line, ...(versions[index - 1]?.reasons ?? []).map((reason) => `  ${reason}`)]).join('\n');
}

function rowOf({ id, publishedMs, sequence, entries, sliceCount, sliceBytes, states }: ListedVersion): string[] {
  return [
    id,
    timeOf(publishedMs)
      ?.replace('T', ' ')
      .replace(/\.\d+Z$/, ' UTC') ?? '-',
    sequence === undefined ? '-' : String(sequence),
    entries === undefined ? '-' : formatCount(entries),
    sliceCount === undefined ? '-' : String(sliceCount),
    sliceBytes === undefined ? '-' : formatSize(sliceBytes),
    states.join(', '),
  ];
}

/** ISO 8601, UTC. */
function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
