// How fast a shard reads and verifies what it holds, from a warm file cache: the CPU of one that holds everything, less that of one that holds a
// single record, until it can be asked; beside it `openssl dgst` over the same files, which is the least that one can do to verify them by digest.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readCurrent, slicesPath, versionPath } from '../shared/data-set.ts';
import { makeData, startCluster } from './bench-cluster.ts';
import { cpuSecondsOf } from './process-cpu.ts';
import { gnuTime, runCommand } from './run-cost.ts';
import { median } from './statistics.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { isInstalled, untilReady } from './tools.ts';

export type LoadBenchOptions = { readonly entries: number; readonly rounds: number; readonly log: (line: string) => void };

export type LoadBenchResult = {
  readonly entries: number;
  readonly rounds: number;
  /** Of all slice files. */
  readonly sliceBytes: number;
  /** Of the shard less an empty one's, medians. */
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  /** Undefined where GNU time or openssl is not installed. */
  readonly digestCpuSeconds: number | undefined;
};

/** Mean, in bytes. */
const valueSize = 90;

export function benchLoad({ entries, rounds, log }: LoadBenchOptions): Promise<LoadBenchResult> {
  return inTemporaryFolder(async (folder) => {
    const [dataDir, emptyDir] = [join(folder, 'data'), join(folder, 'empty')];
    await makeData({ entries, valueSize, dataDir });
    await makeData({ entries: 1, dataDir: emptyDir });
    const slices = await slicesOf(dataDir);
    const sliceBytes = slices.reduce((sum, path) => sum + statSync(path).size, 0);
    const hasDigest = isInstalled(gnuTime) && isInstalled('openssl');
    const costs: { cpuSeconds: number; wallSeconds: number; digestCpuSeconds: number | undefined }[] = [];
    // The first one of all compiles the code that those after it find compiled.
    await loadCost(emptyDir, log);
    for (let i = 1; i <= rounds; i++) {
      const empty = await loadCost(emptyDir, log);
      const full = await loadCost(dataDir, log);
      const digestCpuSeconds = hasDigest ? runCommand(['openssl', 'dgst', '-sha256', ...slices]).cost.cpuSeconds : undefined;
      costs.push({ cpuSeconds: full.cpuSeconds - empty.cpuSeconds, wallSeconds: full.wallSeconds - empty.wallSeconds, digestCpuSeconds });
      log(`load: round ${i}: ${costs.at(-1)!.cpuSeconds.toFixed(2)} s of CPU, openssl ${digestCpuSeconds?.toFixed(2)}`);
    }
    return {
      ...{ entries, rounds, sliceBytes },
      cpuSeconds: median(costs.map(({ cpuSeconds }) => cpuSeconds)),
      wallSeconds: median(costs.map(({ wallSeconds }) => wallSeconds)),
      digestCpuSeconds: hasDigest ? median(costs.map(({ digestCpuSeconds }) => digestCpuSeconds!)) : undefined,
    };
  });
}

/** Of one shard, from its start until it holds all slices. */
async function loadCost(dataDir: string, log: (line: string) => void): Promise<{ cpuSeconds: number; wallSeconds: number }> {
  const startedMs = performance.now();
  const cluster = await startCluster({ dataDir, shards: 1, replicas: 1, hasCache: false, log });
  try {
    await untilReady(cluster.shardAddresses);
    return { cpuSeconds: cpuSecondsOf([cluster.shards[0]!.pid!]), wallSeconds: (performance.now() - startedMs) / 1_000 };
  } finally {
    await cluster.stop();
  }
}

async function slicesOf(dataDir: string): Promise<string[]> {
  const { id } = (await readCurrent(dataDir))!;
  const folder = slicesPath(versionPath(dataDir, id));
  return readdirSync(folder).map((name) => join(folder, name));
}
