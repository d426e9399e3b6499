import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Router } from '../../router/router.ts';
import { limits } from '../../shared/limits.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import { statusOf, waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest, type RawResponse } from '../raw-http.ts';
import { problemCodeOf } from './contract-cluster.ts';
import { FakeShard } from './fake-shard.ts';

let shards: FakeShard[];
let router: Router;
let address: string;

/** The names of members in a fixed list are theirs to say: here they are not their addresses. */
async function startRouter(): Promise<void> {
  const members = parseMemberSource(shards.map((shard) => shard.address).join(','));
  router = new Router({ host: '127.0.0.1', port: 0, members, deadlineMs: 1_000, cacheSize: 0, logLevel: 'silent' });
  address = `127.0.0.1:${await router.start()}`;
}

function standStill(forMs: number): void {
  const startedMs = performance.now();
  while (performance.now() - startedMs < forMs);
}

const get = async (key = 'k'): Promise<RawResponse> => await ask(address, getRequest(`/get?key=${key}`));
const until = async (expected: string): Promise<void> =>
  await vi.waitFor(async () => {
    const response = await get();
    expect(response.status === 200 ? response.body.toString() : problemCodeOf(response)).toBe(expected);
  }, waiting);

beforeEach(async () => {
  shards = [await FakeShard.start({ name: 'a' }), await FakeShard.start({ name: 'b' })];
  for (const shard of shards) shard.answer = (key) => Buffer.from(`${key} of ${shard.name}`);
});
afterEach(async () => {
  expect((await statusOf(address)).keys.pending).toBe(0);
  await router.close();
  for (const shard of shards) await shard.close();
});

describe('a router follows what the shards report', () => {
  test('from loading to kept, corrupt and back', async () => {
    const [a, b] = shards as [FakeShard, FakeShard];
    a.kept = b.kept = [];
    a.loading = [[0, 3]];
    await startRouter();
    expect(problemCodeOf(await get())).toBe('no_version');
    expect(await statusOf(address)).toMatchObject({ state: 'waiting', version: null, degraded: true });
    a.loading = [];
    a.kept = [[0, 3]];
    await until('k of a');
    a.kept = [];
    a.corrupt = [[0, 3]];
    await until('slice_corrupt');
    b.loading = [[0, 3]];
    await until('slice_loading');
    b.loading = [];
    b.kept = [[0, 3]];
    await until('k of b');
    a.corrupt = [];
    b.kept = [];
    await until('slice_unavailable');
    expect((await statusOf(address)).degraded).toBe(true);
  });

  test('from the first request on: it listens when it has asked every member', async () => {
    const [a, b] = shards as [FakeShard, FakeShard];
    const { replyStatus } = a;
    a.replyStatus = (text, response) => setTimeout(() => replyStatus(text, response), 300);
    b.replyStatus = () => {};
    await startRouter();
    expect((await get()).body.toString()).toBe('k of a');
  });

  test('from the first request on, also when not every slice has a holder', async () => {
    for (const shard of shards) shard.kept = [[1, 3]];
    // It hears late what there is, and whatever it does once a second comes later by this from then on: just before it may serve, and after it listens.
    const [a] = shards as [FakeShard];
    const { replyStatus } = a;
    a.replyStatus = (text, response) => {
      a.replyStatus = replyStatus;
      setTimeout(() => replyStatus(text, response), limits.pollIntervalMs / 2);
      setTimeout(() => standStill(0.4 * limits.pollIntervalMs), 0.9 * limits.pollIntervalMs);
    };
    await startRouter();
    const codes = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const response = await get(`key${i}`);
        return response.status === 200 ? 'found' : problemCodeOf(response);
      }),
    );
    expect(new Set(codes)).toEqual(new Set(['found', 'slice_unavailable']));
  });

  test('asks each for the slices that it holds', async () => {
    const [a, b] = shards as [FakeShard, FakeShard];
    a.kept = [[0, 1]];
    b.kept = [[2, 3]];
    await startRouter();
    await vi.waitFor(async () => expect((await statusOf(address)).slicesAbsent).toEqual({}), waiting);
    const bodies = await Promise.all(Array.from({ length: 40 }, async (_, i) => (await get(`key${i}`)).body.toString()));
    expect(new Set(bodies.map((body) => body.at(-1)))).toEqual(new Set(['a', 'b']));
  });

  test('still asks one that is about to leave', async () => {
    const [a, b] = shards as [FakeShard, FakeShard];
    a.state = 'leaving';
    b.kept = [];
    await startRouter();
    await until('k of a');
  });

  test('outlives the loss of all shards, and finds them again', async () => {
    await startRouter();
    await vi.waitFor(async () => expect((await get()).status).toBe(200), waiting);
    for (const shard of shards) shard.replyStatus = (_good, response) => response.socket!.destroy();
    for (const shard of shards) shard.reply = (_good, response) => response.socket!.destroy();
    await until('slice_unavailable');
    await vi.waitFor(async () => expect((await statusOf(address)).members.some(({ alive }) => alive)).toBe(false), waiting);
    expect((await ask(address, getRequest('/health/live'))).status).toBe(200);
    expect((await statusOf(address)).slicesAbsent).toEqual({ slice_unavailable: [[0, 3]] });
    const again = await FakeShard.start();
    for (const shard of shards) {
      shard.replyStatus = again.replyStatus;
      shard.reply = again.reply;
    }
    await again.close();
    await vi.waitFor(async () => expect((await get()).status).toBe(200), waiting);
  });
});

describe('a member that talks nonsense', () => {
  const good = (change: (status: Record<string, unknown>) => unknown) => (text: string) => JSON.stringify(change(JSON.parse(text)));
  const inVersion = (fields: Record<string, unknown>) =>
    good((status) => ({ ...status, versions: (status.versions as object[]).map((version) => ({ ...version, ...fields })) }));
  const inSlices = (kept: unknown) => inVersion({ slices: { kept, loading: [], yielding: [], corrupt: [] } });

  test.each<[string, (text: string) => string]>([
    ['nothing', () => ''],
    ['no JSON', (text) => text.slice(1)],
    ['null', () => 'null'],
    ['a list', () => '[]'],
    ['no name', good(({ name: _, ...rest }) => rest)],
    ['an endless name', good((status) => ({ ...status, name: 'n'.repeat(256) }))],
    ['no incarnation', good((status) => ({ ...status, incarnation: 1 }))],
    ['a negative counter', good((status) => ({ ...status, counter: -1 }))],
    ['an unknown state', good((status) => ({ ...status, state: 'fine' }))],
    ['no versions', good((status) => ({ ...status, versions: null }))],
    ['a version of nobody', good((status) => ({ ...status, versions: [null] }))],
    ['an id that is none', inVersion({ id: '../../etc/passwd' })],
    ['a slice count of 3', inVersion({ sliceCount: 3 })],
    ['a slice count of 2^31', inVersion({ sliceCount: 2 ** 31 })],
    ['no slices', inVersion({ slices: null })],
    ['a slice beyond the last', inSlices([[0, 4]])],
    ['a slice below the first', inSlices([[-1, 3]])],
    ['a range backwards', inSlices([[3, 0]])],
    [
      'ranges that overlap',
      inSlices([
        [0, 2],
        [2, 3],
      ]),
    ],
    ['half a slice', inSlices([[0, 0.5]])],
    ['ranges of text', inSlices('0-3')],
    ['2 MiB', (text) => text.padEnd(2 * 1024 * 1024)],
  ])('with %s for a status counts for nothing', async (_name, change) => {
    const [a] = shards as [FakeShard, FakeShard];
    a.replyStatus = (text, response) => response.end(change(text));
    await startRouter();
    await until('k of b');
    for (let i = 0; i < 5; i++) expect((await get()).body.toString()).toBe('k of b');
    expect(a.batches).toEqual([]);
  });

  test('with status 500, or none at all, counts for nothing', async () => {
    const [a] = shards as [FakeShard, FakeShard];
    a.replyStatus = (text, response) => {
      response.statusCode = 500;
      response.end(text);
    };
    await startRouter();
    await until('k of b');
    a.replyStatus = () => {};
    await until('k of b');
    expect(a.batches).toEqual([]);
  });

  test('with another slice count for the same version is not asked for it', async () => {
    const [a, b] = shards as [FakeShard, FakeShard];
    await a.close();
    shards[0] = await FakeShard.start({ name: 'a', sliceCount: 8 });
    shards[0].answer = b.answer;
    b.kept = [[0, 3]];
    await startRouter();
    await vi.waitFor(async () => expect((await get()).status).toBe(200), waiting);
    const version = (await statusOf(address)).version!;
    const asked = version.sliceCount === 8 ? b : shards[0]!;
    for (let i = 0; i < 20; i++) expect((await get(`key${i}`)).status).toBe(200);
    expect(asked.batches).toEqual([]);
  });
});
