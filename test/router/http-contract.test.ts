import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestCluster } from '../cluster/cluster-harness.ts';
import { ask, getRequest, percentEncode, type RawResponse } from '../raw-http.ts';
import { bigValue, contractRecords, longestKey, problemCodeOf, startContractCluster } from './contract-cluster.ts';

let cluster: TestCluster;
let version: string;

beforeAll(async () => {
  cluster = await startContractCluster();
  version = (await cluster.status()).version!.id;
});
afterAll(async () => await cluster.close());

const get = async (target: string, headers: readonly string[] = []): Promise<RawResponse> =>
  await ask(cluster.address, getRequest(target, headers));
const head = async (target: string, headers: readonly string[] = []): Promise<RawResponse> =>
  await ask(cluster.address, getRequest(target, headers, 'HEAD'), { toHead: true });

describe('GET /get of a key that is there', () => {
  test.each([...contractRecords].map(([key, value]) => [key.length > 40 ? `${key.slice(0, 40)}…` : key, key, value] as const))(
    'gives the bytes of %j exactly',
    async (_name, key, value) => {
      const response = await get(`/get?key=${percentEncode(key)}`);
      expect([response.status, response.body.equals(value)]).toEqual([200, true]);
    },
  );

  test('carries the headers of the contract', async () => {
    const { headers } = await get('/get?key=foo');
    expect(Object.fromEntries(headers)).toEqual({
      'content-type': 'text/plain; charset=utf-8',
      'x-content-type-options': 'nosniff',
      etag: `"${version}"`,
      'cache-control': 'no-cache',
      'pavostore-version': version,
      'content-length': '3',
      date: expect.any(String),
      connection: 'keep-alive',
      'keep-alive': expect.any(String),
    });
  });

  test.each([
    ['the tag', '"ID"'],
    ['the tag, marked weak', 'W/"ID"'],
    ['a list with the tag', '"other", "ID" , W/"third"'],
    ['any', '*'],
    ['any, with spaces', ' * '],
  ])('with %s in If-None-Match gives 304 without a body', async (_name, condition) => {
    const response = await get('/get?key=foo', [`If-None-Match: ${condition.replace('ID', version)}`]);
    expect([response.status, response.body.length]).toEqual([304, 0]);
    expect(response.headers.get('etag')).toBe(`"${version}"`);
    expect(response.headers.get('pavostore-version')).toBe(version);
    expect(response.headers.get('cache-control')).toBe('no-cache');
    expect(response.headers.has('content-type')).toBe(false);
  });

  test('with the tag in the second of two If-None-Match fields gives 304', async () => {
    const response = await get('/get?key=foo', ['if-none-match: "other"', `IF-NONE-MATCH: "${version}"`]);
    expect(response.status).toBe(304);
  });

  test.each(['"other"', '""', 'ID', '"ID', 'w/"ID"', '', '"**"'])('with If-None-Match: %s gives the value', async (condition) => {
    const response = await get('/get?key=foo', [`If-None-Match: ${condition.replace('ID', version)}`]);
    expect([response.status, response.body.toString()]).toEqual([200, 'bar']);
  });
});

describe('GET /get of a key that is not there', () => {
  test('is 404 key_not_found with the version', async () => {
    const response = await get('/get?key=nobody');
    expect([response.status, problemCodeOf(response)]).toEqual([404, 'key_not_found']);
    expect(response.headers.get('pavostore-version')).toBe(version);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.has('etag')).toBe(false);
  });

  test.each(['*', '"ID"', 'W/"ID"'])('stays 404 with If-None-Match: %s', async (condition) => {
    const response = await get('/get?key=nobody', [`If-None-Match: ${condition.replace('ID', version)}`]);
    expect(response.status).toBe(404);
  });
});

describe('HEAD /get', () => {
  test.each(['foo', 'empty', 'nobody', 'big0', ''])('of key %j answers as GET does, without the body', async (key) => {
    const [asHead, asGet] = [await head(`/get?key=${key}`), await get(`/get?key=${key}`)];
    expect(asHead.status).toBe(asGet.status);
    const { date: _, ...headers } = Object.fromEntries(asHead.headers);
    expect({ ...headers, date: expect.any(String) }).toEqual({ ...Object.fromEntries(asGet.headers), date: expect.any(String) });
    expect(asHead.headers.get('content-length')).toBe(String(asGet.body.length));
  });

  test('with the tag in If-None-Match is 304', async () => {
    expect((await head('/get?key=foo', [`If-None-Match: "${version}"`])).status).toBe(304);
  });
});

describe('the query of /get', () => {
  test.each([
    ['/get', 'key_required'],
    ['/get?', 'key_required'],
    ['/get?other=foo', 'key_required'],
    ['/get?KEY=foo', 'key_required'],
    ['/get?&&&', 'key_required'],
    ['/get?key', 'key_empty'],
    ['/get?key=', 'key_empty'],
    ['/get?key=&other=foo', 'key_empty'],
    ['/get?key=foo&key=a', 'key_repeated'],
    ['/get?key=foo&key=foo', 'key_repeated'],
    ['/get?key=foo&k%65y=a', 'key_repeated'],
    ['/get?key=%', 'key_malformed'],
    ['/get?key=%F', 'key_malformed'],
    ['/get?key=%ZZ', 'key_malformed'],
    ['/get?key=%0G', 'key_malformed'],
    ['/get?key=% 1'.replace(' ', '+'), 'key_malformed'],
    ['/get?key=foo%', 'key_malformed'],
    ['/get?key=foo%2', 'key_malformed'],
    ['/get?key=%u0041', 'key_malformed'],
    ['/get?key=%-1', 'key_malformed'],
    ['/get?key=foo#bar', 'key_malformed'],
    ['/get?key=foo#', 'key_malformed'],
    ['/get#?key=foo', 'route_not_found'],
  ])('%s is refused: %s', async (target, code) => {
    const response = await get(target);
    expect(problemCodeOf(response)).toBe(code);
    expect(response.status).toBe(code === 'route_not_found' ? 404 : 400);
  });

  test.each([
    ['/get?key=foo', 'bar'],
    ['/get?k%65y=foo', 'bar'],
    ['/get?%6b%65%79=%66%6f%6F', 'bar'],
    ['/get?other=1&key=foo&third', 'bar'],
    ['/get?%ZZ=1&key=foo', 'bar'],
    ['/get?&key=foo&', 'bar'],
    ['/get?key=foo&KEY=a', 'bar'],
    ['/get?key=foo&keys=a&akey=b', 'bar'],
    ['/get?key=a+b', 'the value of a, space, b'],
    ['/get?key=a%20b', 'the value of a, space, b'],
    ['/get?key=a%2Bb', 'the value of a, plus, b'],
    ['/get?key=a%2bb', 'the value of a, plus, b'],
    ['/get?key=%FF', 'the value of the byte FF'],
    ['/get?key=%ff', 'the value of the byte FF'],
    ['/get?key=%25FF', 'the value of percent, F, F'],
    ['/get?key=%C3%A9', 'the value of two bytes, é in UTF-8'],
    ['/get?key=%E9', 'the value of one byte, é in latin1'],
    ['/get?key=a%23b', 'the value of a, hash, b'],
    ['/get?key=a=b%26key=c?/', 'the value of a hostile key'],
    ['/get?key=__proto__', 'the value of __proto__'],
    ['http://anywhere/get?key=foo', 'bar'],
    ['HTTP://anywhere:99/get?key=foo', 'bar'],
  ])('%s finds its value', async (target, value) => {
    const response = await get(target);
    expect([response.status, response.body.toString()]).toEqual([200, value]);
  });

  test('takes a key of 2,048 bytes, each of them percent-encoded, and no longer one', async () => {
    expect((await get(`/get?key=${longestKey}`)).body.toString()).toBe('the value of the longest key');
    expect((await get(`/get?key=${percentEncode(longestKey)}`)).body.toString()).toBe('the value of the longest key');
    for (const tooLong of [`${longestKey}k`, percentEncode(`${longestKey}k`), 'k'.repeat(50_000)]) {
      const response = await get(`/get?key=${tooLong}`);
      expect([response.status, problemCodeOf(response)]).toEqual([414, 'key_too_long']);
    }
  });
});

describe('other requests', () => {
  test.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND', 'QUERY'])('%s /get is 405 with Allow', async (method) => {
    const response = await ask(cluster.address, getRequest('/get?key=foo', [], method));
    expect([response.status, problemCodeOf(response)]).toEqual([405, 'method_not_allowed']);
    expect(response.headers.get('allow')).toBe('GET, HEAD');
  });

  test.each([
    ['/mget', 'DELETE', 'GET, HEAD, POST'],
    ['/status', 'POST', 'GET, HEAD'],
    ['/health/live', 'POST', 'GET, HEAD'],
    ['/health/ready', 'PUT', 'GET, HEAD'],
  ])('%s takes no %s', async (path, method, allow) => {
    const response = await ask(cluster.address, getRequest(path, [], method));
    expect([response.status, problemCodeOf(response), response.headers.get('allow')]).toEqual([405, 'method_not_allowed', allow]);
  });

  test.each([
    '/',
    '/get/',
    '/get/?key=foo',
    '//get?key=foo',
    '/GET?key=foo',
    '/Get?key=foo',
    '/getx?key=foo',
    '/get;x?key=foo',
    '/%67et?key=foo',
    '/get%3Fkey=foo',
    '/get%3fkey=foo',
    '/./get?key=foo',
    '/x/../get?key=foo',
    '/get%00?key=foo',
    '/mget/',
    '/%6dget?key=foo',
    '/status/',
    '/batch',
    '/favicon.ico',
    '/__proto__',
    '/constructor',
    '/toString',
    'http://anywhere',
    'http://anywhere/nothing',
    'http://anywhere?key=foo',
    'ftp://anywhere/get?key=foo',
  ])('%s is 404 route_not_found, whatever the method', async (target) => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const response = await ask(cluster.address, getRequest(target, [], method));
      expect([response.status, problemCodeOf(response)]).toEqual([404, 'route_not_found']);
    }
  });

  test('a path that is not percent-encoding is a problem of the client', async () => {
    for (const target of ['/%zz', '/get%', '/%ff', '/%c3%28']) {
      const response = await get(target);
      expect([400, 404]).toContain(response.status);
      expect(['request_malformed', 'route_not_found']).toContain(problemCodeOf(response));
    }
  });

  test('OPTIONS * is answered', async () => {
    const response = await ask(cluster.address, getRequest('*', [], 'OPTIONS'));
    expect([response.status, problemCodeOf(response)]).toEqual([404, 'route_not_found']);
  });
});

describe('status and health', () => {
  test('/status says what is served, by whom', async () => {
    const response = await get('/status');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    const status = JSON.parse(response.body.toString()) as Record<string, unknown>;
    expect(status).toMatchObject({ state: 'ready', degraded: false, version: { id: version, sliceCount: 16 }, slicesAbsent: {} });
    const members = status.members as { name: string; alive: boolean; state: string; slicesKept: number }[];
    expect(members.map(({ name }) => name)).toEqual([...cluster.cluster.shardAddresses].sort());
    expect(members.every(({ alive, state }) => alive && state === 'ready')).toBe(true);
    expect(members.reduce((sum, { slicesKept }) => sum + slicesKept, 0)).toBe(16);
  });

  test.each([
    ['/health/live', 'live'],
    ['/health/ready', 'ready'],
  ])('%s is 200', async (path, state) => {
    const response = await get(path);
    expect([response.status, JSON.parse(response.body.toString())]).toEqual([200, { status: state }]);
    expect((await head(path)).status).toBe(200);
  });
});

describe('a value of 8 MiB', () => {
  test('comes whole while another client reads slowly', async () => {
    const [first, second] = await Promise.all([get('/get?key=big0'), get('/get?key=big1')]);
    expect(first.body.equals(bigValue)).toBe(true);
    expect(second.body.equals(bigValue)).toBe(true);
  });
});
