// `pavostore inspect`: what a version is, and with --slice what one of its files says of itself.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { formatCount, formatSize } from '../../shared/quantities.ts';
import type { VersionSummary } from './inspect.ts';

export const inspectCommand = defineCommand({
  command: 'inspect',
  describe: 'show what a version holds',
  options: {
    data: commonOptions.data,
    version: { type: 'string', describe: 'id of the version; by default the published one', requiresArg: true },
    slice: { type: 'number', describe: 'show the header of this slice instead', requiresArg: true },
    json: commonOptions.json,
  },
  examples: [
    ['inspect', 'shows what is published in ./data'],
    ['inspect --slice 7 --json', 'shows the header of a slice'],
  ],
  run: async ({ data, version, slice, json }) => {
    const { inspectSlice, inspectVersion } = await import('./inspect.ts');
    const summary = await inspectVersion(data, version);
    const shown = slice === undefined ? summary : await inspectSlice(data, summary.id, slice);
    if (json) console.log(JSON.stringify(shown));
    else console.log(slice === undefined ? format(summary) : JSON.stringify(shown, null, 2));
  },
});

/** The summary for people. */
function format(summary: VersionSummary): string {
  const { totals, source, sliceSize, sliceEntries } = summary;
  const rows: [string, string][] = [
    ['version', `${summary.id}${summary.sequence === undefined ? ' (not the published one)' : ''}`],
    ['sequence', summary.sequence === undefined ? '-' : `${summary.sequence}, before it ${summary.previousId ?? 'none'}`],
    ['created', summary.createdAt],
    ['format', `${summary.format}, ${summary.hash}`],
    ['entries', formatCount(totals.entries)],
    ['keys', formatSize(totals.keyBytes)],
    ['values', formatSize(totals.valueBytes)],
    ['slices', `${summary.sliceCount}, ${formatSize(totals.sliceBytes)}`],
    ['slice size', `min ${formatSize(sliceSize.min)}, mean ${formatSize(Math.round(sliceSize.mean))}, max ${formatSize(sliceSize.max)}`],
    [
      'slice entries',
      `min ${formatCount(sliceEntries.min)}, mean ${formatCount(Math.round(sliceEntries.mean))}, max ${formatCount(sliceEntries.max)}`,
    ],
    ['overhead', `${summary.overheadPerEntry.toFixed(2)} bytes an entry`],
    [
      'lines',
      `${formatCount(totals.lines)}: ${formatCount(totals.duplicates)} duplicates, ${formatCount(totals.rejectedLines)} rejected, ${formatCount(totals.blankLines)} blank`,
    ],
    [
      'options',
      Object.entries(source.options)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    ],
    ...source.files.map(({ path, size }): [string, string] => ['source', `${path}, ${formatSize(size)}`]),
  ];
  return rows.map(([name, value]) => `${name.padEnd(14)}${value}`).join('\n');
}
