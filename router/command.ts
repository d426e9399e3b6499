// `pavostore router`: one router before the shards.

import { commonOptions, defineCommand, wholeNumber } from '../shared/command.ts';

export const routerCommand = defineCommand({
  command: 'router',
  describe: 'answer clients by asking the shards',
  options: {
    members: { ...commonOptions.members, demandOption: true },
    port: { type: 'number', default: 8080, describe: 'port to listen on; 0 picks a free one', requiresArg: true },
    host: commonOptions.host,
    deadline: { type: 'string', default: '1s', describe: 'longest time to an answer, 50ms to 60s', requiresArg: true },
    'cache-size': { type: 'string', default: '64MiB', describe: 'memory for hot answers; 0 turns the cache off', requiresArg: true },
    'log-level': commonOptions.logLevel,
  },
  examples: [
    ['router --members 127.0.0.1:7070,127.0.0.1:7071', 'before two shards'],
    ['router --host 0.0.0.0 --members dns://shard:7070', 'before as many shards as the name has addresses'],
  ],
  run: async (args) => {
    const { limits } = await import('../shared/limits.ts');
    const { parseMemberSource } = await import('../shared/member-source.ts');
    const { runUntilStopped } = await import('../shared/process-life.ts');
    const { durationBetween, parseSize } = await import('../shared/quantities.ts');
    const { Router } = await import('./router.ts');
    const router = new Router({
      host: args.host,
      port: wholeNumber('--port', args.port, 0, 65_535),
      members: parseMemberSource(args.members),
      deadlineMs: durationBetween('--deadline', args.deadline, 50, limits.deadlineMaxMs),
      cacheSize: parseSize(args.cacheSize),
      logLevel: args.logLevel,
    });
    await runUntilStopped(router, (line) => router.log.info(line));
  },
});
