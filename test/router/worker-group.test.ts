// `router --workers 2` as a user runs it: processes behind one port.

import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { ask, getRequest, RawConnection } from '../raw-http.ts';
import { FakeShard } from './fake-shard.ts';

type Worker = {
  readonly worker: number;
  readonly pid: number | null;
  readonly state: string;
  readonly version?: object | null;
  readonly keys?: { readonly pending: number };
};
type Status = { readonly state: string; readonly worker: number; readonly workers: readonly Worker[]; readonly version: object | null };

let shard: FakeShard;
let router: SupervisedProcess;
let address: string;
const deaths: string[] = [];
const drainMs = 300;

beforeAll(async () => {
  shard = await FakeShard.start();
  shard.answer = (key) => Buffer.from(`value of ${key}`);
  const args = ['router', '--workers', '2', '--port', '0', '--members', shard.address, '--drain', `${drainMs}ms`, '--log-level', 'silent'];
  router = new SupervisedProcess({ title: 'two workers', args, onDeath: (message) => deaths.push(message) });
  address = `127.0.0.1:${await router.start()}`;
  await untilBothReady();
});
afterAll(async () => {
  await router.stop();
  await shard.close();
  expect(deaths).toEqual([]);
});

async function statusOf(router: string): Promise<Status> {
  return JSON.parse((await ask(router, getRequest('/status'))).body.toString()) as Status;
}

async function untilBothReady(): Promise<Status> {
  return await vi.waitFor(async () => {
    const status = await statusOf(address);
    expect(status.workers.map(({ worker, state }) => [worker, state])).toEqual([
      [1, 'ready'],
      [2, 'ready'],
    ]);
    return status;
  }, waiting);
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A kept connection to each worker. */
async function connectToEach(): Promise<Map<number, RawConnection>> {
  const connections = new Map<number, RawConnection>();
  while (connections.size < 2) {
    const connection = await RawConnection.open(address);
    connection.write(getRequest('/status'));
    const { worker } = JSON.parse((await connection.next()).body.toString()) as Status;
    if (connections.has(worker)) connection.close();
    else connections.set(worker, connection);
  }
  return connections;
}

async function get(connection: RawConnection): Promise<string> {
  connection.write(getRequest('/get?key=k'));
  return (await connection.next()).body.toString();
}

test('a worker that is killed costs its own connections and no others, and is back soon', async () => {
  const { workers } = await statusOf(address);
  const connections = await connectToEach();
  process.kill(workers[0]!.pid!, 'SIGKILL');
  await connections.get(1)!.ended();
  for (let i = 0; i < 20; i++) {
    expect(await get(connections.get(2)!)).toBe('value of k');
    expect((await ask(address, getRequest('/get?key=k'))).status).toBe(200);
  }
  const after = await vi.waitFor(async () => {
    const status = await untilBothReady();
    expect(status.workers[0]!.pid).not.toBe(workers[0]!.pid);
    return status;
  }, waiting);
  expect(after.workers[1]!.pid).toBe(workers[1]!.pid);
  for (const connection of (await connectToEach()).values()) expect(await get(connection)).toBe('value of k');
});

test('each says which version it and the others serve', async () => {
  const version = { id: shard.versionId, sequence: shard.sequence };
  await vi.waitFor(
    async () => expect((await statusOf(address)).workers.map((worker) => worker.version)).toEqual([version, version]),
    waiting,
  );
});

test('a connection that is handed to a worker just when that is killed is given to another one', async () => {
  const { workers } = await untilBothReady();
  const stopped = workers[0]!.pid!;
  process.kill(stopped, 'SIGSTOP');
  // Of any two in a row one is on its way to the worker that stands still.
  const connections = await Promise.all(Array.from({ length: 6 }, async () => await RawConnection.open(address)));
  let answered = 0;
  const answers = connections.map(async (connection) => {
    const answer = await get(connection);
    answered++;
    return answer;
  });
  await vi.waitFor(() => expect(answered).toBe(5), waiting);
  process.kill(stopped, 'SIGKILL');
  expect(await Promise.all(answers)).toEqual(connections.map(() => 'value of k'));
  await vi.waitFor(async () => expect((await untilBothReady()).workers[0]!.pid).not.toBe(stopped), waiting);
});

test('a stop lets every worker serve on for a while, and cuts nobody off who keeps asking', async () => {
  const { workers } = await statusOf(address);
  const connections = await connectToEach();
  const startedMs = performance.now();
  const stopped = router.stop();
  const servedMs = await Promise.all(
    [...connections.values()].map(async (connection) => {
      for (;;) {
        connection.write(getRequest('/get?key=k'));
        const { body, headers } = await connection.next();
        expect(body.toString()).toBe('value of k');
        if (headers.get('connection') === 'close') return performance.now() - startedMs;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }),
  );
  // However late anybody is, no connection is told its end before. Timers may be early by a moment.
  expect(Math.min(...servedMs)).toBeGreaterThan(drainMs - 10);
  await stopped;
  expect(workers.filter(({ pid }) => isRunning(pid!))).toEqual([]);
});
