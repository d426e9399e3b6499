// Shards that serve from disk, one of whose disks becomes slow: 20 reads a second. What it has in its cache it answers as before, the rest late; the other
// holders have that too, and are asked as well as far as the budget for keys sent twice goes. An answer of a hundred may come too late, with 504. Under load with every answer checked; TEST_SEED replays the keys.

import { cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { publishRecords } from '../data-sets.ts';
import { ClientLoad, formatLatencies } from './client-load.ts';
import { HealingCluster } from './healing-cluster.ts';
import { dropFromCache, SlowDisk, whyNoSlowDisk } from './slow-disk.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const skipped = whyNoSlowDisk(tmpdir());
const slowMs = 3_000 + 100 * Number(process.env.CHAOS_SECONDS ?? 0);
console.log(`slow-disk.test.ts: ${skipped === undefined ? `TEST_SEED=${seed}` : `skipped: ${skipped}`}`);

const records = new Map(Array.from({ length: 4_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i} `.repeat(850))]));
let cluster: HealingCluster | undefined;
let disk: SlowDisk;

beforeAll(async () => {
  if (skipped !== undefined) return;
  cluster = new HealingCluster();
  publishRecords(cluster.dataDirOf(0), records, { sliceCount: 64 });
  for (const shard of [1, 2]) cpSync(cluster.dataDirOf(0), cluster.dataDirOf(shard), { recursive: true });
  await cluster.start({ shards: 3, argsOf: () => ['--replicas', '2', '--memory', '18MiB', '--scrub-rate', '0'] });
  disk = new SlowDisk(cluster.folder);
});
afterAll(async () => {
  await cluster?.close();
  disk?.close();
});

test.skipIf(skipped !== undefined)('a shard whose disk is slow: nothing wrong, and next to nothing too late', async () => {
  const load = new ClientLoad({ routers: [cluster!.routerAddress], records, absent: ['nobody'], connections: 16, seed, pauseMs: 10 });
  await pause(1_000);
  const undisturbed = load.takeLatencies();
  disk.throttle(20);
  disk.add(cluster!.pidOf(0));
  await dropFromCache(cluster!.dataDirOf(0));
  await pause(slowMs);
  disk.throttle(undefined);
  const disturbed = load.takeLatencies();
  await load.stop();
  console.log(`before: ${formatLatencies(undisturbed)}\nwith a slow disk: ${formatLatencies(disturbed)}, ${load.failures.length} failed`);
  // It was slow indeed.
  expect(disturbed.p99Ms).toBeGreaterThan(2 * undisturbed.p99Ms);
  expect(load.wrong).toEqual([]);
  expect(load.failures.filter(({ status }) => status !== 503 && status !== 504)).toEqual([]);
  expect(disturbed.maxMs).toBeLessThan(limits.deadlineDefaultMs + 500);
  expect(load.failures.length).toBeLessThanOrEqual(load.count / 100);
});
