// `pavostore rollback`: back to the version before the published one, or to another one.

import { defineCommand } from '../../shared/command.ts';
import { republicationFlags, republish } from './republication.ts';

export const rollbackCommand = defineCommand({
  command: 'rollback [id]',
  describe: 'publish the version before the published one again, and wait until it is served',
  positionals: { id: { type: 'string', describe: 'the version, or how its id begins [the one before the published one]' } },
  options: republicationFlags,
  examples: [
    ['rollback --router http://127.0.0.1:8080', 'back to the version before; again, and forth'],
    ['rollback 6f1c', 'to that one; `pavostore versions` lists them'],
  ],
  run: async (args) => await republish(args, { act: 'rollbackVersion', done: 'published again' }),
});
