// Two versions in memory for 1.2: the old one is served from disk as far as the new one needs its memory, and everything is answered meanwhile.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { Shard } from '../../shard/shard.ts';
import { batchContentType, encodeBatchRequest, isBatchReply, readBatchReply } from '../../shared/batch-wire.ts';
import { slicePath, versionPath } from '../../shared/data-set.ts';
import { keyHash32OfLatin1, type SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { formatVersionUse, versionUseHeader } from '../../shared/version-use.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords } from '../data-sets.ts';
import { ask, postRequest } from '../raw-http.ts';

const keys = Array.from({ length: 3_000 }, (_, i) => `key ${i}`);
const valueIn = (key: string, version: string): Buffer => Buffer.from(`${key} in ${version} `.repeat(20));

type Status = {
  readonly incarnation: string;
  readonly counter: number;
  readonly versions: readonly { readonly id: string; readonly settled: boolean }[];
  readonly refused: readonly { readonly why: string }[];
  readonly memory: { readonly slices: number };
  readonly cache: { readonly bytes: number } | null;
};

let dataDir: string;
let shard: Shard;
let address: string;
let seen: { incarnation: string; counter: number } | undefined;

function publish(name: string, sequence: number): Manifest {
  return publishRecords(dataDir, new Map(keys.map((key) => [key, valueIn(key, name)])), { sliceCount: 16, sequence });
}

async function start(memory: number): Promise<void> {
  shard = new Shard({
    dataDir,
    host: '127.0.0.1',
    port: 0,
    members: undefined,
    name: 'tested',
    zone: undefined,
    replicas: 1,
    memory,
    stateDir: undefined,
    leaveGraceMs: 0,
    logLevel: 'silent',
  });
  address = `127.0.0.1:${await shard.start()}`;
}

/** As a router that uses these versions polls. */
async function poll(...versionIds: readonly string[]): Promise<Status> {
  const use = formatVersionUse({ router: 'f0', versionIds, seen });
  const request = `GET /status HTTP/1.1\r\nHost: test\r\n${versionUseHeader}: ${use}\r\n\r\n`;
  const status = JSON.parse((await ask(address, request)).body.toString()) as Status;
  seen = { incarnation: status.incarnation, counter: status.counter };
  return status;
}

/** What the shard says of some keys in a version; each is checked. */
async function expectAnswers({ id }: Manifest, name: string, from: number): Promise<void> {
  const asked = Array.from({ length: 50 }, (_, i) => keys[(from + 97 * i) % keys.length]!);
  const idBytes = Buffer.from(id, 'hex');
  const body = encodeBatchRequest(
    idBytes,
    asked.map((key) => ({ key, keyHash32: keyHash32OfLatin1(key) })),
  );
  const { body: reply } = await ask(address, postRequest('/batch', batchContentType, body));
  expect(isBatchReply(reply, idBytes, asked.length)).toBe(true);
  readBatchReply(reply, (i, status, start, end) => {
    expect({ key: asked[i], status, value: reply.toString('latin1', start, end) }).toEqual({
      key: asked[i],
      status: 0,
      value: valueIn(asked[i]!, name).toString(),
    });
  });
}

beforeEach(() => {
  dataDir = join(mkdtempSync(join(tmpdir(), 'pavostore-swap-')), 'data');
  mkdirSync(dataDir);
  seen = undefined;
});
afterEach(async () => {
  await shard.close();
  rmSync(join(dataDir, '..'), { recursive: true, force: true });
});

/** The shard holds this version alone, all of it in memory. */
const untilAlone = async ({ id, totals }: Manifest): Promise<void> =>
  await vi.waitFor(async () => {
    const { versions, memory, cache } = await poll(id);
    const alone = { ids: versions.map((version) => version.id), slices: memory.slices, cache };
    expect(alone).toEqual({ ids: [id], slices: totals.sliceBytes, cache: null });
  }, waiting);

test('in memory for 1.2 versions the next one is loaded, both answer, and whichever is left is in memory again', async () => {
  const old = publish('old', 1);
  const size = old.totals.sliceBytes;
  const budget = Math.floor(1.2 * size);
  await start(budget);
  await untilAlone(old);

  const next = publish('next', 2);
  let peak = 0;
  for (let i = 0; ; i++) {
    await expectAnswers(old, 'old', i);
    const { versions, memory, cache } = await poll(old.id);
    peak = Math.max(peak, memory.slices + (cache?.bytes ?? 0));
    expect(peak).toBeLessThanOrEqual(budget);
    if (versions.some(({ id, settled }) => id === next.id && settled)) break;
  }
  expect(peak).toBeGreaterThan(size);
  for (let i = 0; i < 20; i++) {
    await expectAnswers(old, 'old', i);
    await expectAnswers(next, 'next', i);
  }
  expect((await poll(old.id)).cache).not.toBeNull();

  publish('old', 3);
  await vi.waitFor(async () => {
    await expectAnswers(old, 'old', 0);
    expect((await poll(old.id)).versions.map(({ id }) => id)).toEqual([old.id]);
  }, waiting);
  await untilAlone(old);
});

test('the files of the version that is served are mended though a newer one is held, but not when the version was removed', async () => {
  const old = publish('old', 1);
  await start(10 * old.totals.sliceBytes);
  await untilAlone(old);
  publish('next', 2);
  const untilBoth = async (): Promise<void> => expect((await poll(old.id)).versions.every(({ settled }) => settled)).toBe(true);
  await vi.waitFor(async () => {
    await untilBoth();
    expect(shard.versions.length).toBe(2);
  }, waiting);

  const folder = versionPath(dataDir, old.id);
  const [deleted, changed] = [slicePath(folder, 3 as SliceIndex), slicePath(folder, 5 as SliceIndex)];
  const before = [readFileSync(deleted), readFileSync(changed)];
  // A change is seen against what was seen before.
  await new Promise((resolve) => setTimeout(resolve, 2 * limits.glanceIntervalMs));
  rmSync(deleted);
  writeFileSync(changed, before[1]!.subarray(100));
  await vi.waitFor(async () => {
    await untilBoth();
    expect([readFileSync(deleted), readFileSync(changed)]).toEqual(before);
  }, waiting);
  expect(shard.serving!.id).toBe(old.id);

  rmSync(folder, { recursive: true });
  await new Promise((resolve) => setTimeout(resolve, limits.missingFileMs + 2 * limits.glanceIntervalMs));
  await untilBoth();
  expect(existsSync(folder)).toBe(false);
});

test('a next version with a slice that nobody has a good copy of gives way to a newer one', async () => {
  const stuckMs = vi.spyOn(limits, 'versionStuckMs', 'get').mockReturnValue(4_000 as 60_000);
  onTestFinished(() => stuckMs.mockRestore());
  const old = publish('old', 1);
  await start(10 * old.totals.sliceBytes);
  await untilAlone(old);
  const bad = publish('bad', 2);
  truncateSync(slicePath(versionPath(dataDir, bad.id), 3 as SliceIndex), 100);
  const ids = async (): Promise<readonly string[]> => (await poll(old.id)).versions.map(({ id }) => id);
  await vi.waitFor(async () => expect(await ids()).toEqual([bad.id, old.id]), waiting);

  const good = publish('good', 3);
  await vi.waitFor(async () => expect(await ids()).toEqual([good.id, old.id]), waiting);
  await expectAnswers(old, 'old', 0);
  await vi.waitFor(async () => expect((await poll(old.id)).versions[0]!.settled).toBe(true), waiting);
  await expectAnswers(good, 'good', 0);
});

test('says that memory is short, and for what', async () => {
  const { totals } = publish('old', 1);
  await start(Math.floor(0.5 * totals.sliceBytes));
  await vi.waitFor(async () => expect((await poll()).refused.map(({ why }) => why).join()).toMatch(/start more shards/), waiting);
});
