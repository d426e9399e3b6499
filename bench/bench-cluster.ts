// The cluster that is measured, and its data: records as `generate` makes them, split on the way, and shards and a router of this machine over them.

import { Readable } from 'node:stream';
import { generateLines } from '../deploy/generate/records.ts';
import { LocalCluster } from '../deploy/serve/local-cluster.ts';
import { type SplitReport, splitFiles } from '../deploy/split/split.ts';

export const seed = 1;

/** Splits `entries` records into `dataDir`, and publishes them unless told not to; `valueSize` in bytes, the mean. */
export function makeData(options: { entries: number; valueSize?: number; dataDir: string; publish?: boolean }): Promise<SplitReport> {
  const { entries, valueSize, dataDir, publish = true } = options;
  return splitFiles({ files: ['-'], dataDir, publish, stdin: Readable.from(generateLines({ entries, seed, valueSize })) });
}

export type BenchClusterOptions = {
  readonly dataDir: string;
  readonly shards: number;
  readonly replicas: number;
  /** Without, the router keeps no answers. */
  readonly hasCache: boolean;
  /** Of the router; by default its own. */
  readonly deadlineMs?: number | undefined;
  readonly log: (line: string) => void;
};

/** On free ports; resolves when every slice has a holder. */
export async function startCluster({ dataDir, shards, replicas, hasCache, deadlineMs, log }: BenchClusterOptions): Promise<LocalCluster> {
  const cluster = new LocalCluster({
    ...{ dataDir, shards, replicas, host: '127.0.0.1', port: 0, shardPort: 0, logLevel: 'warn', onEvent: log },
    routerArgs: [...(hasCache ? [] : ['--cache-size', '0']), ...(deadlineMs === undefined ? [] : ['--deadline', `${deadlineMs}ms`])],
  });
  await cluster.start();
  return cluster;
}
