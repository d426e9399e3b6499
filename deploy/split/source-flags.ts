// The flags that decide what a version holds, given its files: those of `split`, and of `serve`, which splits when it must.

import type { Options } from '../../shared/command.ts';
import { type BadLinePolicy, badLinePolicies, type DuplicatePolicy, duplicatePolicies } from './line-rules.ts';
import type { SourceOptions } from './split-options.ts';

export const sourceFlags = {
  slices: { type: 'number', describe: 'how many slices, a power of two up to 4096 [one for each 64 MiB, at least 256]', requiresArg: true },
  duplicates: {
    type: 'string',
    choices: duplicatePolicies,
    default: 'last',
    describe: 'which record of a repeated key counts',
    requiresArg: true,
  },
  'bad-lines': {
    type: 'string',
    choices: badLinePolicies,
    default: 'error',
    describe: 'what becomes of a line that is no record',
    requiresArg: true,
  },
  rejects: { type: 'string', describe: 'file for the lines that --bad-lines skip rejects [DATA/rejects.txt]', requiresArg: true },
  separator: { type: 'string', default: 'space', describe: 'what ends the key: one ASCII character, space or tab', requiresArg: true },
  'keep-cr': { type: 'boolean', default: false, describe: 'keep a CR before the newline in the value' },
  jobs: { type: 'number', describe: 'worker threads [one for each core]', requiresArg: true },
} as const satisfies Record<string, Options>;

/** The parsed flags as a split's options. */
export function sourceOptionsIn(args: {
  slices: number | undefined;
  duplicates: DuplicatePolicy;
  badLines: BadLinePolicy;
  rejects: string | undefined;
  separator: string;
  keepCr: boolean;
  jobs: number | undefined;
}): SourceOptions & { readonly jobs: number | undefined; readonly rejectsPath: string | undefined } {
  const { slices: sliceCount, duplicates, badLines, rejects: rejectsPath, separator, keepCr, jobs } = args;
  return { sliceCount, duplicates, badLines, separator, keepCr, jobs, rejectsPath };
}
