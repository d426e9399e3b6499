// `pavostore router`: one router before the shards, or as many as there are workers, behind one port.

import cluster from 'node:cluster';
import { commonOptions, defineCommand, flagsOf, type Options, wholeNumber } from '../shared/command.ts';

const options = {
  members: { ...commonOptions.members, demandOption: true },
  port: { type: 'number', default: 8080, describe: 'port to listen on; 0 picks a free one', requiresArg: true },
  host: commonOptions.host,
  deadline: { type: 'string', default: '1s', describe: 'longest time to an answer, 50ms to 60s', requiresArg: true },
  'cache-size': {
    type: 'string',
    default: '64MiB',
    describe: 'memory for hot answers, of each worker; 0 turns the cache off',
    requiresArg: true,
  },
  workers: { type: 'number', default: 1, describe: 'processes that share the port: one for each core to use', requiresArg: true },
  drain: {
    type: 'string',
    default: '2s',
    describe: 'when it is stopped: how long to serve on, not ready, before connections are ended; 0s: end them at once',
    requiresArg: true,
  },
  'log-level': commonOptions.logLevel,
} as const satisfies Record<string, Options>;

export const routerCommand = defineCommand({
  command: 'router',
  describe: 'answer clients by asking the shards',
  options,
  examples: [
    ['router --members 127.0.0.1:7070,127.0.0.1:7071', 'before two shards'],
    ['router --host 0.0.0.0 --members dns://shard:7070', 'before as many shards as the name has addresses'],
    ['router --members dns://shard:7070 --workers 4', 'on four cores, behind one port'],
  ],
  run: async (args) => {
    const { limits } = await import('../shared/limits.ts');
    const { parseMemberSource } = await import('../shared/member-source.ts');
    const { runUntilStopped } = await import('../shared/process-life.ts');
    const { durationBetween, parseSize } = await import('../shared/quantities.ts');
    const { host } = args;
    const port = wholeNumber('--port', args.port, 0, 65_535);
    const count = wholeNumber('--workers', args.workers, 1, limits.routerWorkersMax);
    const drainMs = durationBetween('--drain', args.drain, 0, limits.routerDrainMaxMs);
    const routerOptions = {
      host,
      port,
      members: parseMemberSource(args.members),
      deadlineMs: durationBetween('--deadline', args.deadline, 50, limits.deadlineMaxMs),
      cacheSize: parseSize(args.cacheSize),
      drainMs,
      workers: count,
      logLevel: args.logLevel,
    };
    if (count > 1 && cluster.isPrimary) {
      const { WorkerGroup } = await import('./worker-group.ts');
      const group = new WorkerGroup({
        program: process.argv[1]!,
        argsFor: (shared) => ['router', ...flagsOf(options, { ...args, port: shared })],
        count,
        host,
        port,
        stopGraceMs: drainMs + limits.stopGraceMs,
        onDeath: (message) => console.error(`pavostore: ${message}`),
      });
      await runUntilStopped(group, (line) => console.error(`pavostore: ${line}`));
      return;
    }
    const { Router } = await import('./router.ts');
    const { ownWorkerLink } = await import('./worker-link.ts');
    const router = new Router({ ...routerOptions, workerLink: ownWorkerLink() });
    await runUntilStopped(router, (line) => router.log.info(line));
  },
});
