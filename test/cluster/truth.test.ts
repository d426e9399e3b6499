// Every answer is the input's: what `pavostore split` made of a file and a cluster serves, against a plain Map of the same file.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Records } from '../data-sets.ts';
import { ask, askPipelined, getRequest, percentEncode, postRequest, RawConnection, type RawResponse } from '../raw-http.ts';
import { TestCluster } from './cluster-harness.ts';
import { makeHostileInput, randomFrom, readPlainly } from './hostile-input.ts';
import { runProgram } from './program.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the hostile input of truth.test.ts: TEST_SEED=${seed}`);

const example = readFileSync(new URL('../../input_data/example.data', import.meta.url));
const hostile = makeHostileInput(seed);

type Form = readonly { readonly text: string; readonly toHead?: boolean }[];
const formOf = (keys: readonly string[], method: 'GET' | 'HEAD'): Form =>
  keys.map((key) => ({ text: getRequest(`/get?key=${percentEncode(key)}`, [], method), toHead: method === 'HEAD' }));

/** Asks over one connection; large values a few at a time. */
async function askAll(address: string, form: Form, ahead = 64): Promise<RawResponse[]> {
  const connection = await RawConnection.open(address);
  try {
    return await askPipelined(connection, form, ahead);
  } finally {
    connection.close();
  }
}

/** The values of `/mget`, asked for in groups, as bytes; undefined for a missing one. */
async function askMany(
  address: string,
  keys: readonly string[],
  requestOf: (group: readonly string[]) => string,
): Promise<(Buffer | undefined)[]> {
  const groups: string[][] = [];
  for (let i = 0; i < keys.length; i += 100) groups.push(keys.slice(i, i + 100));
  const responses = await askAll(
    address,
    groups.map((group) => ({ text: requestOf(group) })),
    2,
  );
  return responses.flatMap(({ status, body }, i) => {
    expect(status).toBe(200);
    const { results } = JSON.parse(body.toString()) as {
      results: { key: string; keyEncoding?: 'base64'; status: string; value?: string; encoding?: 'base64' }[];
    };
    expect(results.map((result) => Buffer.from(result.key, result.keyEncoding ?? 'utf8').toString('latin1'))).toEqual(groups[i]);
    return results.map((result) => {
      expect(['found', 'missing']).toContain(result.status);
      return result.status === 'found' ? Buffer.from(result.value!, result.encoding ?? 'utf8') : undefined;
    });
  });
}

const byQuery = (group: readonly string[]): string => getRequest(`/mget?${group.map((key) => `key=${percentEncode(key)}`).join('&')}`);
const byBody = (group: readonly string[]): string => {
  const keys = group.map((key, i) => {
    const bytes = Buffer.from(key, 'latin1');
    // Both ways to write a key, where both are possible.
    return i % 2 === 0 && Buffer.from(bytes.toString()).equals(bytes) ? bytes.toString() : { base64: bytes.toString('base64') };
  });
  return postRequest('/mget', 'application/json', JSON.stringify({ keys })).toString('latin1');
};

/** The keys whose answer is not the Map's: none. */
function differing(keys: readonly string[], records: Records, valueAt: (i: number) => Buffer | undefined): string[] {
  return keys.filter((key, i) => {
    const [expected, given] = [records.get(key), valueAt(i)];
    return expected === undefined || given === undefined ? expected !== given : !expected.equals(given);
  });
}

function absentKeys(records: Records, count: number): string[] {
  const random = randomFrom(seed + 1);
  const present = [...records.keys()];
  const absent = new Set<string>();
  while (absent.size < count) {
    const key = present[random() % present.length]!;
    const other = [
      `${key}x`,
      key.slice(1),
      key.replace(/[a-f]/g, (letter) => letter.toUpperCase()),
      `${key}\0`,
      ` ${key}`,
      [...key].toReversed().join(''),
    ][random() % 6]!;
    if (other.length >= 1 && other.length <= 2_048 && !records.has(other)) absent.add(other);
  }
  return [...absent];
}

describe.each([
  ['example.data', example],
  [`a hostile file of seed ${seed}`, hostile],
])('for every key of %s', (_name, input) => {
  const records = readPlainly(input);
  const keys = [...records.keys()];
  const absent = absentKeys(records, input === example ? 10_000 : 1_000);
  let cluster: TestCluster;
  /** A router without a cache. */
  let plainAddress: string;

  beforeAll(async () => {
    cluster = await TestCluster.start({
      sliceCount: 256,
      routerArgs: ['--deadline', '30s'],
      prepare: async (dataDir) => {
        const file = join(dataDir, '..', 'input.data');
        writeFileSync(file, input);
        const { exitCode, stderr } = await runProgram(['split', file, '--data', dataDir]);
        expect([exitCode, stderr]).toEqual([0, expect.any(String)]);
      },
    });
    plainAddress = await cluster.startRouter(['--deadline', '30s', '--cache-size', '0']);
  });
  afterAll(async () => await cluster.close());

  test('GET /get gives its value, and GET /get of other keys 404', async () => {
    // Of a router without a cache; of one with a cache that is empty; and for some that are in it.
    for (const [address, asked] of [
      [plainAddress, keys],
      [cluster.address, keys],
      [cluster.address, keys.slice(0, 1_000)],
    ] as const) {
      const responses = await askAll(address, formOf(asked, 'GET'));
      expect(differing(asked, records, (i) => (responses[i]!.status === 200 ? responses[i]!.body : undefined))).toEqual([]);
    }
    const responses = await askAll(cluster.address, formOf(absent, 'GET'));
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([404]));
  });

  test('HEAD /get gives its length', async () => {
    const responses = await askAll(plainAddress, formOf(keys, 'HEAD'));
    expect(responses.map(({ status, headers }) => [status, Number(headers.get('content-length'))])).toEqual(
      keys.map((key) => [200, records.get(key)!.length]),
    );
    expect(new Set((await askAll(plainAddress, formOf(absent.slice(0, 500), 'HEAD'))).map(({ status }) => status))).toEqual(new Set([404]));
  });

  test.each([
    ['GET', byQuery],
    ['POST', byBody],
  ])('%s /mget gives its value, and says which keys are missing', async (_method, requestOf) => {
    // Keys of 2,048 bytes, escaped three times as long, do not fit a header of 64 KiB by the hundred.
    const [long, short] = [keys.filter((key) => key.length > 150), keys.filter((key) => key.length <= 150)];
    const mixed = [...short, ...absent.filter((key) => key.length <= 150)];
    const values = await askMany(plainAddress, mixed, requestOf);
    expect(differing(mixed, records, (i) => values[i])).toEqual([]);
    for (let i = 0; i < long.length; i += 5) {
      const group = long.slice(i, i + 5);
      const groupValues = await askMany(plainAddress, group, requestOf);
      expect(differing(group, records, (k) => groupValues[k])).toEqual([]);
    }
  });

  test('its own shard gives its value, and no other shard has it', async () => {
    for (const [i, address] of cluster.cluster.shardAddresses.entries()) {
      const [own, foreign] = [keys.filter((key) => cluster.holdersOf(key)[0] === i), keys.filter((key) => cluster.holdersOf(key)[0] !== i)];
      const responses = await askAll(address, formOf(own, 'GET'));
      expect(differing(own, records, (k) => (responses[k]!.status === 200 ? responses[k]!.body : undefined))).toEqual([]);
      expect(new Set((await askAll(address, formOf(foreign.slice(0, 300), 'GET'))).map(({ status }) => status))).toEqual(new Set([421]));
    }
  });

  test.runIf(input === hostile)('a shard that has the slices on disk gives its value, read or from its cache', async () => {
    const address = await cluster.startShard(['--memory', '17MiB']);
    const status = JSON.parse((await ask(address, getRequest('/status'))).body.toString());
    expect(status.memory.plan).toMatch(/^on disk/);
    for (let round = 0; round < 2; round++) {
      const responses = await askAll(address, formOf(keys, 'GET'));
      expect(differing(keys, records, (i) => (responses[i]!.status === 200 ? responses[i]!.body : undefined))).toEqual([]);
    }
    expect(new Set((await askAll(address, formOf(absent, 'GET'))).map(({ status }) => status))).toEqual(new Set([404]));
  });
});
