// How a local cluster grows: the same uniform load on one, two and four shards, over ever more entries. Each size is split once. All processes and
// the load share this machine: more shards show what they cost, not what more machines would give.

import { join } from 'node:path';
import { makeData } from './bench-cluster.ts';
import { measureServing, type ServingBase } from './serving.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { isInstalled } from './tools.ts';

export type ScalingOptions = {
  readonly sizes: readonly {
    readonly entries: number;
    /** A published version of exactly these records, as `generate --seed 1` makes them; by default it is made and removed. */
    readonly dataDir?: string | undefined;
  }[];
  readonly shardCounts: readonly number[];
  /** Mean, in bytes. */
  readonly valueSize: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly samples: number;
  readonly log: (line: string) => void;
};

export type ScalingResult = { readonly valueSize: number; readonly points: readonly ServingBase[] };

/** Undefined, and a word why, when wrk is missing. */
export async function benchScaling({ sizes, shardCounts, ...options }: ScalingOptions): Promise<ScalingResult | undefined> {
  const { valueSize, log } = options;
  if (!isInstalled('wrk')) {
    log('scaling: skipped, wrk not installed');
    return undefined;
  }
  const points: ServingBase[] = [];
  for (const { entries, dataDir: given } of sizes) {
    await inTemporaryFolder(async (folder) => {
      const dataDir = given ?? join(folder, 'data');
      if (given === undefined) await makeData({ entries, valueSize, dataDir });
      for (const shards of shardCounts) {
        log(`scaling: ${entries} entries, ${shards} shards`);
        points.push(await measureServing({ ...options, entries, shards, dataDir }, folder, async () => ({})));
      }
    });
  }
  return { valueSize, points };
}
