// Members by name, from a name server whose answers come and go: what it says may add members, and never takes away one that is alive. Real processes on
// a network of their own, under load with every answer checked. The order is drawn from a seed and printed: TEST_SEED replays it.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SupervisedProcess } from '../../shared/supervised-process.ts';
import { statusOf } from '../cluster/cluster-harness.ts';
import '../cluster/compile-cache.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { publishRecords } from '../data-sets.ts';
import { ClientLoad, formatLatencies } from './client-load.ts';
import { type NameAnswer, NameServer } from './name-server.ts';
import { Network, whyNoNetwork } from './network.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const skipped = whyNoNetwork();
console.log(`names.test.ts: ${skipped === undefined ? `TEST_SEED=${seed}` : `skipped: ${skipped}`}`);

const port = 7070;
const shards = ['shard-0', 'shard-1', 'shard-2'];
const records = new Map(Array.from({ length: 1_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i}`)]));
const waiting = { timeout: 30_000, interval: 50 } as const;
const deaths: string[] = [];

const folder = mkdtempSync(join(tmpdir(), 'pavostore-names-'));
let network: Network;
let names: NameServer;
const children: SupervisedProcess[] = [];
let address: string;

async function start(host: string, ...args: string[]): Promise<void> {
  const members = ['--members', `dns://shards.test:${port}`, '--host', network.addressOf(host), '--port', String(port)];
  const child = network.start(host, {
    args: [...args, ...members, '--log-level', 'silent'],
    onDeath: (message) => deaths.push(message),
  });
  children.push(child);
  await child.start();
}

const startShard = async (shard: string): Promise<void> =>
  await start(shard, 'shard', '--data', join(folder, 'data'), '--name', shard, '--replicas', '2', '--leave-grace', '0s');

async function expectMembers(expected: readonly string[]): Promise<void> {
  const { members, slicesAbsent } = await statusOf(address);
  expect([members.map(({ name, alive }) => ({ name, alive })), slicesAbsent]).toEqual([
    expected.map((name) => ({ name, alive: true })),
    {},
  ]);
}

beforeAll(async () => {
  if (skipped !== undefined) return;
  network = new Network(['router', ...shards]);
  names = await NameServer.start(network.testAddress);
  for (const host of ['router', ...shards]) network.setNameServer(host, network.testAddress);
  publishRecords(join(folder, 'data'), records, { sliceCount: 64 });
  names.answer = shards.slice(0, 2).map((shard) => network.addressOf(shard));
  const routerArgs = ['--cache-size', '0', '--drain', '0s', '--deadline', '10s'];
  await Promise.all([startShard('shard-0'), startShard('shard-1'), start('router', 'router', ...routerArgs)]);
  address = `${network.addressOf('router')}:${port}`;
  await vi.waitFor(async () => expect((await statusOf(address)).version).not.toBeNull(), waiting);
  await vi.waitFor(async () => await expectMembers(['shard-0', 'shard-1']), waiting);
});
afterAll(async () => {
  await Promise.all(children.map(async (child) => await child.stop()));
  await names?.close();
  network?.close();
  rmSync(folder, { recursive: true, force: true });
  expect(deaths).toEqual([]);
});

test.skipIf(skipped !== undefined)('answers that vanish drop nobody who is alive, and those that come are found', async () => {
  const random = randomFrom(seed);
  const load = new ClientLoad({ routers: [address], records, absent: ['nobody'], connections: 8, seed });
  const [first, second, third] = shards.map((shard) => network.addressOf(shard)) as [string, string, string];
  const troubles: NameAnswer[] = ['no such name', 'failure', 'silence', [], [first], [second]];
  // Four of them in the short form.
  const order = troubles
    .map((answer) => ({ answer, at: random() }))
    .sort((a, b) => a.at - b.at)
    .slice(0, process.env.CHAOS_SECONDS === undefined ? 4 : undefined);
  console.log(`order: ${order.map(({ answer }) => JSON.stringify(answer)).join(', ')}`);
  try {
    for (const { answer } of order) {
      const before = names.questions;
      names.answer = answer;
      // Each of router and shards has asked, and has polled the others since.
      await vi.waitFor(() => expect(names.questions).toBeGreaterThan(before + 6), waiting);
      await pause(limits.pollIntervalMs / 2);
      await expectMembers(['shard-0', 'shard-1']);
    }
    // All at once: one that is new, and nothing of the others.
    names.answer = [third];
    await startShard('shard-2');
    await vi.waitFor(async () => await expectMembers(shards), waiting);
    names.answer = 'no such name';
    await vi.waitFor(async () => expect((await statusOf(address)).members[2]!.slicesKept).toBeGreaterThan(0), waiting);
    await expectMembers(shards);
  } finally {
    await load.stop();
  }
  console.log(formatLatencies(load.takeLatencies()));
  expect([load.wrong, load.failures]).toEqual([[], []]);
});
