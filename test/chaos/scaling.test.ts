// Real processes that find each other by name: shards come, go and are restarted under load, and nobody notices.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { placeSlices, slicesOfMember } from '../../shared/placement.ts';
import { forEachSlice } from '../../shared/slice-ranges.ts';
import { parseStatusReport, type StatusReport } from '../../shared/status-report.ts';
import { statusOf } from '../cluster/cluster-harness.ts';
import { Load, type Sample } from '../cluster/load.ts';
import { publishRecords } from '../data-sets.ts';
import { ask, getRequest } from '../raw-http.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the load of scaling.test.ts: TEST_SEED=${seed}`);

const port = 21_800;
const sliceCount = 64;
const replicas = 2;
const present = Array.from({ length: 2_000 }, (_, i) => `key ${i}`);
const records = new Map(present.map((key) => [key, Buffer.from(`value of ${key}`)]));
const keys = [...present, ...Array.from({ length: 500 }, (_, i) => `nobody ${i}`)];
const waiting = { timeout: 90_000, interval: 100 } as const;

const isTrue = ({ key, status, said }: Sample): boolean =>
  records.has(key) ? status === 200 && said === records.get(key)!.toString() : status === 404 && said === 'key_not_found';

const folder = mkdtempSync(join(tmpdir(), 'pavostore-scaling-'));
const names = join(folder, 'names.json');
const running = new Map<string, SupervisedProcess>();
const deaths: string[] = [];
let router: SupervisedProcess;
let address: string;
let load: Load;

/** A slice that one of the statuses did not show as kept by anybody. */
const uncovered: string[] = [];
/** Slices that a shard began to keep, of all shards. */
let moves = 0;
let lastKept = new Map<string, ReadonlySet<number>>();
let isSampling = true;
let sampling: Promise<void>;

const nameOf = (i: number): string => `shard-${i}`;
const addressOf = (name: string): string => `127.0.1.${1 + Number(name.split('-')[1])}:${port}`;

function publishNames(): void {
  writeFileSync(`${names}.new`, JSON.stringify([...running.keys()].map(addressOf)));
  renameSync(`${names}.new`, names);
}

function child(title: string, args: readonly string[]): SupervisedProcess {
  return new SupervisedProcess({ title, args: [...args, '--log-level', 'silent'], onDeath: (message) => deaths.push(message) });
}

async function startShard(name: string): Promise<void> {
  const members = `dns://shards.test:${port}`;
  const host = addressOf(name).split(':')[0]!;
  const shard = child(name, [
    ...['shard', '--data', join(folder, 'data'), '--host', host, '--port', String(port)],
    ...['--name', name, '--members', members, '--replicas', String(replicas)],
  ]);
  running.set(name, shard);
  publishNames();
  await shard.start();
}

async function stopShard(name: string): Promise<void> {
  await running.get(name)!.stop();
  running.delete(name);
  publishNames();
}

async function reportOf(name: string): Promise<StatusReport | undefined> {
  const reply = await ask(addressOf(name), getRequest('/status')).catch(() => undefined);
  return reply && parseStatusReport(reply.body.toString(), name);
}

function keptIn(report: StatusReport | undefined): ReadonlySet<number> {
  const kept = new Set<number>();
  forEachSlice(report?.versions[0]?.slices.kept ?? [], (i) => kept.add(i));
  return kept;
}

/** Looks at all shards every 100 ms. */
async function sampleHolders(): Promise<void> {
  while (isSampling) {
    const reports = await Promise.all([...running.keys()].map(async (name) => [name, keptIn(await reportOf(name))] as const));
    const kept = new Map(reports);
    for (let i = 0; i < sliceCount; i++) if (![...kept.values()].some((slices) => slices.has(i))) uncovered.push(`slice ${i}`);
    for (const [name, slices] of kept) for (const i of slices) if (!lastKept.get(name)?.has(i)) moves++;
    lastKept = kept;
    await pause(100);
  }
}

/** Resolves when each shard keeps exactly what placement over all of them gives it. */
async function untilPlaced(): Promise<void> {
  const members = [...running.keys()].map((name) => ({ name }));
  const placement = placeSlices({ members, sliceCount, replicas });
  await vi.waitFor(async () => {
    for (const { name } of members) {
      const report = await reportOf(name);
      const { kept, loading, yielding } = report!.versions[0]!.slices;
      expect([name, [...keptIn(report)], loading, yielding]).toEqual([name, slicesOfMember(placement, name), [], []]);
      expect(kept.length).toBeGreaterThan(0);
    }
  }, waiting);
}

beforeAll(async () => {
  process.env.SCRIPTED_NAMES = names;
  process.env.NODE_OPTIONS = `--import=${fileURLToPath(new URL('../cluster/scripted-names.ts', import.meta.url))}`;
  publishRecords(join(folder, 'data'), records, { sliceCount });
  await Promise.all([0, 1, 2].map((i) => startShard(nameOf(i))));
  router = child('router', ['router', '--members', 'dns+srv://_pavostore._tcp.shards.test', '--port', '0', '--cache-size', '0']);
  address = `127.0.0.1:${await router.start()}`;
  await untilPlaced();
  await vi.waitFor(async () => expect(await statusOf(address)).toMatchObject({ degraded: false, slicesAbsent: {} }), waiting);
  load = new Load(address, keys, { seed, connections: 4 });
  sampling = sampleHolders();
  await pause(500);
}, 120_000);

afterAll(async () => {
  isSampling = false;
  await sampling;
  await load?.stop();
  await router?.stop();
  await Promise.all([...running.values()].map((shard) => shard.stop()));
  delete process.env.NODE_OPTIONS;
  delete process.env.SCRIPTED_NAMES;
  rmSync(folder, { recursive: true, force: true });
  expect(deaths).toEqual([]);
});

/** Nothing failed, and every slice was kept by somebody at every look; then begins anew. */
function expectNothingLost(): void {
  expect(load.samples.filter((sample) => !isTrue(sample))).toEqual([]);
  expect(load.samples.length).toBeGreaterThan(500);
  expect(uncovered).toEqual([]);
  load.samples.length = 0;
  moves = 0;
}

test('two shards more take their part, with hardly a move that was not needed', async () => {
  moves = 0;
  await Promise.all([3, 4].map((i) => startShard(nameOf(i))));
  await untilPlaced();
  const ideal = (sliceCount * replicas * 2) / 5;
  console.log(`3 to 5 shards: ${moves} slices loaded, ideal ${ideal}`);
  expect(moves).toBeLessThanOrEqual(1.2 * ideal);
  expectNothingLost();
}, 120_000);

test('two that are told to leave at once go when the others have what only these two had', async () => {
  const startedMs = performance.now();
  await Promise.all([3, 4].map((i) => stopShard(nameOf(i))));
  console.log(`5 to 3 shards: gone after ${Math.round(performance.now() - startedMs)} ms`);
  await untilPlaced();
  console.log(`5 to 3 shards: ${moves} slices loaded`);
  expectNothingLost();
}, 120_000);

test('a rolling restart moves nothing', async () => {
  for (const i of [0, 1, 2]) {
    const name = nameOf(i);
    const before = new Map(lastKept);
    const startedMs = performance.now();
    await stopShard(name);
    const goneMs = performance.now() - startedMs;
    await startShard(name);
    await untilPlaced();
    console.log(`${name}: gone after ${Math.round(goneMs)} ms, back after ${Math.round(performance.now() - startedMs)} ms`);
    await pause(1_500);
    for (const [other, slices] of before) expect([other, [...lastKept.get(other)!]]).toEqual([other, [...slices]]);
  }
  // Each has loaded its own slices, once.
  expect(moves).toBe(sliceCount * replicas);
  expectNothingLost();
}, 120_000);
