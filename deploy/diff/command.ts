// `pavostore diff A B`: what was added, removed and changed between two versions.

import { isUtf8 } from 'node:buffer';
import { commonOptions, defineCommand, wholeNumber } from '../../shared/command.ts';
import { limits } from '../../shared/limits.ts';
import { formatCount, formatDuration } from '../../shared/quantities.ts';
import type { DiffReport, DiffSummary } from './diff.ts';
import { type DifferenceKind, differenceKinds, type Sample, sampleValueSizeMax } from './slice-difference.ts';

export const diffCommand = defineCommand({
  command: 'diff <a> <b>',
  describe: 'show what was added, removed and changed from version A to version B',
  positionals: {
    a: { type: 'string', demandOption: true, describe: 'a version: its id or how it begins, current, previous, or the path of its folder' },
    b: { type: 'string', demandOption: true, describe: 'another one' },
  },
  options: {
    data: commonOptions.data,
    samples: {
      type: 'number',
      default: 5,
      describe: 'how many records of each kind to show, the first in the order of hashes',
      requiresArg: true,
    },
    jobs: { type: 'number', describe: 'worker threads [one for each core]', requiresArg: true },
    json: commonOptions.json,
  },
  examples: [
    ['diff previous current', 'what the last publication changed'],
    ['diff 6f1c 03ab --samples 0 --json', 'only the counts, for machines'],
    ['diff current /backup/versions/03ab…', 'a version in another place; slice counts may differ'],
  ],
  run: async ({ a, b, data, samples, jobs, json }) => {
    const { diffVersions } = await import('./diff.ts');
    const { jobsOf } = await import('../split/split-options.ts');
    const { runUntilSignal } = await import('../split/interruption.ts');
    const { openProgressDisplay } = await import('../split/progress-display.ts');
    const samplesMax = wholeNumber('--samples', samples, 0, limits.diffSamplesMax);
    const progress = openProgressDisplay(process.stderr);
    const onProgress = (doneBytes: number, totalBytes: number): void => progress.show({ phase: 'compare', doneBytes, totalBytes });
    try {
      const threads = jobsOf({ jobs });
      const report = await runUntilSignal((signal) =>
        diffVersions({ dataDir: data, before: String(a), after: String(b), samplesMax, jobs: threads, onProgress, signal }),
      );
      progress.close();
      process.stdout.write(json ? `${JSON.stringify(toJson(report))}\n` : format(report));
    } finally {
      progress.close();
    }
  },
});

function toJson({ samples, ...counts }: DiffReport): object {
  const rows = differenceKinds.map((kind) => [kind, samples[kind].map(sampleToJson)]);
  return { ...counts, samples: Object.fromEntries(rows) };
}

/** Bytes that are not UTF-8 in base64, marked as `/mget` does. A value that is cut off may end within a character: then it is base64 too. */
function sampleToJson({ key, before, after }: Sample): object {
  return { ...textOf('key', key), ...(before ? textOf('before', before) : {}), ...(after ? textOf('after', after) : {}) };
}

function textOf(name: string, bytes: Uint8Array): Record<string, string> {
  const buffer = Buffer.from(bytes);
  return isUtf8(buffer) ? { [name]: buffer.toString() } : { [name]: buffer.toString('base64'), [`${name}Encoding`]: 'base64' };
}

const marks = { added: '+', removed: '-', changed: '~' } as const satisfies Record<DifferenceKind, string>;

function format({ before, after, added, removed, changed, unchanged, samples, seconds }: DiffReport): string {
  const side = ({ id, entries, sliceCount }: DiffSummary): string => `${id}, ${formatCount(entries)} entries in ${sliceCount} slices`;
  const rows: [string, string][] = [
    ['a', side(before)],
    ['b', side(after)],
    ['added', formatCount(added)],
    ['removed', formatCount(removed)],
    ['changed', formatCount(changed)],
    ['unchanged', formatCount(unchanged)],
    ['time', formatDuration(1_000 * seconds)],
  ];
  const lines = differenceKinds.flatMap((kind) => samples[kind].map((sample) => sampleLine(marks[kind], sample)));
  return `${[...rows.map(([name, value]) => `${name.padEnd(12)}${value}`), ...(lines.length > 0 ? ['', ...lines] : [])].join('\n')}\n`;
}

function sampleLine(mark: string, { key, before, after }: Sample): string {
  const values = [before, after].filter((value) => value !== undefined).map(shownValue);
  return `${mark} ${shown(key)} ${values.join(' -> ')}`;
}

/** As JSON shows it, so that no byte of the data reaches the terminal as a command to it. */
function shown(bytes: Uint8Array): string {
  return JSON.stringify(Buffer.from(bytes).toString()).replace(/[\x7f-\x9f]/g, '?');
}

function shownValue(bytes: Uint8Array): string {
  return bytes.length >= sampleValueSizeMax ? `${shown(bytes)}…` : shown(bytes);
}
