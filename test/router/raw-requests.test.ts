import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { TestCluster } from '../cluster/cluster-harness.ts';
import { ask, askPipelined, getRequest, percentEncode, postRequest, RawConnection, type RawResponse } from '../raw-http.ts';
import { contractRecords, problemCodeOf, startContractCluster } from './contract-cluster.ts';

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startContractCluster();
});
afterAll(async () => await cluster.close());

const host = 'Host: t\r\n';
/** Hidden in what should be a body: nobody may ever get its answer. */
const hidden = getRequest('/get?key=k');
const hiddenValue = 'the value of k';
/** What an honest client sends behind it. */
const honest = getRequest('/get?key=a');
const honestValue = 'the value of a';

const get = (fields: string, body = ''): string => `GET /get?key=foo HTTP/1.1\r\n${host}${fields}\r\n${body}`;

/** Sends the bytes, reads all answers until the connection ends, and fails when what comes is not a row of responses. */
async function askUntilEnd(bytes: string): Promise<RawResponse[]> {
  const connection = await RawConnection.open(cluster.address);
  const responses: RawResponse[] = [];
  try {
    connection.write(bytes);
    while (!(await connection.isAtEnd())) responses.push(await connection.next());
    return responses;
  } finally {
    connection.close();
  }
}

describe.concurrent('a request that is not HTTP is refused with 400, and nothing behind it is answered', () => {
  const inBody = (fields: string): string => get(fields, hidden + honest);
  const chunked = 'Transfer-Encoding: chunked\r\n';
  const size = hidden.length;

  test.each<[string, string]>([
    ['Content-Length and Transfer-Encoding', get(`Content-Length: 4\r\n${chunked}`, `0\r\n\r\n${hidden}`)],
    ['Transfer-Encoding and Content-Length', get(`${chunked}Content-Length: ${size + 5}\r\n`, `0\r\n\r\n${hidden}`)],
    ['two lengths that differ', inBody(`Content-Length: 0\r\nContent-Length: ${size}\r\n`)],
    ['two lengths that agree', inBody(`Content-Length: ${size}\r\nContent-Length: ${size}\r\n`)],
    ['a list of lengths', inBody(`Content-Length: ${size}, ${size}\r\n`)],
    ['a length with a plus', inBody(`Content-Length: +${size}\r\n`)],
    ['a negative length', inBody('Content-Length: -1\r\n')],
    ['a length in hex', inBody('Content-Length: 0x10\r\n')],
    ['a length of 23 digits', inBody('Content-Length: 99999999999999999999999\r\n')],
    ['an empty length', inBody('Content-Length: \r\n')],
    ['a length with a space in it', inBody('Content-Length: 3 9\r\n')],
    ['a space before the colon of Content-Length', inBody(`Content-Length : ${size}\r\n`)],
    ['a space before the colon of Transfer-Encoding', inBody('Transfer-Encoding : chunked\r\n')],
    ['a NUL in the name Content-Length', inBody(`Content-Length\0: ${size}\r\n`)],
    ['a folded Transfer-Encoding', inBody('Transfer-Encoding:\r\n chunked\r\n')],
    ['a folded field that hides a length', inBody(`X: y\r\n Content-Length: ${size}\r\n`)],
    ['a coding behind chunked', get('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${hidden}`)],
    ['chunked twice', get(`${chunked}${chunked}`, `0\r\n\r\n${hidden}`)],
    ['chunked behind a vertical tab', get('Transfer-Encoding: \x0bchunked\r\n', `0\r\n\r\n${hidden}`)],
    ['bare line feeds', `GET /get?key=foo HTTP/1.1\nHost: t\n\n${hidden}`],
    ['one bare line feed', `GET /get?key=foo HTTP/1.1\r\nHost: t\nContent-Length: ${size}\r\n\r\n${hidden}`],
    ['a bare line feed as the empty line', `GET /get?key=foo HTTP/1.1\r\n${host}\n${hidden}`],
    ['bare carriage returns', `GET /get?key=foo HTTP/1.1\rHost: t\r\r${hidden}`],
    ['a bare carriage return in a field', inBody(`X: a\rContent-Length: ${size}\r\n`)],
    ['a NUL in a field', inBody('X: a\0b\r\n')],
    ['a field without a name', inBody(': x\r\n')],
    ['a field without a colon', inBody('abc\r\n')],
    ['two Hosts', get('Host: u\r\n', hidden)],
    ['no Host', `GET /get?key=foo HTTP/1.1\r\n\r\n${hidden}`],
    ['HTTP/1.2', `GET /get?key=foo HTTP/1.2\r\n${host}\r\n${hidden}`],
    ['no version', `GET /get?key=foo\r\n${hidden}`],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a method in lower case', `get /get?key=foo HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['an unknown method', `FETCH /get?key=foo HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['a greeting of TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['a raw byte that is not ASCII', `GET /get?key=\xe9 HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['raw UTF-8', `GET /get?key=\xc3\xa9 HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['a raw byte FF', `GET /get?key=\xff HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['a raw tab in the key', `GET /get?key=a\tb HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['a raw space in the key', `GET /get?key=a b HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['a raw NUL in the key', `GET /get?key=foo\0 HTTP/1.1\r\n${host}\r\n${hidden}`],
    ['a raw DEL in the key', `GET /get?key=foo\x7f HTTP/1.1\r\n${host}\r\n${hidden}`],
  ])('%s', async (_name, bytes) => {
    const responses = await askUntilEnd(bytes);
    expect(responses.map((response) => [response.status, problemCodeOf(response)])).toEqual([[400, 'request_malformed']]);
    expect(responses[0]!.headers.get('connection')).toBe('close');
  });

  // The head of these is HTTP, and may be answered before the rest is seen.
  test.each<[string, string]>([
    ['the coding xchunked', inBody('Transfer-Encoding: xchunked\r\n')],
    ['the coding identity', inBody('Transfer-Encoding: identity\r\n')],
    ['a chunk size that is no number', get(chunked, `zz\r\n\r\n${hidden}`)],
    ['a chunk size with 0x', get(chunked, `0x3\r\nabc\r\n0\r\n\r\n${hidden}`)],
    ['a negative chunk size', get(chunked, `-1\r\nabc\r\n0\r\n\r\n${hidden}`)],
    ['a chunk size above 64 bits', get(chunked, `fffffffffffffffff\r\nabc\r\n0\r\n\r\n${hidden}`)],
    ['chunks with bare line feeds', get(chunked, `3\nabc\n0\n\n${hidden}`)],
    ['a chunk extension with a bare line feed', get(chunked, `2;\nxx\r\n4c\r\n0\r\n\r\n${hidden}0\r\n\r\n`)],
    ['a chunk longer than its size', get(chunked, `3\r\nabcX0\r\n\r\n${hidden}`)],
    ['a length in a trailer', get(chunked, `0\r\nContent-Length: ${size}\r\n\r\n${hidden}`)],
  ])('%s', async (_name, bytes) => {
    const responses = await askUntilEnd(bytes);
    expect(problemCodeOf(responses.at(-1)!)).toBe('request_malformed');
    expect(['', 'bar']).toContain(
      responses
        .slice(0, -1)
        .map(({ body }) => body.toString())
        .join(),
    );
  });

  test.each([
    ['just above 64 KiB', 64 * 1024],
    ['of 1 MiB', 1024 * 1024],
  ])('but a header %s is 431', async (_name, size) => {
    for (const bytes of [
      get(`X: ${'x'.repeat(size)}\r\n`),
      `GET /get?key=${'x'.repeat(size)} HTTP/1.1\r\n${host}\r\n`,
      get('A: b\r\n'.repeat(size / 5)),
    ]) {
      const responses = await askUntilEnd(bytes + hidden);
      expect(responses.map((response) => [response.status, problemCodeOf(response)])).toEqual([[431, 'header_too_large']]);
    }
  });

  test('and a header just below 64 KiB is fine', async () => {
    const response = await ask(cluster.address, get(`X: ${'x'.repeat(65_000)}\r\n`));
    expect([response.status, response.body.toString()]).toEqual([200, 'bar']);
  });
});

describe.concurrent('the body of a request is never taken for the next request', () => {
  const length = `Content-Length: ${hidden.length}\r\n`;
  const json = 'Content-Type: application/json\r\n';
  const chunks = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
  const body = (method: string, target: string, fields: string, bytes = hidden): string =>
    `${method} ${target} HTTP/1.1\r\n${host}${fields}\r\n${bytes}`;

  test.each<[string, string, number]>([
    ['of a GET', body('GET', '/get?key=foo', length), 200],
    ['of a GET in chunks', body('GET', '/get?key=foo', 'Transfer-Encoding: chunked\r\n', chunks), 200],
    ['of a GET in chunks, in capitals', body('GET', '/get?key=foo', 'TRANSFER-ENCODING: CHUNKED\r\n', chunks), 200],
    ['of a GET in chunks, compressed', body('GET', '/get?key=foo', 'Transfer-Encoding: gzip, chunked\r\n', chunks), 200],
    [
      'of a GET in chunks with an extension',
      body('GET', '/get?key=foo', 'Transfer-Encoding: chunked\r\n', chunks.replace('\r', ';a=b\r')),
      200,
    ],
    ['of a GET whose key is malformed', body('GET', '/get?key=%', length), 400],
    ['of a GET of the status', body('GET', '/status', length), 200],
    ['of a GET of many', body('GET', '/mget?key=foo', length + json), 200],
    ['of a POST to /get', body('POST', '/get?key=foo', length), 405],
    ['of a POST to /get in chunks', body('POST', '/get?key=foo', 'Transfer-Encoding: chunked\r\n', chunks), 405],
    ['of a POST to nowhere', body('POST', '/nowhere', length), 404],
    ['of a POST to nowhere, as JSON', body('POST', '/nowhere', length + json), 404],
    ['of a DELETE', body('DELETE', '/mget', length), 405],
    ['of another type', body('POST', '/mget', `${length}Content-Type: text/plain\r\n`), 415],
    ['of no type', body('POST', '/mget', length), 415],
    ['that is not JSON', body('POST', '/mget', length + json), 400],
    ['that is empty', body('POST', '/mget', json, ''), 400],
  ])('%s', async (_name, bytes, status) => {
    const connection = await RawConnection.open(cluster.address);
    try {
      connection.write(bytes + honest);
      expect((await connection.next()).status).toBe(status);
      expect((await connection.next()).body.toString()).toBe(honestValue);
      connection.write(honest);
      expect((await connection.next()).body.toString()).toBe(honestValue);
    } finally {
      connection.close();
    }
  });

  test('of a HEAD', async () => {
    const connection = await RawConnection.open(cluster.address);
    connection.write(body('HEAD', '/get?key=foo', length) + honest);
    expect((await connection.next({ toHead: true })).headers.get('content-length')).toBe('3');
    expect((await connection.next()).body.toString()).toBe(honestValue);
    connection.close();
  });
});

describe.concurrent('the end of a connection', () => {
  test.each<[string, string]>([
    ['Connection: close', get('Connection: close\r\n')],
    ['Connection: close, with more behind it', get('Connection: close\r\n', hidden)],
    ['Connection: close, with rubbish behind it', get('Connection: close\r\n', '\r\n\r\n\x16\x03\x01')],
    ['HTTP/1.0', 'GET /get?key=foo HTTP/1.0\r\n\r\n'],
    ['HTTP/1.0, with more behind it', `GET /get?key=foo HTTP/1.0\r\n\r\n${hidden}`],
    ['HTTP/1.0 in chunks, with more behind it', `GET /get?key=foo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`],
    ['an upgrade to another protocol, with more behind it', get('Connection: Upgrade\r\nUpgrade: websocket\r\n', hidden)],
    ['an upgrade to HTTP/2', get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n')],
  ])('comes right after the answer to a request with %s', async (_name, bytes) => {
    const responses = await askUntilEnd(bytes);
    expect(responses.map(({ status, body }) => [status, body.toString()])).toEqual([[200, 'bar']]);
    expect(responses[0]!.headers.get('connection')).toBe('close');
  });

  test('comes without an answer to CONNECT', async () => {
    expect(await askUntilEnd(`CONNECT t:80 HTTP/1.1\r\n${host}\r\n${hidden}`)).toEqual([]);
  });

  test('comes not after HTTP/1.0 with keep-alive', async () => {
    const connection = await RawConnection.open(cluster.address);
    connection.write(`GET /get?key=foo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n${honest}`);
    expect((await connection.next()).body.toString()).toBe('bar');
    expect((await connection.next()).body.toString()).toBe(honestValue);
    connection.close();
  });

  test('a request that the client cuts off harms nobody', async () => {
    for (const bytes of [
      'GET',
      get('').slice(0, -2),
      get(`Content-Length: 9\r\n`, 'abc'),
      `POST /mget HTTP/1.1\r\n${host}Content-Length: 99\r\n\r\n{"keys`,
    ]) {
      const connection = await RawConnection.open(cluster.address);
      connection.write(bytes);
      connection.close();
    }
    const connection = await RawConnection.open(cluster.address);
    connection.write(getRequest('/get?key=big0').repeat(3));
    connection.close();
    expect((await ask(cluster.address, honest)).body.toString()).toBe(honestValue);
  });
});

describe.concurrent('an expectation', () => {
  test('of 100-continue is met before the answer', async () => {
    const connection = await RawConnection.open(cluster.address);
    connection.write(`POST /mget HTTP/1.1\r\n${host}Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n`);
    expect((await connection.next()).status).toBe(100);
    connection.write('{"keys":["foo"]}');
    expect(JSON.parse((await connection.next()).body.toString()).results).toEqual([{ key: 'foo', status: 'found', value: 'bar' }]);
    connection.close();
  });

  test('of 100-continue is met for a GET too', async () => {
    const connection = await RawConnection.open(cluster.address);
    connection.write(get('Expect: 100-continue\r\n'));
    expect([(await connection.next()).status, (await connection.next()).body.toString()]).toEqual([100, 'bar']);
    connection.close();
  });

  test('that nobody knows is ignored', async () => {
    const response = await ask(cluster.address, get('Expect: magic\r\n'));
    expect([response.status, response.body.toString()]).toEqual([200, 'bar']);
  });
});

describe.concurrent('a half-sent request', () => {
  const interval = limits.connectionsCheckingIntervalMs;

  test.each<[string, string, number]>([
    ['request line', 'GET /get?ke', limits.headersTimeoutMs],
    ['header', get('X: y\r\n').slice(0, -2), limits.headersTimeoutMs],
    ['header behind a whole request', honest + get('').slice(0, -2), limits.headersTimeoutMs],
    [
      'body',
      `POST /mget HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"keys":[`,
      limits.requestTimeoutMs,
    ],
  ])('%s is answered with 408 in time, and the connection ends', async (_name, bytes, timeoutMs) => {
    const startedMs = performance.now();
    const responses = await askUntilEnd(bytes);
    const tookMs = performance.now() - startedMs;
    const last = responses.at(-1)!;
    expect([last.status, problemCodeOf(last)]).toEqual([408, 'request_timeout']);
    expect(responses.length).toBe(bytes.startsWith(honest) ? 2 : 1);
    expect(tookMs).toBeGreaterThan(timeoutMs - 100);
    expect(tookMs).toBeLessThan(timeoutMs + interval + 1_500);
  });

  test('header that comes byte by byte has no longer', async () => {
    const connection = await RawConnection.open(cluster.address);
    const startedMs = performance.now();
    connection.write('GET /get?key=foo HTTP/1.1\r\nX: ');
    const dripTimer = setInterval(() => connection.write('x'), 100);
    const response = await connection.next();
    await connection.ended();
    clearInterval(dripTimer);
    connection.close();
    expect(problemCodeOf(response)).toBe('request_timeout');
    expect(performance.now() - startedMs).toBeLessThan(limits.headersTimeoutMs + interval + limits.lingerMs + 1_500);
  });
});

describe('pipelined requests', () => {
  const expectedOf: readonly {
    readonly text: string;
    readonly toHead: boolean;
    readonly status: number;
    readonly body: string | undefined;
  }[] = [
    ...[...contractRecords]
      .filter(([, value]) => value.length < 1_000)
      .flatMap(([key, value]) => [
        { text: getRequest(`/get?key=${percentEncode(key)}`), toHead: false, status: 200, body: value.toString('latin1') },
        { text: getRequest(`/get?key=${percentEncode(key)}`, [], 'HEAD'), toHead: true, status: 200, body: '' },
      ]),
    { text: getRequest('/get?key=nobody'), toHead: false, status: 404, body: undefined },
    { text: getRequest('/get?key=nobody', [], 'HEAD'), toHead: true, status: 404, body: '' },
    { text: getRequest('/get?key=%'), toHead: false, status: 400, body: undefined },
    { text: getRequest('/nowhere'), toHead: false, status: 404, body: undefined },
    { text: getRequest('/get', [], 'DELETE'), toHead: false, status: 405, body: undefined },
    { text: getRequest('/health/live'), toHead: false, status: 200, body: '{"status":"live"}' },
    { text: getRequest('/get?key=foo', ['If-None-Match: *']), toHead: false, status: 304, body: '' },
    { text: postRequest('/mget', 'application/json', '{"keys":["foo"]}').toString('latin1'), toHead: false, status: 200, body: undefined },
    { text: postRequest('/mget', 'application/json', '{').toString('latin1'), toHead: false, status: 400, body: undefined },
  ];

  test('are answered in their order, however they are cut into packets', async () => {
    const anyRow = fc.array(fc.constantFrom(...expectedOf), { minLength: 1, maxLength: 120 });
    const property = fc.asyncProperty(
      anyRow,
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 }),
      async (row, cuts) => {
        const connection = await RawConnection.open(cluster.address);
        try {
          const bytes = row.map(({ text }) => text).join('');
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const size = i < cuts.length ? cuts[i]! : bytes.length;
            connection.write(bytes.slice(at, at + size));
            at += size;
          }
          for (const { toHead, status, body } of row) {
            const response = await connection.next({ toHead });
            expect([response.status, body === undefined ? undefined : response.body.toString('latin1')]).toEqual([status, body]);
          }
        } finally {
          connection.close();
        }
      },
    );
    await fc.assert(property, { numRuns: 40 });
  });

  test('1,000 at once are answered in their order, and 8 MiB between small ones', async () => {
    const connection = await RawConnection.open(cluster.address);
    const row = Array.from({ length: 1_000 }, (_, i) => ({
      text: getRequest(`/get?key=${i % 3 === 0 ? 'foo' : i % 3 === 1 ? 'a' : 'nobody'}`),
    }));
    const responses = await askPipelined(connection, row, row.length);
    expect(responses.map(({ status }) => status)).toEqual(row.map((_, i) => (i % 3 === 2 ? 404 : 200)));
    const withBig = await askPipelined(
      connection,
      ['foo', 'big0', 'a', 'big1', 'nobody', 'foo'].map((key) => ({ text: getRequest(`/get?key=${key}`) })),
    );
    expect(withBig.map(({ status, body }) => [status, body.length])).toEqual([
      [200, 3],
      [200, 8 * 1024 * 1024],
      [200, honestValue.length],
      [200, 8 * 1024 * 1024],
      [404, expect.any(Number)],
      [200, 3],
    ]);
    connection.close();
  });

  test('before one that is not HTTP are answered first', async () => {
    const responses = await askUntilEnd(
      `${getRequest('/get?key=foo')}${getRequest('/get?key=nobody')}${honest}\x16\x03\x01 rubbish\r\n\r\n${hidden}`,
    );
    expect(responses.map(({ status }) => status)).toEqual([200, 404, 200, 400]);
    expect(responses[2]!.body.toString()).toBe(honestValue);
    expect(responses.every(({ body }) => body.toString() !== hiddenValue)).toBe(true);
  });
});
