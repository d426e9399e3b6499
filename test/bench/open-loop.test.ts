// The generator of load at a fixed rate: it ends, whatever becomes of its connections.

import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runOpenLoop } from '../../bench/open-loop.ts';
import { nextPorts } from '../cluster/test-ports.ts';

let server: Server;
let address: string;
let onRequest: (socket: Socket) => void;

beforeEach(async () => {
  server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => onRequest(socket));
  });
  // When nobody listens on it any more, nobody else does.
  const port = nextPorts(1);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  address = `127.0.0.1:${port}`;
});
afterEach(() => void server.close());

const answer = (socket: Socket, fields = ''): boolean => socket.write(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 2\r\n\r\nok`);
const load = { perSecond: 200, seconds: 0.5, connections: 2, nextKey: () => 'k' };

test('a connection that ends is replaced, and what it owed is broken', async () => {
  let asked = 0;
  onRequest = (socket) => (++asked % 10 === 0 ? socket.destroy() : answer(socket));
  const { requests, broken, statuses } = await runOpenLoop({ ...load, address });
  expect(requests).toBe(100);
  expect(broken).toBe(10);
  expect(statuses[200]).toBe(90);
});

test('it ends when all of its connections have, and no other can be made', async () => {
  onRequest = (socket) => {
    server.close();
    socket.destroy();
  };
  const { requests, broken } = await runOpenLoop({ ...load, address });
  expect([requests, broken]).toEqual([100, 100]);
});

test('a connection that was said to be the last one is not asked again', async () => {
  onRequest = (socket) => {
    answer(socket, 'Connection: close\r\n');
    socket.end();
  };
  const { broken, statuses } = await runOpenLoop({ ...load, address });
  expect([broken, statuses[200]]).toEqual([0, 100]);
});

test('all connections are made before the load when that is wanted', async () => {
  let count = 0;
  server.on('connection', () => count++);
  onRequest = answer;
  const { statuses } = await runOpenLoop({ ...load, connections: 600, opensFirst: true, address });
  expect([count, statuses[200]]).toEqual([600, 100]);
});
