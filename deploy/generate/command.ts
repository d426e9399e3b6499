// `pavostore generate`: test data to standard output.

import { defineCommand, wholeNumber } from '../../shared/command.ts';

export const generateCommand = defineCommand({
  command: 'generate',
  describe: 'write test data to standard output',
  options: {
    entries: { type: 'number', demandOption: true, describe: 'how many records', requiresArg: true },
    seed: { type: 'number', default: 1, describe: 'the same seed gives the same bytes', requiresArg: true },
    valueSize: { type: 'number', describe: 'mean size of a value in bytes; by default 1 to 10 words', requiresArg: true },
  },
  examples: [
    ['generate --entries 10000 > example.data', 'ten thousand records'],
    ['generate --entries 1000000 --seed 7 --value-size 90 | pavostore split -', 'a million, split at once'],
  ],
  run: async ({ entries, seed, valueSize }) => {
    const { entriesMax, generateLines, valueSizeMeanMax } = await import('./records.ts');
    const { writeToStandardOutput } = await import('./standard-output.ts');
    wholeNumber('--entries', entries, 0, entriesMax);
    wholeNumber('--seed', seed, 0, Number.MAX_SAFE_INTEGER);
    if (valueSize !== undefined) wholeNumber('--value-size', valueSize, 0, valueSizeMeanMax);
    await writeToStandardOutput(generateLines({ entries, seed, valueSize }));
  },
});
