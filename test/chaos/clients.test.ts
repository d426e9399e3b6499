// Clients that are no help: thousands of connections that send next to nothing, and requests just when a connection has been idle for as long as it
// is kept. Both on a real router, in a process of its own.

import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { TestCluster } from '../cluster/cluster-harness.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { OwnLoop } from '../own-loop.ts';
import { getRequest, percentEncode, RawConnection } from '../raw-http.ts';
import { giveChildrenLimits } from './children-limits.ts';
import { ClientLoad, formatLatencies } from './client-load.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const isLong = process.env.CHAOS_SECONDS !== undefined;
console.log(`clients.test.ts: TEST_SEED=${seed}`);

/** Idle connections are kept for so long in this test; as clients are told. */
const keepAliveMs = 2_000;
/** A request that this process sends so much too late may find its connection ended, and rightly so: the server keeps it for twice as much longer. */
const lateMsMax = limits.serverKeepAliveSlackMs / 2;
const records = new Map(Array.from({ length: 2_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i}`)]));
const keys = [...records.keys()];

let cluster: TestCluster;

beforeAll(async () => {
  const undoLimits = giveChildrenLimits({ serverKeepAliveMs: keepAliveMs, clientKeepAliveMs: 1_000, socketSilentMs: 250 });
  cluster = await TestCluster.start({ shards: 3, replicas: 2, records, routerArgs: ['--cache-size', '0', '--deadline', '10s'] });
  undoLimits();
});
afterAll(async () => await cluster.close());

test('requests spaced around the time that idle connections are kept: not one is lost', async () => {
  const requests = isLong ? 10_000 : 2_000;
  const connections = 500;
  const random = randomFrom(seed);
  let asked = 0;
  let reopened = 0;
  let late = 0;
  const client = async (): Promise<void> => {
    // They should not all ask at once.
    await pause(random() % keepAliveMs);
    let connection = await RawConnection.open(cluster.address);
    while (asked < requests) {
      asked++;
      const key = keys[random() % keys.length]!;
      const askedMs = performance.now();
      connection.write(getRequest(`/get?key=${percentEncode(key)}`));
      const { body, headers } = await connection.next();
      expect(body).toEqual(records.get(key));
      expect(headers.get('keep-alive')).toBe(`timeout=${keepAliveMs / 1_000}`);
      const idleMs = keepAliveMs - 200 + (random() % 400);
      await pause(idleMs);
      const isLate = performance.now() - askedMs > idleMs + lateMsMax;
      if (isLate) late++;
      // Whoever was told so opens another one by then.
      if (idleMs <= keepAliveMs && !isLate) continue;
      reopened++;
      connection.close();
      connection = await RawConnection.open(cluster.address);
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: connections }, client));
  console.log(
    `${asked} requests after ${keepAliveMs - 200} to ${keepAliveMs + 200} ms of silence, ${reopened} of them over a new connection, ${late} since this process was late: none lost`,
  );
  expect(reopened).toBeLessThan(0.9 * requests);
});

test('a connection is kept for longer than its client is told', async ({ skip }) => {
  const connections = await Promise.all(Array.from({ length: 100 }, async () => await RawConnection.open(cluster.address)));
  const askedMs = performance.now();
  for (const connection of connections) connection.write(getRequest('/get?key=key%201'));
  for (const connection of connections) await connection.next();
  const idleMs = keepAliveMs + limits.serverKeepAliveSlackMs / 4;
  await pause(idleMs);
  const startMs = performance.now();
  if (startMs - askedMs > idleMs + lateMsMax) {
    for (const connection of connections) connection.close();
    skip('this process was too late to ask again');
  }
  for (const connection of connections) connection.write(getRequest('/get?key=key%202'));
  for (const connection of connections) expect((await connection.next()).body.toString()).toBe('value of 2');
  await Promise.all(connections.map(async (connection) => await connection.ended()));
  expect(performance.now() - startMs).toBeGreaterThan(keepAliveMs);
});

test('a thousand connections that send a byte now and then are closed in time, and cost the others next to nothing', async () => {
  const load = new ClientLoad({ routers: [cluster.address], records, absent: ['nobody'], connections: 16, seed });
  const own = new OwnLoop();
  await pause(2_000);
  const before = load.takeLatencies();
  const startedMs = performance.now();
  const slow = await Promise.all(Array.from({ length: 1_000 }, async (_, i) => await startDripping(i, own)));
  const lastedMs = await Promise.all(slow.map(async ({ ended }) => await ended));
  const disturbed = load.takeLatencies();
  const tookMs = performance.now() - startedMs;
  await pause(2_000);
  const after = load.takeLatencies();
  await load.stop();
  own.close();
  console.log(
    `undisturbed: ${formatLatencies(before)}\nbeside slow connections: ${formatLatencies(disturbed)}\nundisturbed again: ${formatLatencies(after)}\n` +
      `those ended after ${(Math.min(...lastedMs) / 1_000).toFixed(1)} to ${(Math.max(...lastedMs) / 1_000).toFixed(1)} s, the last one ${(tookMs / 1_000).toFixed(1)} s after the first was opened`,
  );
  expect([load.wrong, load.failures]).toEqual([[], []]);
  expect(disturbed.count).toBeGreaterThan(500);
  // What a busy machine adds by itself is allowed for, also when it is busier than it was before.
  expect(disturbed.p99Ms).toBeLessThan(2 * Math.max(before.p99Ms, after.p99Ms) + 50);
  expect(Math.max(...lastedMs)).toBeLessThan(limits.requestTimeoutMs + limits.connectionsCheckingIntervalMs + limits.lingerMs + 4_000);
});

/** Of four kinds: nothing at all, a request line that never ends, header fields without end, a body that never comes. */
async function startDripping(i: number, own: OwnLoop): Promise<{ ended: Promise<number> }> {
  const connection = await RawConnection.open(cluster.address);
  const startMs = performance.now();
  const starts = [
    '',
    'GET /get?key=',
    'GET /get?key=a HTTP/1.1\r\n',
    'POST /mget HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n',
  ];
  const drops = [undefined, 'x', 'X-A: b\r\n', ' '];
  const drop = drops[i % 4];
  connection.write(starts[i % 4]!);
  const dripping = setInterval(() => {
    if (drop !== undefined) connection.write(drop);
  }, 500);
  const ended = connection.ended().then(() => {
    const lastedMs = own.answeredSince(startMs);
    clearInterval(dripping);
    connection.close();
    return lastedMs;
  });
  return { ended };
}
