// What a router does when the version that it serves is gone from the shards before its polls have told it: as one that stood still.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Router } from '../../router/router.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import { statusOf, waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest, postRequest, type RawResponse } from '../raw-http.ts';
import { problemCodeOf } from './contract-cluster.ts';
import { FakeShard } from './fake-shard.ts';

const [oldId, newId] = ['a'.repeat(32), 'b'.repeat(32)];

let shards: readonly FakeShard[];
let router: Router;
let address: string;

const get = async (key: string): Promise<RawResponse> => await ask(address, getRequest(`/get?key=${key}`));
const mget = async (keys: readonly string[]): Promise<RawResponse> =>
  await ask(address, postRequest('/mget', 'application/json', Buffer.from(JSON.stringify({ keys }))));

/** All shards drop the old version for the new one, between two polls of the router. */
function goOn(): void {
  for (const shard of shards) {
    shard.versionId = newId;
    shard.sequence = 2;
    shard.answer = (key, versionId) => (versionId === newId ? Buffer.from(`new ${key}`) : 'notHeld');
  }
}

beforeEach(async () => {
  shards = await Promise.all(['a', 'b'].map((name) => FakeShard.start({ name, versionId: oldId })));
  for (const shard of shards) shard.answer = (key) => Buffer.from(`old ${key}`);
  const members = parseMemberSource(shards.map((shard) => shard.address).join(','));
  router = new Router({ host: '127.0.0.1', port: 0, members, deadlineMs: 2_000, cacheSize: 0, logLevel: 'silent' });
  address = `127.0.0.1:${await router.start()}`;
  await vi.waitFor(async () => expect((await get('k')).body.toString()).toBe('old k'), waiting);
});
afterEach(async () => {
  const { keys, members } = await statusOf(address);
  expect({ pending: keys.pending, waiting: members.map(({ keysWaiting }) => keysWaiting) }).toEqual({ pending: 0, waiting: [0, 0] });
  await router.close();
  await Promise.all(shards.map((shard) => shard.close()));
});

test('each poll names the version that is served, and the report that was seen last', async () => {
  await vi.waitFor(
    () => expect(shards[0]!.versionUse).toMatchObject({ versionIds: [oldId], seen: { counter: expect.any(Number) } }),
    waiting,
  );
  const before = shards[0]!.versionUse!;
  await vi.waitFor(() => expect(shards[0]!.versionUse!.seen!.counter).toBeGreaterThan(before.seen!.counter), waiting);
  expect(shards[0]!.versionUse!.router).toBe(before.router);
  expect(shards[1]!.versionUse!.router).toBe(before.router);
});

test('a GET whose version is gone is answered from the one that is there', async () => {
  goOn();
  const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => get(`k${i}`)));
  expect(answers.map(({ status, headers, body }) => [status, headers.get('pavostore-version'), body.toString()])).toEqual(
    answers.map((_, i) => [200, newId, `new k${i}`]),
  );
});

test('an /mget of which some keys find their version gone is asked anew as a whole', async () => {
  goOn();
  // One still has the old version: what it says of it must not be in the answer.
  shards[0]!.answer = (key, versionId) => Buffer.from(`${versionId === newId ? 'new' : 'old'} ${key}`);
  const keys = Array.from({ length: 60 }, (_, i) => `k${i}`);
  shards[1]!.answer = (key, versionId) => (versionId === newId ? Buffer.from(`new ${key}`) : 'notHeld');
  shards[0]!.kept = [[0, 1]];
  shards[1]!.kept = [[2, 3]];
  const { status, headers, body } = await mget(keys);
  const { version, results } = JSON.parse(body.toString()) as { version: string; results: { status: string; value?: string }[] };
  const prefix = version === newId ? 'new' : 'old';
  expect([status, headers.get('pavostore-version')]).toEqual([200, version]);
  expect(results.map(({ value }) => value)).toEqual(keys.map((key) => `${prefix} ${key}`));
});

test('what nobody holds in the end is unavailable, once everybody has been asked anew', async () => {
  for (const shard of shards) shard.answer = () => 'notHeld';
  expect(problemCodeOf(await get('k'))).toBe('slice_unavailable');
  const { results } = JSON.parse((await mget(['k', 'l'])).body.toString()) as { results: { code: string }[] };
  expect(results.map(({ code }) => code)).toEqual(['slice_unavailable', 'slice_unavailable']);
  // Twice each: with the version that was bound, and with the one after the members were asked.
  expect(shards.flatMap(({ batches }) => batches.flat()).filter((key) => key === 'l').length).toBe(4);
});
