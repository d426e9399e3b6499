// What a router does about clients that ask for large values and do not take them: its memory stays within bounds, others are answered, and
// such clients are ended soon. A real router process, values of 8 MiB.

import { connect, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { residentBytesOf } from '../../bench/process-cpu.ts';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { limits } from '../../shared/limits.ts';
import { giveChildrenLimits } from '../chaos/children-limits.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest, postRequest, RawConnection } from '../raw-http.ts';
import { problemCodeOf } from './contract-cluster.ts';
import { FakeShard } from './fake-shard.ts';

const MiB = 2 ** 20;
const large = Buffer.alloc(8 * MiB, 'a large value ');
/** What is owed, and half as much for what the collector has not got yet, replies on their way, and the rest of a process. */
const residentMax = 1.5 * limits.owedSizeMax + 128 * MiB;

let shards: FakeShard[];
let router: SupervisedProcess;
let address: string;
const stalled: Socket[] = [];

/** Its shards are in this process, which has the values to make: however long it stands still for that, nobody is ejected, or gone. */
const patience = { ejectSilenceMs: 60_000, memberGoneMs: 60_000, memberSilentMs: 60_000, socketSilentMs: 60_000 } as const;

async function startRouter(options: { deadlineMs: number; answerStalledMs?: number }): Promise<void> {
  const { deadlineMs, answerStalledMs = limits.answerStalledMs } = options;
  shards = [];
  for (const name of ['a', 'b', 'c']) {
    const shard = await FakeShard.start({ name });
    shard.answer = oneLargeInABatch();
    shards.push(shard);
  }
  const members = shards.map((shard) => shard.address).join(',');
  const args = ['router', '--members', members, '--port', '0', '--drain', '0s', '--deadline', `${deadlineMs}ms`, '--log-level', 'silent'];
  router = new SupervisedProcess({ title: 'router', args, onDeath: (message) => deaths.push(message) });
  const undoLimits = giveChildrenLimits({ ...patience, answerStalledMs });
  address = `127.0.0.1:${await router.start()}`;
  undoLimits();
  await vi.waitFor(async () => expect((await ask(address, getRequest('/health/ready'))).status).toBe(200), waiting);
}

const deaths: string[] = [];
afterEach(async () => {
  for (const socket of stalled.splice(0)) socket.destroy();
  await router.stop();
  await Promise.all(shards.map((shard) => shard.close()));
  expect(deaths.splice(0)).toEqual([]);
});

/** As a shard does it whose replies are full with one. */
function oneLargeInABatch(): FakeShard['answer'] {
  let isFull = false;
  return (key) => {
    if (!key.startsWith('large')) return Buffer.from(`the value of ${key}`);
    if (isFull) return 'deferred';
    isFull = true;
    queueMicrotask(() => {
      isFull = false;
    });
    return large;
  };
}

type Due = { readonly bytes: number; readonly bytesMax: number; readonly stalled: number };
type Status = { readonly answersDue: Due; readonly keys: { readonly pending: number } };

async function due(): Promise<Due> {
  return (JSON.parse((await ask(address, getRequest('/status'))).body.toString()) as Status).answersDue;
}

/** Sends the request and never reads. */
function askAndStall(request: string): void {
  const socket = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]) });
  socket.on('error', () => {});
  socket.pause();
  socket.write(request);
  stalled.push(socket);
}

const mgetOfEight = (i: number): string =>
  postRequest('/mget', 'application/json', JSON.stringify({ keys: Array.from({ length: 8 }, (_, n) => `large-${i}-${n}`) })).toString();

/**
 * Small values are answered all the while: for so long, and until no key is pending, when all is written. Returns the most memory that the router had, and
 * the most that it owed.
 */
async function watch(forMs: number): Promise<{ residentBytes: number; dueBytes: number }> {
  const connection = await RawConnection.open(address);
  let residentBytes = 0;
  let dueBytes = 0;
  let pending = 0;
  for (const endMs = performance.now() + forMs; pending > 0 || performance.now() < endMs; ) {
    connection.write(getRequest(`/get?key=small-${performance.now()}`));
    expect((await connection.next()).status).toBe(200);
    residentBytes = Math.max(residentBytes, residentBytesOf(router.pid!));
    connection.write(getRequest('/status'));
    const status = JSON.parse((await connection.next()).body.toString()) as Status;
    pending = status.keys.pending;
    dueBytes = Math.max(dueBytes, status.answersDue.bytes);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  connection.close();
  return { residentBytes, dueBytes };
}

/** Every second client's requests go by Node's own parser. */
const fieldsOf = (i: number): string => (i % 2 === 0 ? '' : 'TE: trailers\r\n');
const getOfLarge = (i: number): string => `GET /get?key=large-${i} HTTP/1.1\r\nHost: t\r\n${fieldsOf(i)}\r\n`;

test('100 clients that ask for 64 MiB each and do not read', { timeout: 120_000 }, async () => {
  await startRouter({ deadlineMs: 10_000 });
  for (let i = 0; i < 100; i++) askAndStall(mgetOfEight(i).replace('\r\n', `\r\n${fieldsOf(i)}`));
  const { residentBytes, dueBytes } = await watch(6_000);
  expect(residentBytes).toBeLessThan(residentMax);
  const { bytesMax } = await due();
  expect(dueBytes).toBeGreaterThan(bytesMax / 4);
  expect(dueBytes).toBeLessThan(bytesMax);
  await vi.waitFor(async () => expect(await due()).toMatchObject({ bytes: 0, stalled: expect.any(Number) }), {
    timeout: 2 * limits.answerStalledMs + 15_000,
    interval: 500,
  });
  expect((await due()).stalled).toBeGreaterThan(0);
});

test('large values that clients do not take, and what others are told', { timeout: 120_000 }, async () => {
  // All can be asked for, and nobody is ended, before others ask: however long it takes to make the values.
  await startRouter({ deadlineMs: 30_000, answerStalledMs: 100_000 });
  for (let i = 0; i < 150; i++) askAndStall(getOfLarge(i));
  const { residentBytes } = await watch(5_000);
  expect(residentBytes).toBeLessThan(residentMax);
  const { bytes, bytesMax } = await due();
  expect(bytes).toBeGreaterThan(bytesMax / 2);
  const refused = await ask(address, getRequest('/get?key=large'));
  expect([refused.status, problemCodeOf(refused)]).toEqual([503, 'overloaded']);
  for (const socket of stalled) socket.destroy();
  await vi.waitFor(async () => expect((await due()).bytes).toBe(0), waiting);
  expect((await ask(address, getRequest('/get?key=large'))).body.equals(large)).toBe(true);
});

test('clients that do not take large values are ended, whoever reads their requests', async () => {
  await startRouter({ deadlineMs: 30_000, answerStalledMs: 2_000 });
  for (let i = 0; i < 10; i++) askAndStall(getOfLarge(i));
  await vi.waitFor(async () => expect(await due()).toMatchObject({ bytes: 0, stalled: 10 }), waiting);
});

test('a hot large value is owed once, however many take their time', { timeout: 60_000 }, async () => {
  await startRouter({ deadlineMs: 10_000 });
  for (let i = 0; i < 100; i++) askAndStall(getRequest('/get?key=large'));
  await watch(1_000);
  expect((await due()).bytes).toBeLessThan(limits.owedSizeMax * limits.owedLargeShare);
  expect((await ask(address, getRequest('/get?key=large'))).body.equals(large)).toBe(true);
});
