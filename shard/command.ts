// `pavostore shard`: one shard of a data set.

import { hostname } from 'node:os';
import { commonOptions, defineCommand, wholeNumber } from '../shared/command.ts';
import { placeFlags, placeOptionsIn } from '../shared/place-flags.ts';

export const shardCommand = defineCommand({
  command: 'shard',
  describe: 'serve some slices of a data set from memory',
  options: {
    data: commonOptions.data,
    port: { type: 'number', default: 7070, describe: 'port to listen on; 0 picks a free one', requiresArg: true },
    host: commonOptions.host,
    members: commonOptions.members,
    name: { type: 'string', describe: 'name of this member [its address in a fixed list, else the host name]', requiresArg: true },
    advertise: { type: 'string', describe: 'URL of this shard as --members lists it', requiresArg: true },
    zone: { type: 'string', describe: 'zone of this shard: replicas go to distinct ones first', requiresArg: true },
    replicas: { ...commonOptions.replicas, default: 1 },
    memory: {
      type: 'string',
      describe: 'memory for slices, or for directories and a cache when they do not fit, like 5GiB [what there is]',
      requiresArg: true,
    },
    state: {
      type: 'string',
      describe: 'folder for what the shard wants to know at its next start, like hot keys [none]',
      requiresArg: true,
    },
    'leave-grace': {
      type: 'string',
      default: '30s',
      describe: 'when it is stopped: longest time to serve on until others hold its slices; 0s: none',
      requiresArg: true,
    },
    backup: { type: 'string', describe: 'folder or s3://bucket/prefix with a backup: slices are healed from it', requiresArg: true },
    source: {
      type: 'string',
      describe: 'folder or s3://bucket/prefix where versions come from; --data is a cache of it that may be empty',
      requiresArg: true,
    },
    ...placeFlags,
    'fetch-rate': {
      type: 'string',
      default: '64MiB',
      describe: 'bytes a second that go to other shards, and that come from --backup and --source',
      requiresArg: true,
    },
    'scrub-rate': {
      type: 'string',
      default: '4MiB',
      describe: 'bytes a second, of memory and of files, that are checked in the background; 0: none',
      requiresArg: true,
    },
    'log-level': commonOptions.logLevel,
  },
  examples: [
    ['shard --data ./data', 'a shard that holds everything'],
    ['shard --port 7071 --members 127.0.0.1:7070,127.0.0.1:7071', 'the second of two'],
    ['shard --source s3://bucket/prefix --endpoint http://store:9000', 'one that begins with an empty disk'],
    ['shard --host 0.0.0.0 --members dns://shard:7070 --replicas 2', 'one of as many as the name has addresses'],
  ],
  run: async (args) => {
    const { limits } = await import('../shared/limits.ts');
    const { parseAddress, parseMemberSource } = await import('../shared/member-source.ts');
    const { durationBetween, parseSize, sizeBetween } = await import('../shared/quantities.ts');
    const { defaultName, Shard } = await import('./shard.ts');
    const { runUntilStopped } = await import('../shared/process-life.ts');
    const members = args.members === undefined ? undefined : parseMemberSource(args.members);
    const port = wholeNumber('--port', args.port, 0, 65_535);
    const fetchRate = sizeBetween('--fetch-rate', args.fetchRate, limits.fetchRateMin, limits.fetchRateMax);
    const placeOptions = { ...placeOptionsIn(args), rate: fetchRate };
    const advertise = args.advertise === undefined ? undefined : parseAddress(args.advertise);
    const shard = new Shard({
      dataDir: args.data,
      host: args.host,
      port,
      members,
      name: args.name ?? defaultName({ members, advertise, host: args.host, port, hostName: hostname() }),
      zone: args.zone,
      replicas: wholeNumber('--replicas', args.replicas, 1, limits.replicasMax),
      memory: args.memory === undefined ? undefined : parseSize(args.memory),
      stateDir: args.state,
      leaveGraceMs: durationBetween('--leave-grace', args.leaveGrace, 0, limits.leaveGraceMaxMs),
      care: {
        fetchRate,
        scrubRate: sizeBetween('--scrub-rate', args.scrubRate, 0, limits.scrubRateMax),
        backup: args.backup === undefined ? undefined : { place: args.backup, options: placeOptions },
        source: args.source === undefined ? undefined : { place: args.source, options: placeOptions },
      },
      logLevel: args.logLevel,
    });
    await runUntilStopped(shard, (line) => shard.log.info(line));
  },
});
