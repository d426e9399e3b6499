// `pavostore pin` and `pavostore unpin`: `current` stays at one version, whatever is split meanwhile.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { republicationFlags, republish } from './republication.ts';

export const pinCommand = defineCommand({
  command: 'pin [id]',
  describe: 'keep a version published until `unpin`',
  positionals: { id: { type: 'string', describe: 'the version, or how its id begins [the published one]' } },
  options: republicationFlags,
  examples: [
    ['pin', 'what is published stays so; `split` still writes new versions'],
    ['pin 6f1c --router http://127.0.0.1:8080', 'publishes that one and keeps it'],
  ],
  run: async (args) => await republish(args, { act: 'pinVersion', done: 'pinned' }),
});

export const unpinCommand = defineCommand({
  command: 'unpin',
  describe: 'let new versions be published again',
  options: { data: commonOptions.data, json: commonOptions.json },
  examples: [['unpin', 'what is published stays until the next `publish` or `split`']],
  run: async ({ data, json }) => {
    const { unpinVersion } = await import('./rollback.ts');
    const pin = await unpinVersion({ dataDir: data, onWarning: (message) => console.error(`pavostore: ${message}`) });
    if (json) console.log(JSON.stringify({ id: pin?.id ?? null }));
    else console.log(pin ? `version ${pin.id} is no longer pinned` : 'no version was pinned');
  },
});
