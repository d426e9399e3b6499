import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { limits } from '../../shared/limits.ts';
import { giveChildrenLimits } from '../chaos/children-limits.ts';
import { statusOf, TestCluster, waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest, postRequest, RawConnection, type RawResponse } from '../raw-http.ts';
import { problemCodeOf } from './contract-cluster.ts';

/** What a busy machine may add to a time that is kept. */
const toleranceMs = 700;

const keys = Array.from({ length: 300 }, (_, i) => `key ${i}`);
const records = new Map(keys.map((key) => [key, Buffer.from(`value of ${key}`)]));

const target = (key: string): string => `/get?key=${key.replace(' ', '+')}`;

function expectTemporary(response: RawResponse, code: string): void {
  expect([response.status, problemCodeOf(response)]).toEqual([503, code]);
  expect(response.headers.get('retry-after')).toBe('1');
}

describe('a router without shards', () => {
  let router: SupervisedProcess;
  let address: string;

  beforeAll(async () => {
    const args = ['router', '--port', '0', '--members', '127.0.0.1:21390,127.0.0.1:21391', '--log-level', 'silent', '--drain', '0s'];
    router = new SupervisedProcess({ title: 'lonely router', args, onDeath: () => {} });
    address = `127.0.0.1:${await router.start()}`;
  });
  afterAll(async () => await router.stop());

  test('answers 503 no_version with Retry-After to every look-up', async () => {
    expectTemporary(await ask(address, getRequest('/get?key=foo')), 'no_version');
    expectTemporary(await ask(address, getRequest('/mget?key=foo')), 'no_version');
    expectTemporary(await ask(address, postRequest('/mget', 'application/json', '{"keys":["foo"]}')), 'no_version');
    expect((await ask(address, getRequest('/get?key=foo', [], 'HEAD'), { toHead: true })).status).toBe(503);
  });

  test('still tells what is wrong with a request', async () => {
    const codes = ['/get', '/get?key=%', '/mget?key=', '/nowhere'].map(async (each) => problemCodeOf(await ask(address, getRequest(each))));
    expect(await Promise.all(codes)).toEqual(['key_required', 'key_malformed', 'key_empty', 'route_not_found']);
  });

  test('is live, but not ready', async () => {
    expect((await ask(address, getRequest('/health/live'))).status).toBe(200);
    const ready = await ask(address, getRequest('/health/ready'));
    expect([ready.status, JSON.parse(ready.body.toString())]).toEqual([503, { status: 'not ready' }]);
    const status = JSON.parse((await ask(address, getRequest('/status'))).body.toString());
    expect(status).toMatchObject({ state: 'waiting', version: null });
  });
});

describe('a shard that stands still', () => {
  let cluster: TestCluster;
  /** A router with a deadline beyond the time that the test of its queue takes, for which nobody is gone meanwhile. */
  let patientAddress: string;
  let stopped: string[];
  let others: string[];

  const signalShard = (signal: NodeJS.Signals): void => {
    process.kill(cluster.cluster.shards[0]!.pid!, signal);
  };

  /** `count` keys that nobody has, of slices of the shard that stands still; different ones for each `start`. */
  const absentOfStopped = (start: number, count: number): string[] => {
    const found: string[] = [];
    for (let i = 0; found.length < count; i++) if (cluster.holdersOf(`absent ${start} ${i}`)[0] === 0) found.push(`absent ${start} ${i}`);
    return found;
  };

  beforeAll(async () => {
    cluster = await TestCluster.start({ records, routerArgs: ['--cache-size', '0'] });
    const undoLimits = giveChildrenLimits({ memberGoneMs: 60_000, memberSilentMs: 60_000 });
    patientAddress = await cluster.startRouter(['--deadline', '4s', '--cache-size', '0']);
    undoLimits();
    stopped = keys.filter((key) => cluster.holdersOf(key)[0] === 0);
    others = keys.filter((key) => cluster.holdersOf(key)[0] !== 0);
  });
  beforeEach(() => signalShard('SIGSTOP'));
  afterEach(async () => {
    signalShard('SIGCONT');
    await cluster.untilWhole();
    // Until its first answer it still counts as gone.
    await vi.waitFor(async () => expect((await ask(cluster.address, getRequest(target(stopped[0]!)))).status).toBe(200), waiting);
    for (const key of stopped.slice(0, 10))
      expect((await ask(cluster.address, getRequest(target(key)))).body.toString()).toBe(`value of ${key}`);
  });
  afterAll(async () => await cluster.close());

  test('costs its own keys 504 at the deadline, and the others nothing', async () => {
    const startedMs = performance.now();
    const late = await Promise.all(stopped.slice(0, 20).map((key) => ask(cluster.address, getRequest(target(key)))));
    const tookMs = performance.now() - startedMs;
    expect(new Set(late.map((response) => `${response.status} ${problemCodeOf(response)}`))).toEqual(new Set(['504 deadline_exceeded']));
    expect(tookMs).toBeGreaterThan(limits.deadlineDefaultMs - 10);
    expect(tookMs).toBeLessThan(limits.deadlineDefaultMs + toleranceMs);
    for (const key of others.slice(0, 20)) expect((await ask(cluster.address, getRequest(target(key)))).status).toBe(200);
  });

  test('fails none of the other keys of one /mget', async () => {
    const startedMs = performance.now();
    const response = await ask(cluster.address, postRequest('/mget', 'application/json', JSON.stringify({ keys })));
    const { results } = JSON.parse(response.body.toString()) as { results: unknown[] };
    expect(performance.now() - startedMs).toBeLessThan(limits.deadlineDefaultMs + toleranceMs);
    expect(results).toEqual(
      keys.map((key) =>
        stopped.includes(key)
          ? { key, status: 'unavailable', code: 'deadline_exceeded' }
          : { key, status: 'found', value: `value of ${key}` },
      ),
    );
  });

  test('counts as gone after a while: then its keys are 503 at once', async () => {
    await vi.waitFor(async () => expect((await cluster.status()).slicesAbsent).toHaveProperty('slice_unavailable'), waiting);
    const startedMs = performance.now();
    for (const key of stopped.slice(0, 10)) expectTemporary(await ask(cluster.address, getRequest(target(key))), 'slice_unavailable');
    expect(performance.now() - startedMs).toBeLessThan(toleranceMs);
    const response = await ask(
      cluster.address,
      getRequest(`/mget?key=${stopped[0]!.replace(' ', '+')}&key=${others[0]!.replace(' ', '+')}`),
    );
    expect(JSON.parse(response.body.toString()).results).toEqual([
      { key: stopped[0], status: 'unavailable', code: 'slice_unavailable' },
      { key: others[0], status: 'found', value: `value of ${others[0]}` },
    ]);
    expect((await ask(cluster.address, getRequest('/health/ready'))).status).toBe(200);
    expect((await cluster.status()).degraded).toBe(true);
  });

  test('never makes a queue without bound: beyond it, 503 overloaded at once', async () => {
    const requests = Math.ceil((limits.memberQueueMax + limits.batchesInFlightMax * limits.batchKeysMax) / limits.mgetKeysMax) + 4;
    const bodies = Array.from({ length: requests }, (_, i) => JSON.stringify({ keys: absentOfStopped(i, limits.mgetKeysMax) }));
    const connections = await Promise.all(bodies.map(() => RawConnection.open(patientAddress)));
    const write = (from: number, to: number): void => {
      for (let i = from; i < to; i++) connections[i]!.write(postRequest('/mget', 'application/json', bodies[i]!));
    };
    // First as much as may be under way: what left a full queue would make room in it.
    const underWay = Math.ceil(limits.windowStartKeys / limits.mgetKeysMax);
    write(0, underWay);
    await vi.waitFor(
      async () => {
        const { members } = await statusOf(patientAddress);
        expect(members.map(({ batchesInFlight }) => batchesInFlight).sort()).toEqual([0, 0, 2]);
      },
      { ...waiting, interval: 5 },
    );
    write(underWay, requests);
    const answers = Promise.all(connections.map((connection) => connection.next()));
    await vi.waitFor(async () => expect((await statusOf(patientAddress)).keys.overloaded).toBeGreaterThan(0), { ...waiting, interval: 5 });
    const more = absentOfStopped(-1, 2).map((key) => `key=${key.replaceAll(' ', '+')}`);
    const refused = await ask(patientAddress, getRequest(`/mget?${more.join('&')}`));
    expect((JSON.parse(refused.body.toString()).results as { code: string }[]).map(({ code }) => code)).toEqual([
      'overloaded',
      'overloaded',
    ]);
    expect((await ask(patientAddress, getRequest(target(others[0]!)))).status).toBe(200);
    // For a single GET there is still room in the queue, for what it is worth.
    expect(problemCodeOf(await ask(patientAddress, getRequest(target(stopped[0]!))))).toBe('deadline_exceeded');

    const codes = new Map<string, number>();
    for (const { body } of await answers) {
      for (const { code } of JSON.parse(body.toString()).results) codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    for (const connection of connections) connection.close();
    expect([...codes.keys()].sort()).toEqual(['deadline_exceeded', 'overloaded']);
    expect(codes.get('deadline_exceeded')).toBeLessThanOrEqual(limits.memberQueueMax + limits.batchesInFlightMax * limits.batchKeysMax);
  });
});
