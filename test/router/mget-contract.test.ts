import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { TestCluster } from '../cluster/cluster-harness.ts';
import { ask, getRequest, percentEncode, postRequest, type RawResponse } from '../raw-http.ts';
import { bigValue, contractRecords, longestKey, problemCodeOf, startContractCluster } from './contract-cluster.ts';

let cluster: TestCluster;
let version: string;
/** A router with time for 72 MiB on a busy machine. */
let patientAddress: string;

const bigKeys = Array.from({ length: 9 }, (_, i) => `big${i}`);
const records = new Map([...contractRecords, ...bigKeys.map((key) => [key, bigValue] as const)]);

beforeAll(async () => {
  cluster = await startContractCluster(records);
  version = (await cluster.status()).version!.id;
  patientAddress = await cluster.startRouter(['--deadline', '30s']);
});
afterAll(async () => await cluster.close());

type Reply = { readonly version: string; readonly results: readonly Record<string, unknown>[] };

const post = async (body: unknown, type = 'application/json'): Promise<RawResponse> =>
  await ask(cluster.address, postRequest('/mget', type, Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body)));

function replyOf(response: RawResponse): Reply {
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8']);
  expect(response.headers.get('pavostore-version')).toBe(version);
  const reply = JSON.parse(response.body.toString()) as Reply;
  expect(reply.version).toBe(version);
  return reply;
}

describe('both forms of /mget', () => {
  const asked = [
    'foo',
    'nobody',
    'a b',
    'foo',
    '__proto__',
    'constructor',
    'Größe 📏',
    'empty',
    'toString',
    longestKey,
    'a#b',
    'a=b&key=c?/',
    'foo',
  ];
  const answered = asked.map((key) => {
    const value = records.get(Buffer.from(key).toString('latin1'));
    return value ? { key, status: 'found', value: value.toString() } : { key, status: 'missing' };
  });

  test('answer every key in the order of the request, repeated ones too', async () => {
    expect(replyOf(await post({ keys: asked })).results).toEqual(answered);
    const query = asked.map((key) => `key=${percentEncode(Buffer.from(key).toString('latin1'))}`).join('&');
    expect(replyOf(await ask(cluster.address, getRequest(`/mget?${query}`))).results).toEqual(answered);
  });

  test('give what is not UTF-8 in base64, and say so', async () => {
    const bytes = records.get('bytes')!.toString('base64');
    const results = [
      { key: 'bytes', status: 'found', value: bytes, encoding: 'base64' },
      { key: '/w==', keyEncoding: 'base64', status: 'found', value: 'the value of the byte FF' },
      { key: 'é', status: 'found', value: 'the value of two bytes, é in UTF-8' },
      { key: '/v8=', keyEncoding: 'base64', status: 'missing' },
    ];
    expect(replyOf(await ask(cluster.address, getRequest('/mget?key=bytes&key=%FF&key=%C3%A9&key=%FE%FF'))).results).toEqual(results);
    const keys = [{ base64: Buffer.from('bytes').toString('base64') }, { base64: '/w==' }, 'é', { base64: '/v8' }];
    expect(replyOf(await post({ keys })).results).toEqual(results);
  });

  test('take 500 keys, and no more', async () => {
    const keys = Array.from({ length: 500 }, (_, i) => (i % 2 === 0 ? 'foo' : `nobody ${i}`));
    expect(replyOf(await post({ keys })).results.map(({ status }) => status)).toEqual(
      keys.map((_, i) => (i % 2 === 0 ? 'found' : 'missing')),
    );
    const query = keys.map((key) => `key=${key.replace(' ', '+')}`).join('&');
    expect(replyOf(await ask(cluster.address, getRequest(`/mget?${query}`))).results).toHaveLength(500);
    for (const response of [await post({ keys: [...keys, 'a'] }), await ask(cluster.address, getRequest(`/mget?${query}&key=a`))]) {
      expect([response.status, problemCodeOf(response)]).toEqual([413, 'keys_too_many']);
    }
  });

  test('take 500 keys of 2,048 bytes in base64', async () => {
    const keys = Array.from({ length: 500 }, () => ({ base64: Buffer.from(longestKey).toString('base64') }));
    expect(replyOf(await post({ keys })).results.every(({ status }) => status === 'found')).toBe(true);
  });

  test('HEAD answers as GET does, without the body', async () => {
    const [head, get] = [
      await ask(cluster.address, getRequest('/mget?key=foo', [], 'HEAD'), { toHead: true }),
      await ask(cluster.address, getRequest('/mget?key=foo')),
    ];
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(get.body.length)]);
  });

  test('values beyond the room of a response are unavailable, the rest is there', async () => {
    const response = await ask(
      patientAddress,
      getRequest(`/mget?key=foo&${bigKeys.map((key) => `key=${key}`).join('&')}&key=a&key=nobody`),
    );
    const { results } = replyOf(response);
    const roomFor = Math.floor(limits.mgetValuesSizeMax / bigValue.length);
    const big = results.filter(({ key }) => bigKeys.includes(key as string));
    const full = big.filter(({ status }) => status === 'unavailable');
    // The last one to arrive finds no room; which one that is, and whether the small values came before it, is a matter of time.
    expect(full.length).toBeGreaterThanOrEqual(bigKeys.length - roomFor);
    expect(full.length).toBeLessThanOrEqual(bigKeys.length - roomFor + 1);
    expect(full.every(({ code, value }) => code === 'response_full' && value === undefined)).toBe(true);
    const found = big.filter(({ status }) => status === 'found');
    expect(found.every(({ value }) => value === bigValue.toString())).toBe(true);
    expect(found.length + full.length).toBe(bigKeys.length);
    expect(results.at(-1)).toEqual({ key: 'nobody', status: 'missing' });
  });
});

describe('a malformed POST /mget', () => {
  test.each<[string, unknown, number, string]>([
    ['no keys', { keys: [] }, 400, 'keys_malformed'],
    ['no list', {}, 400, 'keys_malformed'],
    ['a string for the list', { keys: 'foo' }, 400, 'keys_malformed'],
    ['an object for the list', { keys: { length: 1, 0: 'foo' } }, 400, 'keys_malformed'],
    ['a list for the object', ['foo'], 400, 'keys_malformed'],
    ['null', 'null', 400, 'keys_malformed'],
    ['a number', '1', 400, 'keys_malformed'],
    ['a list below __proto__', '{"__proto__":{"keys":["foo"]}}', 400, 'keys_malformed'],
    ['a number for a key', { keys: ['foo', 1] }, 400, 'keys_malformed'],
    ['null for a key', { keys: [null] }, 400, 'keys_malformed'],
    ['a list for a key', { keys: [['foo']] }, 400, 'keys_malformed'],
    ['an object for a key', { keys: [{ key: 'foo' }] }, 400, 'keys_malformed'],
    ['a number for base64', { keys: [{ base64: 1 }] }, 400, 'keys_malformed'],
    ['no base64', { keys: [{ base64: 'f*o=' }] }, 400, 'keys_malformed'],
    ['base64 with a line break', { keys: [{ base64: 'Zm\n9v' }] }, 400, 'keys_malformed'],
    ['base64 with bits to spare', { keys: [{ base64: 'Zn==' }] }, 400, 'keys_malformed'],
    ['one letter of base64', { keys: [{ base64: 'Z' }] }, 400, 'keys_malformed'],
    ['a lone high surrogate', '{"keys":["a\\ud800"]}', 400, 'keys_malformed'],
    ['a lone low surrogate', '{"keys":["\\udc00a"]}', 400, 'keys_malformed'],
    ['surrogates in the wrong order', '{"keys":["\\udc00\\ud800"]}', 400, 'keys_malformed'],
    ['an empty key', { keys: ['foo', ''] }, 400, 'key_empty'],
    ['an empty key in base64', { keys: [{ base64: '' }] }, 400, 'key_empty'],
    ['a key of 2,049 bytes', { keys: ['foo', `${longestKey}k`] }, 414, 'key_too_long'],
    ['a key of 1,025 characters and 2,050 bytes', { keys: ['é'.repeat(1_025)] }, 414, 'key_too_long'],
    ['no JSON', '{"keys":["foo"]', 400, 'body_malformed'],
    ['JSON with something behind it', '{"keys":["foo"]}}', 400, 'body_malformed'],
    ['nothing', '', 400, 'body_malformed'],
    ['bytes that are not UTF-8', Buffer.from('{"keys":["\xff"]}', 'latin1'), 400, 'body_malformed'],
    ['a byte order mark', '\ufeff{"keys":["foo"]}', 400, 'body_malformed'],
    ['UTF-16', Buffer.from('{"keys":["foo"]}', 'utf16le'), 400, 'body_malformed'],
    ['JSON nested 100,000 deep', `{"keys":${'['.repeat(100_000)}`, 400, 'body_malformed'],
    ['501 keys', { keys: Array.from({ length: 501 }, () => 'a') }, 413, 'keys_too_many'],
    ['a body above 2 MiB', Buffer.alloc(limits.mgetBodySizeMax + 1, ' '), 413, 'body_too_large'],
  ])('with %s is refused', async (_name, body, status, code) => {
    const response = await post(body);
    expect([response.status, problemCodeOf(response)]).toEqual([status, code]);
  });

  test('with a body above 2 MiB in chunks is refused', async () => {
    const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
    const head = 'POST /mget HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
    const response = await ask(cluster.address, `${head}${chunk.repeat(40)}0\r\n\r\n`);
    expect([response.status, problemCodeOf(response)]).toEqual([413, 'body_too_large']);
  });

  test('with a body of exactly 2 MiB is answered', async () => {
    const body = '{"keys":["foo"]}';
    expect(replyOf(await post(body.padEnd(limits.mgetBodySizeMax))).results).toHaveLength(1);
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', 'application/problem+json', 'json', ''])(
    'as %j is refused with 415',
    async (type) => {
      const response = await post({ keys: ['foo'] }, type);
      expect([response.status, problemCodeOf(response)]).toEqual([415, 'media_type_unsupported']);
    },
  );

  test.each(['application/json', 'application/json; charset=utf-8', 'application/json;charset=UTF-8', 'Application/JSON'])(
    'but as %s it is none',
    async (type) => {
      expect(replyOf(await post({ keys: ['foo'] }, type)).results).toEqual([{ key: 'foo', status: 'found', value: 'bar' }]);
    },
  );
});

describe('a malformed GET /mget', () => {
  test.each([
    ['/mget', 400, 'key_required'],
    ['/mget?', 400, 'key_required'],
    ['/mget?keys=foo', 400, 'key_required'],
    ['/mget?key=foo&key=', 400, 'key_empty'],
    ['/mget?key=foo&key', 400, 'key_empty'],
    ['/mget?key=foo&key=%F', 400, 'key_malformed'],
    ['/mget?key=foo#', 400, 'key_malformed'],
    [`/mget?key=foo&key=${longestKey}k`, 414, 'key_too_long'],
  ])('%s is refused', async (target, status, code) => {
    const response = await ask(cluster.address, getRequest(target));
    expect([response.status, problemCodeOf(response)]).toEqual([status, code]);
  });
});
