// The sockets to one shard, against a server that says what the test tells it to, byte by byte.

import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BatchPool, type SentBatch } from '../../shared/batch-pool.ts';
import { batchContentType } from '../../shared/batch-wire.ts';
import { openConnector } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { outgoingOf } from '../../shared/outgoing.ts';
import { nextPorts } from '../cluster/test-ports.ts';

let server: Server;
let sockets: Socket[];
let pool: BatchPool;
let address: string;
/** What the server does with each request that has come as a whole. */
let answer: (socket: Socket, body: string) => void;
const requests: string[] = [];

const waiting = { timeout: 20_000, interval: 5 } as const;
const typeField = `Content-Type: ${batchContentType}\r\n`;
const reply = (body: string, fields = typeField): string => `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;

beforeEach(async () => {
  sockets = [];
  requests.length = 0;
  answer = (socket, body) => socket.write(reply(`to ${body}`));
  server = createServer((socket) => {
    sockets.push(socket);
    let text = '';
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const at = text.indexOf('\r\n\r\n') + 4;
      const size = Number(/\r\nContent-Length: (\d+)\r\n/.exec(text)?.[1] ?? 0);
      if (at < 4 || text.length < at + size) return;
      requests.push(text);
      const body = text.slice(at);
      text = '';
      answer(socket, body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `127.0.0.1:${(server.address() as { port: number }).port}`;
  pool = new BatchPool(address);
});
afterEach(async () => {
  pool.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

type Sent = { readonly batch: SentBatch; readonly outcome: Promise<string>; readonly writes: { count: number } };

function send(body: string): Sent {
  const { promise, resolve } = Promise.withResolvers<string>();
  const writes = { count: 0 };
  const batch = pool.send(outgoingOf(Buffer.from(body, 'latin1')), {
    onWrite: () => {
      writes.count++;
    },
    onReply: (bytesRead) => resolve(bytesRead.toString('latin1')),
    onFailure: resolve,
  });
  return { batch, outcome: promise, writes };
}

const ask = (body: string): Promise<string> => send(body).outcome;

describe('a reply', () => {
  test('is its body, whatever its size, and the socket is used again', async () => {
    for (const body of ['a', '', 'b'.repeat(1_000_000)]) expect(await ask(body)).toBe(`to ${body}`);
    expect(sockets.length).toBe(1);
    expect(requests[0]).toBe(
      `POST /batch HTTP/1.1\r\nHost: ${address}\r\nConnection: keep-alive\r\n${typeField}Content-Length: 1\r\n\r\na`,
    );
  });

  test('may come in pieces', async () => {
    answer = async (socket, body) => {
      for (const byte of reply(`to ${body}`, `Date: now\r\n${typeField}`)) {
        socket.write(byte);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    expect([await ask('a'), await ask('bb')]).toEqual(['to a', 'to bb']);
  });

  test('may have other fields each time', async () => {
    const fields = ['X: y\r\n', '', 'X: z\r\n', `Connection: keep-alive\r\n`];
    answer = (socket, body) => socket.write(reply(body, `${fields[requests.length - 1]}${typeField}`));
    for (const body of ['a', 'b', 'c', 'd']) expect(await ask(body)).toBe(body);
    answer = (socket) => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n${typeField}X: y\r\n\r\ne`);
    expect([await ask(''), await ask('')]).toEqual(['e', 'e']);
  });

  test('that says that the connection closes is the last one on it', async () => {
    answer = (socket, body) => socket.write(reply(body, `Connection: close\r\n${typeField}`));
    expect([await ask('a'), await ask('b')]).toEqual(['a', 'b']);
    expect(sockets.length).toBe(2);
  });
});

describe('what is no answer', () => {
  test.each([
    ['another status', 'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1\r\n\r\na', 1],
    ['another type', 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\na', 1],
    ['no length', `HTTP/1.1 200 OK\r\n${typeField}\r\n`, 2],
    ['no number for a length', `HTTP/1.1 200 OK\r\n${typeField}Content-Length: 1x\r\n\r\na`, 2],
    ['two lengths', `HTTP/1.1 200 OK\r\n${typeField}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, 2],
    ['chunks', `HTTP/1.1 200 OK\r\n${typeField}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 2],
    ['chunks with a length', `HTTP/1.1 200 OK\r\n${typeField}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na`, 2],
    ['another protocol', `HTTP/1.0 200 OK\r\n${typeField}Content-Length: 1\r\n\r\na`, 2],
    ['no HTTP', 'hello\r\n\r\n', 2],
    ['a field without a name', `HTTP/1.1 200 OK\r\n: x\r\n${typeField}Content-Length: 1\r\n\r\na`, 2],
    ['an interim response', `HTTP/1.1 100 Continue\r\n\r\n${reply('a')}`, 2],
    ['more than one reply', reply('a') + reply('a'), 2],
    ['a head without an end', 'H'.repeat(limits.replyHeadSizeMax + 1), 2],
    ['a length above all bounds', `HTTP/1.1 200 OK\r\n${typeField}Content-Length: 999999999\r\n\r\n`, 2],
  ])('%s fails the batch, and no other', async (_name, text, socketCount) => {
    answer = (socket) => socket.write(text);
    expect(await ask('a')).toBe('wrong');
    answer = (socket, body) => socket.write(reply(`to ${body}`));
    expect(await ask('b')).toBe('to b');
    expect(sockets.length).toBe(socketCount);
  });

  test('bytes that nobody asked for end the socket', async () => {
    expect(await ask('a')).toBe('to a');
    sockets[0]!.write(reply('b'));
    await new Promise((resolve) => sockets[0]!.once('close', resolve));
    expect(await ask('c')).toBe('to c');
  });
});

describe('a connection that ends', () => {
  test('before any byte of the answer is `broken` when it is new, `reset` when it had served', async () => {
    const servedBefore = await ask('a');
    answer = (socket) => socket.destroy();
    expect([servedBefore, await ask('b'), await ask('c')]).toEqual(['to a', 'reset', 'broken']);
    answer = (socket) => socket.resetAndDestroy();
    expect(await ask('d')).toBe('broken');
  });

  test('within the answer is `broken`', async () => {
    expect(await ask('a')).toBe('to a');
    for (const part of ['HTTP', reply('abc').slice(0, -1)]) {
      answer = (socket) => socket.end(part);
      expect(await ask('b')).toBe('broken');
    }
  });

  test('while it is idle costs nothing', async () => {
    expect(await ask('a')).toBe('to a');
    const closed = new Promise((resolve) => sockets[0]!.once('close', resolve));
    sockets[0]!.end();
    await closed;
    expect(await ask('b')).toBe('to b');
  });
});

test('a batch is written once the connection is there, and `refused` when nobody listens', async () => {
  const { batch, outcome, writes } = send('a');
  expect([batch.isWritten, writes.count]).toEqual([false, 0]);
  await vi.waitFor(() => expect([batch.isWritten, writes.count]).toEqual([true, 1]), waiting);
  expect(await outcome).toBe('to a');
  const second = new BatchPool(`127.0.0.1:${nextPorts(1)}`);
  const refused = await new Promise((resolve) => second.send(outgoingOf(Buffer.alloc(1)), { onReply: resolve, onFailure: resolve }));
  expect(refused).toBe('refused');
  second.close();
});

test('several are under way at once, each on its own socket', async () => {
  const due: (() => void)[] = [];
  answer = (socket, body) => due.push(() => socket.write(reply(`to ${body}`)));
  const outcomes = ['a', 'b', 'c'].map(ask);
  await vi.waitFor(() => expect(due.length).toBe(3), waiting);
  for (const send of due.reverse()) send();
  expect(await Promise.all(outcomes)).toEqual(['to a', 'to b', 'to c']);
  expect(sockets.length).toBe(3);
});

test('a silent socket fails its batch as `late`, an idle one waits on', async () => {
  const opened: Socket[] = [];
  const connector = openConnector(address);
  pool = new BatchPool(address, (callback) =>
    connector((error, socket) => {
      if (socket) opened.push(socket);
      callback(error, socket);
    }),
  );
  expect(await ask('a')).toBe('to a');
  expect(opened[0]!.timeout).toBe(limits.socketSilentMs);
  opened[0]!.emit('timeout');
  expect(await ask('b')).toBe('to b');
  answer = () => opened[0]!.emit('timeout');
  expect(await ask('c')).toBe('late');
  expect([opened.length, opened[0]!.destroyed]).toEqual([1, true]);
});

test('closing fails what is under way and what comes after', async () => {
  answer = () => {};
  const { batch, outcome } = send('a');
  await vi.waitFor(() => expect(batch.isWritten).toBe(true), waiting);
  pool.close();
  expect(await outcome).toBe('broken');
  expect(await ask('b')).toBe('broken');
});
