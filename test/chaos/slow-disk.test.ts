// Shards that serve from disk, one of whose disks becomes slow: 20 reads a second. What it has in its cache it answers as before, the rest late; the other
// holders have that too, and are asked as well as far as the budget for keys sent twice goes. An answer of a hundred may come too late, with 504. Under load with every answer checked; TEST_SEED replays the keys.

import { cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { statusOf } from '../cluster/cluster-harness.ts';
import { publishRecords } from '../data-sets.ts';
import { ClientLoad, type Failure, formatLatencies } from './client-load.ts';
import { ClusterWatch, shortenLoopWindows } from './cluster-watch.ts';
import { HealingCluster } from './healing-cluster.ts';
import { dropFromCache, SlowDisk, whyNoSlowDisk } from './slow-disk.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const skipped = whyNoSlowDisk(tmpdir());
const slowMs = 3_000 + 100 * Number(process.env.CHAOS_SECONDS ?? 0);
console.log(`slow-disk.test.ts: ${skipped === undefined ? `TEST_SEED=${seed}` : `skipped: ${skipped}`}`);

const records = new Map(Array.from({ length: 4_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i} `.repeat(850))]));
const readsPerSecond = 20;
let cluster: HealingCluster | undefined;
let disk: SlowDisk;

beforeAll(async () => {
  if (skipped !== undefined) return;
  const undoLimits = shortenLoopWindows();
  cluster = new HealingCluster();
  publishRecords(cluster.dataDirOf(0), records, { sliceCount: 64 });
  for (const shard of [1, 2]) cpSync(cluster.dataDirOf(0), cluster.dataDirOf(shard), { recursive: true });
  await cluster.start({ shards: 3, argsOf: () => ['--replicas', '2', '--memory', '18MiB', '--scrub-rate', '0'] });
  undoLimits();
  disk = new SlowDisk(cluster.folder);
});
afterAll(async () => {
  await cluster?.close();
  disk?.close();
});

test.skipIf(skipped !== undefined)('a shard whose disk is slow: nothing wrong, and next to nothing too late', async () => {
  const watch = new ClusterWatch({ routers: [cluster!.routerAddress], shards: cluster!.addresses });
  const load = new ClientLoad({ routers: [cluster!.routerAddress], records, absent: ['nobody'], connections: 16, seed, pauseMs: 10 });
  await pause(1_000);
  const before = load.takeLatencies();
  const helpedBefore = await countHelped();
  disk.throttle(readsPerSecond);
  const isOver = watch.disturbs(cluster!.addresses[0]!);
  disk.add(cluster!.pidOf(0));
  await dropFromCache(cluster!.dataDirOf(0));
  const startMs = performance.now();
  await pause(slowMs);
  const reads = disk.readCount;
  const tookSeconds = (performance.now() - startMs) / 1_000;
  const helped = (await countHelped()) - helpedBefore;
  disk.throttle(undefined);
  const disturbed = load.takeLatencies();
  isOver();
  await pause(1_000);
  const after = load.takeLatencies();
  await load.stop();
  await watch.stop();
  console.log(
    `before: ${formatLatencies(before)}\nwith a slow disk: ${formatLatencies(disturbed)}, ${load.failures.length} failed; ` +
      `${reads} reads in ${tookSeconds.toFixed(1)} s, ${helped} keys asked of another holder as well\nafter: ${formatLatencies(after)}`,
  );
  // It read from the disk, was slow indeed, and the others were asked in its place.
  expect(reads).toBeGreaterThan(tookSeconds);
  expect(reads).toBeLessThan(readsPerSecond * (tookSeconds + 2));
  expect(helped).toBeGreaterThan(tookSeconds);
  expect(load.wrong).toEqual([]);
  const { unexcused } = watch.judge<Failure>(load.failures, limits.deadlineDefaultMs);
  expect(unexcused.filter(({ status }) => status !== 503 && status !== 504)).toEqual([]);
  const routerLateMs = watch.routerLateIn(cluster!.routerAddress, { startMs, tookMs: performance.now() - startMs });
  expect(disturbed.maxMs).toBeLessThan(limits.deadlineDefaultMs + routerLateMs + 500);
  expect(unexcused.length).toBeLessThanOrEqual(load.count / 100);
});

/** Keys that the router asked of a second holder, since the first one was late. */
async function countHelped(): Promise<number> {
  const { keys } = (await statusOf(cluster!.routerAddress)) as unknown as { keys: { hedged: number; rescued: number } };
  return keys.hedged + keys.rescued;
}
