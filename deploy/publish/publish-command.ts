// `pavostore publish ID`: makes a version that lies in the data folder the published one.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { guardFlags, guardsIn } from './guard-flags.ts';
import { waitFlags, waitSettingsIn } from './wait-flags.ts';

export const publishCommand = defineCommand({
  command: 'publish <id>',
  describe: 'publish a version that lies in the data folder, and wait until it is served',
  positionals: { id: { type: 'string', demandOption: true, describe: 'the version, or how its id begins' } },
  options: {
    data: commonOptions.data,
    ...guardFlags,
    'dry-run': { type: 'boolean', default: false, describe: 'only verify it and say whether it may be published' },
    ...waitFlags,
    json: commonOptions.json,
  },
  examples: [
    ['publish 6f1c --router http://127.0.0.1:8080', 'verifies it, publishes it, and waits until that router serves it'],
    ['publish 6f1c --force --no-wait', 'even if it is much smaller than what is published'],
    ['publish 6f1c --dry-run', 'says whether it may be published; changes nothing'],
  ],
  run: async (args) => {
    const { publishPlaced } = await import('./publish.ts');
    const { findVersionId } = await import('./version-list.ts');
    const { runAnnounced } = await import('./announced-command.ts');
    const wait = waitSettingsIn(args);
    const guards = guardsIn(args);
    const id = await findVersionId(args.data, args.id);
    const options = { dataDir: args.data, act: 'publish', id, guards } as const;
    if (args.dryRun) {
      await publishPlaced({ ...options, dryRun: true, onWarning: (message) => console.error(`pavostore: ${message}`) });
      console.log(args.json ? JSON.stringify({ id, publishable: true }) : `version ${id} may be published`);
      return;
    }
    await runAnnounced({
      act: async (watch) => (await publishPlaced({ ...options, ...watch }))!,
      done: 'published',
      wait,
      json: args.json,
    });
  },
});
