// Real processes that find each other by name: shards come, go and are restarted under load, and nobody notices.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { limits } from '../../shared/limits.ts';
import { placeSlices, slicesOfMember } from '../../shared/placement.ts';
import { forEachSlice } from '../../shared/slice-ranges.ts';
import { parseStatusReport, type StatusReport } from '../../shared/status-report.ts';
import { lookDeadline, statusOf } from '../cluster/cluster-harness.ts';
import { Load, type Sample } from '../cluster/load.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import { publishRecords } from '../data-sets.ts';
import { ask, getRequest } from '../raw-http.ts';
import { giveChildrenLimits } from './children-limits.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the load of scaling.test.ts: TEST_SEED=${seed}`);

const port = nextPorts(1);
const sliceCount = 64;
const replicas = 2;
/** Moves from three shards to five, and back: what the two take over. */
const ideal = (sliceCount * replicas * 2) / 5;
const present = Array.from({ length: 2_000 }, (_, i) => `key ${i}`);
const records = new Map(present.map((key) => [key, Buffer.from(`value of ${key}`)]));
const keys = [...present, ...Array.from({ length: 500 }, (_, i) => `nobody ${i}`)];
const waiting = { timeout: 90_000, interval: 100 } as const;

const isTrue = ({ key, status, said }: Sample): boolean =>
  records.has(key) ? status === 200 && said === records.get(key)!.toString() : status === 404 && said === 'key_not_found';

/** `held`: also what it gives up and still has. Where another member is just coming it may keep that after all, without loading it again. */
type Kept = { readonly incarnation: string; readonly slices: ReadonlySet<number>; readonly held: ReadonlySet<number> };

const folder = mkdtempSync(join(tmpdir(), 'pavostore-scaling-'));
const running = new Map<string, SupervisedProcess>();
const deaths: string[] = [];
let router: SupervisedProcess;
let address: string;
let load: Load;

/** A slice that one of the statuses did not show as kept by anybody. */
const uncovered: string[] = [];
/** Slices that a shard did not have and then kept, of all shards. */
let moves = 0;
/** What each kept when it was last looked at, and which process that was. */
let lastKept = new Map<string, Kept>();
let isSampling = true;
/** Looks at all shards so far. */
let rounds = 0;
let sampling: Promise<void>;

const nameOf = (i: number): string => `shard-${i}`;
const addressOf = (name: string): string => `127.0.1.${1 + Number(name.split('-')[1])}:${port}`;

/** What a process is told about the name: nothing as long as the file is not there. */
const namesFor = (name: string): string => join(folder, `names-of-${name}.json`);

/** Tells all processes. */
function publishNames(): void {
  for (const path of ['router', ...running.keys()].map(namesFor)) {
    writeFileSync(`${path}.new`, JSON.stringify([...running.keys()].map(addressOf)));
    renameSync(`${path}.new`, path);
  }
}

function child(name: string, args: readonly string[]): SupervisedProcess {
  return new SupervisedProcess({ title: name, args: [...args, '--log-level', 'silent'], onDeath: (message) => deaths.push(message) });
}

/** Resolves to its port once it listens. */
async function start(started: SupervisedProcess): Promise<number> {
  process.env.SCRIPTED_NAMES = namesFor(started.title);
  return await started.start();
}

/** They come at once: on a busy machine one may be up seconds before another, and neither knows of anybody, nor is known, before all listen. */
async function startShards(...names: readonly string[]): Promise<void> {
  const members = `dns://shards.test:${port}`;
  for (const name of names) {
    rmSync(namesFor(name), { force: true });
    const host = addressOf(name).split(':')[0]!;
    const shard = child(name, [
      ...['shard', '--data', join(folder, 'data'), '--host', host, '--port', String(port)],
      ...['--name', name, '--members', members, '--replicas', String(replicas)],
    ]);
    running.set(name, shard);
  }
  await Promise.all(names.map((name) => start(running.get(name)!)));
  publishNames();
}

async function stopShard(name: string): Promise<void> {
  await running.get(name)!.stop();
  running.delete(name);
  publishNames();
}

/** Undefined when it does not answer, or not in time. */
async function reportOf(name: string): Promise<StatusReport | undefined> {
  const reply = await ask(addressOf(name), getRequest('/status'), lookDeadline).catch(() => undefined);
  return reply && parseStatusReport(reply.body.toString(), name);
}

function keptIn(report: StatusReport): ReadonlySet<number> {
  const kept = new Set<number>();
  forEachSlice(report.versions[0]?.slices.kept ?? [], (i) => kept.add(i));
  return kept;
}

function heldIn(report: StatusReport): ReadonlySet<number> {
  const held = new Set(keptIn(report));
  forEachSlice(report.versions[0]?.slices.yielding ?? [], (i) => held.add(i));
  return held;
}

/** A look at one shard. One that did not answer keeps what it kept, as long as its process lives: the machine is busy, nothing has moved. */
async function lookAt(name: string): Promise<Kept | undefined> {
  const pid = running.get(name)?.pid;
  const report = await reportOf(name);
  if (report) return { incarnation: report.incarnation, slices: keptIn(report), held: heldIn(report) };
  return pid !== undefined && running.get(name)?.pid === pid ? lastKept.get(name) : undefined;
}

/** Looks at all shards every 100 ms. */
async function sampleHolders(): Promise<void> {
  while (isSampling) {
    const names = [...running.keys()];
    const looks = await Promise.all(names.map(lookAt));
    const kept = new Map(names.flatMap((name, i) => (looks[i] ? [[name, looks[i]] as const] : [])));
    for (let i = 0; i < sliceCount; i++) if (![...kept.values()].some(({ slices }) => slices.has(i))) uncovered.push(`slice ${i}`);
    for (const [name, { incarnation, held }] of kept) {
      const before = lastKept.get(name);
      // A new process has loaded all that it has.
      for (const i of held) if (before?.incarnation !== incarnation || !before.held.has(i)) moves++;
    }
    lastKept = kept;
    rounds++;
    await pause(100);
  }
}

/** Resolves when each shard keeps what placement over all of them gives it, and perhaps still what it gives up. */
async function untilLoaded(): Promise<void> {
  const members = [...running.keys()].map((name) => ({ name }));
  const placement = placeSlices({ members, sliceCount, replicas });
  await vi.waitFor(async () => {
    for (const { name } of members) {
      const kept = keptIn((await reportOf(name))!);
      expect([name, slicesOfMember(placement, name).filter((i) => !kept.has(i))]).toEqual([name, []]);
    }
  }, waiting);
}

/** Resolves when each shard keeps exactly what placement over all of them gives it. */
async function untilPlaced(): Promise<void> {
  const members = [...running.keys()].map((name) => ({ name }));
  const placement = placeSlices({ members, sliceCount, replicas });
  await vi.waitFor(async () => {
    for (const { name } of members) {
      const report = (await reportOf(name))!;
      const { kept, loading, yielding } = report.versions[0]!.slices;
      expect([name, [...keptIn(report)], loading, yielding]).toEqual([name, slicesOfMember(placement, name), [], []]);
      expect(kept.length).toBeGreaterThan(0);
    }
  }, waiting);
  await untilLooked();
}

/** Resolves when `moves` and `lastKept` are of now: a look that was under way may be older. */
async function untilLooked(): Promise<void> {
  const before = rounds;
  await vi.waitFor(() => expect(rounds).toBeGreaterThanOrEqual(before + 2), waiting);
}

beforeAll(async () => {
  process.env.NODE_OPTIONS = `--import=${fileURLToPath(new URL('../cluster/scripted-names.ts', import.meta.url))}`;
  // Half of the real time: what a shard that went leaves behind is replicated sooner, and a restart takes still less by far.
  giveChildrenLimits({ memberReturnMs: limits.memberReturnMs / 2 });
  publishRecords(join(folder, 'data'), records, { sliceCount });
  await startShards(...[0, 1, 2].map(nameOf));
  const routerArgs = ['--port', '0', '--cache-size', '0', '--deadline', '10s'];
  router = child('router', ['router', '--members', 'dns+srv://_pavostore._tcp.shards.test', ...routerArgs]);
  address = `127.0.0.1:${await start(router)}`;
  sampling = sampleHolders();
  await untilPlaced();
  await vi.waitFor(async () => expect(await statusOf(address)).toMatchObject({ degraded: false, slicesAbsent: {} }), waiting);
  // Until then slices had nobody yet.
  uncovered.length = 0;
  load = new Load(address, keys, { seed, connections: 4 });
  await pause(500);
}, 120_000);

afterAll(async () => {
  isSampling = false;
  await sampling;
  await load?.stop();
  await router?.stop();
  await Promise.all([...running.values()].map((shard) => shard.stop()));
  delete process.env.NODE_OPTIONS;
  delete process.env.OTHER_LIMITS;
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
  await startShards(...[3, 4].map(nameOf));
  await untilPlaced();
  console.log(`3 to 5 shards: ${moves} slices loaded, ideal ${ideal}`);
  expect(moves).toBeLessThanOrEqual(1.2 * ideal);
  expectNothingLost();
}, 120_000);

test('two that are told to leave at once go when the others have what only these two had', async () => {
  const startedMs = performance.now();
  await Promise.all([3, 4].map((i) => stopShard(nameOf(i))));
  console.log(`5 to 3 shards: gone after ${Math.round(performance.now() - startedMs)} ms`);
  await untilPlaced();
  console.log(`5 to 3 shards: ${moves} slices loaded, ideal ${ideal}`);
  expect(moves).toBeLessThanOrEqual(1.2 * ideal);
  expectNothingLost();
}, 120_000);

test('two that come one after the other, and go so, move little more', async () => {
  for (const i of [5, 6]) {
    await startShards(nameOf(i));
    await untilLoaded();
  }
  await untilPlaced();
  console.log(`3 to 4 to 5 shards: ${moves} slices loaded, ideal ${ideal}`);
  expect(moves).toBeLessThanOrEqual(1.5 * ideal);
  expectNothingLost();
  // The second one goes while the first one could still come back.
  for (const i of [6, 5]) {
    await stopShard(nameOf(i));
    await pause(3_000);
  }
  await untilPlaced();
  console.log(`5 to 4 to 3 shards: ${moves} slices loaded, ideal ${ideal}`);
  expect(moves).toBeLessThanOrEqual(1.5 * ideal);
  expectNothingLost();
}, 180_000);

test('a rolling restart moves nothing', async () => {
  for (const i of [0, 1, 2]) {
    const name = nameOf(i);
    const before = new Map(lastKept);
    const startedMs = performance.now();
    await stopShard(name);
    const goneMs = performance.now() - startedMs;
    await startShards(name);
    await untilPlaced();
    console.log(`${name}: gone after ${Math.round(goneMs)} ms, back after ${Math.round(performance.now() - startedMs)} ms`);
    await pause(1_500);
    await untilLooked();
    for (const [other, { slices }] of before) expect([other, [...lastKept.get(other)!.slices]]).toEqual([other, [...slices]]);
  }
  // Each has loaded its own slices, once.
  expect(moves).toBe(sliceCount * replicas);
  expectNothingLost();
}, 120_000);
