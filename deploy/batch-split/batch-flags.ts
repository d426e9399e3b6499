// The flags that the three steps of a split on many machines have in common.

import { commonOptions, type Options } from '../../shared/command.ts';

export const batchFlags = {
  work: { type: 'string', demandOption: true, describe: 'folder that all machines share; a new one for each split', requiresArg: true },
  jobs: { type: 'number', describe: 'worker threads [one for each core]', requiresArg: true },
  json: commonOptions.json,
} as const satisfies Record<string, Options>;
