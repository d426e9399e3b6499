// `pavostore serve FILE…`: a whole cluster on this machine, from text files to answers.

import { commonOptions, defineCommand, wholeNumber } from '../../shared/command.ts';
import { guardFlags } from '../publish/guard-flags.ts';
import { sourceFlags, sourceOptionsIn } from '../split/source-flags.ts';

export const serveCommand = defineCommand({
  command: 'serve [files..]',
  describe: 'run a whole cluster on this machine',
  positionals: {
    files: { type: 'string', array: true, describe: 'text files, .gz, .zst, or -; without any, what is published in --data is served' },
  },
  options: {
    filename: { type: 'string', array: true, describe: 'the same as FILE', requiresArg: true },
    port: { type: 'number', default: 8080, describe: 'port of the routers; 0 picks a free one', requiresArg: true },
    host: commonOptions.host,
    shards: { type: 'number', default: 3, describe: 'how many shards', requiresArg: true },
    replicas: { ...commonOptions.replicas, describe: 'how many shards hold each slice [2 from three shards on, else 1]' },
    zones: { type: 'number', describe: 'give the shards so many zones in turn: copies of a slice go to distinct ones', requiresArg: true },
    routers: { type: 'number', default: 1, describe: 'how many routers, behind the one port', requiresArg: true },
    'shard-port': { type: 'number', default: 7070, describe: 'the shards take this port and the next free ones', requiresArg: true },
    deadline: { type: 'string', default: '1s', describe: 'longest time to an answer, 50ms to 60s', requiresArg: true },
    'cache-size': {
      type: 'string',
      default: '64MiB',
      describe: "the router's memory for hot answers; 0 turns the cache off",
      requiresArg: true,
    },
    data: commonOptions.data,
    ...sourceFlags,
    ...guardFlags,
    'log-level': { ...commonOptions.logLevel, default: 'warn' },
  },
  examples: [
    ['serve input_data/example.data', 'splits the file unless that was done before, and serves it'],
    ['serve --port 8080 --filename ./input_data/test.data', 'the same, with the file as a flag'],
    ['serve big.data.zst --shards 4 --replicas 3 --routers 2', 'each slice in three of four shards, two routers behind one port'],
  ],
  run: async (args) => {
    const { limits } = await import('../../shared/limits.ts');
    const { durationBetween, parseSize } = await import('../../shared/quantities.ts');
    const { guardsIn } = await import('../publish/guard-flags.ts');
    const { serve } = await import('./serve.ts');
    durationBetween('--deadline', args.deadline, 50, limits.deadlineMaxMs);
    parseSize(args.cacheSize);
    const shards = wholeNumber('--shards', args.shards, 1, limits.localShardsMax);
    const replicas = args.replicas ?? (shards >= limits.membersForReplicas ? limits.replicasDefault : 1);
    await serve({
      files: [...(args.files ?? []), ...(args.filename ?? [])].map(String),
      dataDir: args.data,
      source: { ...sourceOptionsIn(args), guards: guardsIn(args) },
      host: args.host,
      port: wholeNumber('--port', args.port, 0, 65_535),
      shardPort: wholeNumber('--shard-port', args.shardPort, 1, 65_535),
      shards,
      replicas: wholeNumber('--replicas', replicas, 1, limits.replicasMax),
      zones: args.zones === undefined ? undefined : wholeNumber('--zones', args.zones, 1, limits.localShardsMax),
      routers: wholeNumber('--routers', args.routers, 1, limits.localShardsMax),
      routerArgs: ['--deadline', args.deadline, '--cache-size', args.cacheSize],
      logLevel: args.logLevel,
    });
  },
});
