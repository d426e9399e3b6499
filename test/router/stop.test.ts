import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { Router } from '../../router/router.ts';
import { limits } from '../../shared/limits.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import { statusOf, waiting } from '../cluster/cluster-harness.ts';
import { OwnLoop } from '../own-loop.ts';
import { ask, getRequest, RawConnection } from '../raw-http.ts';
import { FakeShard, honestReply } from './fake-shard.ts';

let shard: FakeShard;
let router: Router;
let address: string;

beforeAll(async () => {
  shard = await FakeShard.start();
  shard.answer = (key) => Buffer.from(`value of ${key}`);
});
afterAll(async () => await shard.close());
beforeEach(async () => {
  router = new Router({
    host: '127.0.0.1',
    port: 0,
    members: parseMemberSource(shard.address),
    deadlineMs: 1_000,
    cacheSize: 0,
    logLevel: 'silent',
  });
  address = `127.0.0.1:${await router.start()}`;
  await vi.waitFor(async () => expect((await statusOf(address)).version).not.toBeNull(), waiting);
});
afterEach(async () => {
  await router.close();
  shard.reply = honestReply;
});

/** How long the router takes to close, which is in this process, without what the process is late by. */
async function closeMs(): Promise<number> {
  const own = new OwnLoop();
  const startedMs = performance.now();
  await router.close();
  const tookMs = own.tookSince(startedMs);
  own.close();
  return tookMs;
}

test('a router stops soon under load that never pauses, and cuts no answer short', async () => {
  let answers = 0;
  const clients = Array.from({ length: 16 }, async () => {
    const connection = await RawConnection.open(address);
    for (;;) {
      connection.write(getRequest('/get?key=k'));
      // Closed between two requests; within an answer, `next` would say so.
      if (await connection.isAtEnd()) return;
      expect((await connection.next()).body.toString()).toBe('value of k');
      answers++;
    }
  });
  await vi.waitFor(() => expect(answers).toBeGreaterThan(200), waiting);
  expect(await closeMs()).toBeLessThan(1_500);
  await Promise.all(clients);
});

test('a router that stops answers what it has taken, and says that the connection ends', async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  shard.reply = (good, response, request) => void released.then(() => honestReply(good, response, request));
  const connection = await RawConnection.open(address);
  connection.write(getRequest('/get?key=k'));
  await shard.received(shard.batches.length + 1);
  const closing = closeMs();
  release();
  expect((await connection.next()).body.toString()).toBe('value of k');
  expect(await connection.ended()).toEqual(Buffer.alloc(0));
  expect(await closing).toBeLessThan(1_500);
});

test('a router does not wait for ever for half a request', async () => {
  const connection = await RawConnection.open(address);
  connection.write('GET /get?key=k HTTP/1.1\r\nHos');
  await statusOf(address);
  expect(await closeMs()).toBeLessThan(limits.drainMs + 1_500);
  await connection.ended();
});

test('a router that drains says first that it is not ready, serves on, and then ends each connection with an answer', async () => {
  const draining = new Router({
    host: '127.0.0.1',
    port: 0,
    members: parseMemberSource(shard.address),
    deadlineMs: 1_000,
    cacheSize: 0,
    drainMs: 2_000,
    logLevel: 'silent',
  });
  const own = `127.0.0.1:${await draining.start()}`;
  await vi.waitFor(async () => expect((await statusOf(own)).version).not.toBeNull(), waiting);
  // One client of plain GETs, one whose requests Node's own parser reads.
  const clients = [getRequest('/get?key=k'), getRequest('/get?key=k', ['If-None-Match: "x"'])].map(async (request) => {
    const connection = await RawConnection.open(own);
    for (;;) {
      connection.write(request);
      const { body, headers } = await connection.next();
      expect(body.toString()).toBe('value of k');
      if (headers.get('connection') === 'close') return await connection.ended();
      await pause(20);
    }
  });
  const closing = draining.close();
  expect((await ask(own, getRequest('/health/ready'))).status).toBe(503);
  expect((await statusOf(own)).state).toBe('leaving');
  expect((await ask(own, getRequest('/get?key=k'))).status).toBe(200);
  expect(await Promise.all(clients)).toEqual([Buffer.alloc(0), Buffer.alloc(0)]);
  await closing;
});
