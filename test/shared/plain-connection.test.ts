// A connection with plain requests on the bare socket, with others among them, and what its client may do to it. Real sockets.

import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type GetExchange, versionHeadersOf } from '../../shared/get-response.ts';
import { createHttpServer, type HttpServer, listen } from '../../shared/http-server.ts';
import { limits } from '../../shared/limits.ts';
import { outgoingOf } from '../../shared/outgoing.ts';
import type { PlainPostRoute } from '../../shared/plain-connection.ts';
import { ask, RawConnection } from '../raw-http.ts';

const version = versionHeadersOf('0123456789abcdef0123456789abcdef');
const waiting = { timeout: 20_000, interval: 5 } as const;
const hugeSize = 8 * 1024 * 1024;

/** Answered only when the test says so. */
let due: GetExchange[] = [];
let onDue: (() => void) | undefined;

function answer(target: string, exchange: GetExchange): void {
  const key = target.slice('/get?key='.length);
  if (key === 'later') {
    due.push(exchange);
    onDue?.();
  } else if (key === 'huge') exchange.sendValue(version, Buffer.alloc(hugeSize, 0x61));
  else if (key === 'absent') exchange.sendProblem('key_not_found', version);
  else setImmediate(() => exchange.sendValue(version, `the value of ${key}`));
}

/** Says how large the body was, or what the test wants to know. */
const postRoute: PlainPostRoute = {
  contentType: 'text/x',
  sizeMax: hugeSize,
  answer: (body, exchange) => {
    const text = body.toString('latin1', 0, 20);
    if (text === 'absent') exchange.sendProblem('key_not_found', version);
    else if (text === 'bad') exchange.sendProblem('body_malformed', undefined, 'it is bäd');
    else if (text === 'huge') exchange.sendBody('Content-Type: text/x\r\n', outgoingOf(Buffer.alloc(hugeSize, 0x61)));
    else setImmediate(() => exchange.sendBody('Content-Type: text/x\r\n', outgoingOf(Buffer.from(`${body.length} bytes from ${text}`))));
  },
};

const postRoutes = new Map([['/post', postRoute]]);
const server: HttpServer = createHttpServer({
  name: 'test',
  logLevel: 'silent',
  methodsOf: { '/get': ['GET', 'HEAD'], '/post': ['POST'] },
  answerGet: answer,
  postRoutes,
});
server.removeAllContentTypeParsers();
server.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
server.post('/post', (request, reply) => reply.send({ throughNode: String(request.body) }));
server.get('/health/live', (_, reply) => reply.send({ status: 'live' }));
let address: string;

beforeAll(async () => {
  address = `127.0.0.1:${await listen(server, '127.0.0.1', 0)}`;
});
afterAll(async () => await server.close());

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const get = (key: string, fields = ''): string => `GET /get?key=${key} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;
const post = (body: string, fields = ''): string =>
  `POST /post HTTP/1.1\r\nHost: t\r\n${fields}Content-Type: text/x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const untilDue = (count: number): Promise<void> =>
  new Promise((resolve) => {
    onDue = () => {
      if (due.length === count) resolve();
    };
    onDue();
  });

// The first one: what others have left behind would be collected meanwhile.
it('half a POST keeps its own bytes, not those of others', async () => {
  const count = 300;
  const head = post('x'.repeat(1_000)).slice(0, -999);
  const halves: RawConnection[] = [];
  collectGarbage();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < count; i++) {
    const connection = await RawConnection.open(address);
    connection.write(head);
    halves.push(connection);
    // Large enough that each of them would have the rest of a pool.
    await ask(address, post('y'.repeat(20_000)));
  }
  // What is held stays; of what is garbage, one collection may leave some that the next one takes.
  await vi.waitFor(() => {
    collectGarbage();
    expect((process.memoryUsage().arrayBuffers - before) / count).toBeLessThan(8_000);
  }, waiting);
  for (const connection of halves) {
    connection.write('x'.repeat(999));
    expect((await connection.next()).body.toString()).toBe(`1000 bytes from ${'x'.repeat(20)}`);
    connection.close();
  }
});

it('requests sent ahead are answered one after the other, in order, plain or not', async () => {
  const connection = await RawConnection.open(address);
  connection.write(
    get('a') +
      get('absent') +
      get('b') +
      get('c', 'TE: trailers\r\n') +
      get('d') +
      'GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n' +
      get('e'),
  );
  for (const key of ['a', 'absent', 'b', 'c', 'd']) {
    const response = await connection.next();
    if (key === 'absent') expect(response.status).toBe(404);
    else expect(response.body.toString()).toBe(`the value of ${key}`);
  }
  expect((await connection.next()).body.toString()).toBe('{"status":"live"}');
  expect((await connection.next()).body.toString()).toBe('the value of e');
  connection.close();
});

it('a request that comes in pieces is answered, and those after it', async () => {
  const connection = await RawConnection.open(address);
  const bytes = get('a');
  for (let i = 0; i < bytes.length; i++) {
    connection.write(bytes.slice(i, i + 1));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await connection.next()).body.toString()).toBe('the value of a');
  connection.write(get('b'));
  expect((await connection.next()).body.toString()).toBe('the value of b');
  connection.close();
});

it('POSTs are answered among GETs, in order, plain or not', async () => {
  const connection = await RawConnection.open(address);
  connection.write(
    post('a') + get('b') + post('absent') + post('bad') + post('') + get('c') + post('d', 'TE: x\r\n') + get('e') + post('f'),
  );
  const texts: string[] = [];
  for (let i = 0; i < 9; i++) texts.push((await connection.next()).body.toString());
  expect(texts.map((text) => (text.startsWith('{"type"') ? JSON.parse(text).detail : text))).toEqual([
    '1 bytes from a',
    'the value of b',
    'No record has this key',
    'it is bäd',
    '0 bytes from ',
    'the value of c',
    '{"throughNode":"d"}',
    'the value of e',
    '{"throughNode":"f"}',
  ]);
  connection.close();
});

it('the body of a POST may come in pieces, and what comes behind it is answered', async () => {
  const connection = await RawConnection.open(address);
  const body = 'b'.repeat(300_000);
  const bytes = `${post(body)}${get('a')}${post('c')}`;
  const headSize = bytes.indexOf('\r\n\r\n') + 4;
  for (const [from, to] of [
    [0, headSize],
    [headSize, headSize + 1],
    [headSize + 1, 200_000],
    [200_000, bytes.length],
  ] as const) {
    connection.write(bytes.slice(from, to));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect((await connection.next()).body.toString()).toBe(`300000 bytes from ${'b'.repeat(20)}`);
  expect((await connection.next()).body.toString()).toBe('the value of a');
  expect((await connection.next()).body.toString()).toBe('1 bytes from c');
  connection.close();
});

it('the POSTs of a client that does not read wait', async () => {
  const connection = await RawConnection.open(address);
  for (let i = 0; i < 3; i++) connection.write(post('huge'));
  for (let i = 0; i < 3; i++) expect((await connection.next()).body.length).toBe(hugeSize);
  connection.close();
});

it('a client that sends no more still gets the answers that it is owed', async () => {
  due = [];
  const socket = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]), allowHalfOpen: true });
  socket.end(get('later') + get('b'));
  await untilDue(1);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  due[0]!.sendValue(version, 'the late value');
  await new Promise((resolve) => socket.once('end', resolve));
  const text = Buffer.concat(chunks).toString();
  expect(text.indexOf('the late value')).toBeGreaterThan(0);
  expect(text.indexOf('the value of b')).toBeGreaterThan(text.indexOf('the late value'));
});

it('an answer to a client that has gone goes nowhere', async () => {
  due = [];
  const socket = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]) });
  socket.write(get('later'));
  await untilDue(1);
  socket.resetAndDestroy();
  while ((await new Promise<number>((resolve) => server.server.getConnections((_, count) => resolve(count)))) > 0) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  due[0]!.sendValue(version, 'nobody reads this');
  due[0]!.sendProblem('overloaded');
  expect((await ask(address, get('a'))).status).toBe(200);
});

it('a client that asks ahead and does not read has one answer waiting, not all', async () => {
  const count = 40;
  const connection = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]) });
  connection.pause();
  const before = process.memoryUsage().arrayBuffers;
  connection.write(get('huge').repeat(count));
  // The others are answered meanwhile: by then all of its requests would have been, too.
  for (let i = 0; i < 50; i++) expect((await ask(address, get('a'))).status).toBe(200);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * hugeSize);
  let size = 0;
  connection.on('data', (chunk: Buffer) => {
    size += chunk.length;
  });
  connection.resume();
  while (size < count * hugeSize) await new Promise((resolve) => connection.once('data', resolve));
  connection.destroy();
});

async function startClosable(): Promise<{ closing: HttpServer; at: string }> {
  const closing = createHttpServer({ name: 'test', logLevel: 'silent', methodsOf: { '/post': ['POST'] }, answerGet: answer, postRoutes });
  return { closing, at: `127.0.0.1:${await listen(closing, '127.0.0.1', 0)}` };
}

it('a server that closes answers what is due, says that it is the last, and ends idle connections', async () => {
  due = [];
  const { closing, at } = await startClosable();
  const idle = await RawConnection.open(at);
  idle.write(get('a'));
  await idle.next();
  const fields = ['', '', 'TE: trailers\r\n'] as const;
  const busy: RawConnection[] = [];
  for (const [i, field] of fields.entries()) {
    const connection = await RawConnection.open(at);
    // The second one has asked for more.
    connection.write(get('later', field) + (i === 1 ? get('b') : ''));
    await untilDue(i + 1);
    busy.push(connection);
  }
  const closed = closing.close();
  expect(await idle.isAtEnd()).toBe(true);
  for (const exchange of due) exchange.sendValue(version, 'the late value');
  for (const [i, connection] of busy.entries()) {
    let last = await connection.next();
    expect(last.body.toString()).toBe('the late value');
    if (i === 1) {
      last = await connection.next();
      expect(last.body.toString()).toBe('the value of b');
    }
    expect(last.headers.get('connection')).toBe('close');
    expect(await connection.isAtEnd()).toBe(true);
  }
  await closed;
});

it('a server that closes cuts no answer short that a client takes slowly', async () => {
  const { closing, at } = await startClosable();
  const idle = await RawConnection.open(at);
  idle.write(get('a'));
  await idle.next();
  const slow: { socket: Socket; size: number }[] = [];
  for (const request of [get('huge'), get('huge', 'TE: trailers\r\n'), post('huge')]) {
    const client = { socket: connect({ host: '127.0.0.1', port: Number(at.split(':')[1]) }), size: 0 };
    client.socket.write(request);
    slow.push(client);
    // It has an answer then, and takes no more of it.
    await new Promise<void>((resolve) => {
      client.socket.on('data', (chunk: Buffer) => {
        if (client.size === 0) client.socket.pause();
        client.size += chunk.length;
        resolve();
      });
    });
  }
  const closed = closing.close();
  // By then it has looked for those that are idle.
  expect(await idle.isAtEnd()).toBe(true);
  for (const client of slow) {
    client.socket.resume();
    await new Promise((resolve) => client.socket.once('close', resolve));
    expect(client.size).toBeGreaterThan(hugeSize);
  }
  await closed;
});

it('what does not come is not waited for: a silent connection ends, the POST with half a body is refused', {
  timeout: limits.requestTimeoutMs + 10_000,
}, async () => {
  const startedMs = performance.now();
  const silent = await RawConnection.open(address);
  const half = await RawConnection.open(address);
  half.write(post('abc').slice(0, -1));
  const [silentMs, refusal] = await Promise.all([silent.isAtEnd().then(() => performance.now() - startedMs), half.next()]);
  const halfMs = performance.now() - startedMs;
  for (const [tookMs, maxMs] of [
    [silentMs, limits.headersTimeoutMs],
    [halfMs, limits.requestTimeoutMs],
  ] as const) {
    expect(tookMs).toBeGreaterThan(maxMs - 1);
    expect(tookMs).toBeLessThan(maxMs + 5_000);
  }
  expect([refusal.status, refusal.headers.get('connection')]).toEqual([408, 'close']);
  expect(await half.isAtEnd()).toBe(true);
});

it('the same bytes get the same answers, at once or through Node', async () => {
  // The first byte alone is no plain GET: Node reads the rest.
  const answersTo = async (bytes: string, through: 'bare socket' | 'node'): Promise<string> => {
    const connection = await RawConnection.open(address);
    if (through === 'node') {
      connection.write(bytes.slice(0, 1));
      await ask(address, get('a'));
      connection.write(bytes.slice(1));
    } else connection.write(bytes);
    connection.write('GET /end HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n');
    const texts: string[] = [];
    while (!(await connection.isAtEnd())) {
      const { status, headers, body } = await connection.next();
      texts.push(`${status} ${headers.get('content-type')} ${headers.get('connection')} ${body}`);
    }
    connection.close();
    return texts.join('\n');
  };
  const part = fc.constantFrom(
    'Host: t\r\n',
    'X: y\r\n',
    'Accept: */*\r\n',
    'X: \xe9\r\n',
    'Host: u\r\n',
    ' folded\r\n',
    'X : y\r\n',
    'X: a\0\r\n',
    'nothing\r\n',
    'Connection: keep-alive\r\n',
    'Content-Length: 0\r\n',
    '\n',
  );
  const target = fc.constantFrom(
    '/get?key=a',
    '/get?key=absent',
    '/get?key=%61',
    '/get?key=a b',
    '/get?',
    '/getx?key=a',
    '/get?key=a#b',
    'http://t/get?key=a',
    '/get?key=\xe9',
  );
  const request = fc
    .tuple(target, fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2'), fc.array(part, { maxLength: 4 }))
    .map(([at, protocol, parts]) => `GET ${at} ${protocol}\r\n${parts.join('')}\r\n`);
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (requests) => {
      const bytes = requests.join('');
      expect(await answersTo(bytes, 'bare socket')).toBe(await answersTo(bytes, 'node'));
    }),
    { numRuns: 300 },
  );
});
