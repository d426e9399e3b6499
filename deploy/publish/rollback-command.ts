// `pavostore rollback`: back to the version before the published one, or to another one.

import { commonOptions, defineCommand } from '../../shared/command.ts';
import { waitFlags, waitSettingsIn } from './wait-flags.ts';

export const rollbackCommand = defineCommand({
  command: 'rollback [id]',
  describe: 'publish the version before the published one again, and wait until it is served',
  positionals: { id: { type: 'string', describe: 'the version, or how its id begins [the one before the published one]' } },
  options: {
    data: commonOptions.data,
    force: { type: 'boolean', default: false, describe: 'publish it even if it is damaged' },
    ...waitFlags,
    json: commonOptions.json,
  },
  examples: [
    ['rollback --router http://127.0.0.1:8080', 'back to the version before; again, and forth'],
    ['rollback 6f1c', 'to that one; `pavostore versions` lists them'],
  ],
  run: async (args) => {
    const { rollbackVersion } = await import('./rollback.ts');
    const { findVersionId } = await import('./version-list.ts');
    const { runAnnounced } = await import('./announced-command.ts');
    const wait = waitSettingsIn(args);
    const id = args.id === undefined ? undefined : await findVersionId(args.data, args.id);
    await runAnnounced({
      act: async (watch) => await rollbackVersion({ dataDir: args.data, id, force: args.force, ...watch }),
      done: 'published again',
      wait,
      json: args.json,
    });
  },
});
