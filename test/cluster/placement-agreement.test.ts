// Router, shards and `locate`, each a process of its own, agree on where a key belongs.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { batchContentType, batchStatus, encodeBatchRequest, isBatchReply, readBatchReply } from '../../shared/batch-wire.ts';
import { keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { ask, getRequest, postRequest, RawConnection } from '../raw-http.ts';
import { TestCluster } from './cluster-harness.ts';
import { randomFrom } from './hostile-input.ts';
import { runProgram } from './program.ts';

const keyCount = 1_000_000;
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
console.log(`the keys of placement-agreement.test.ts: TEST_SEED=${seed}`);

/** Of 1 to 13 characters, so that each tail of the hash comes in. */
const random = randomFrom(seed);
const keys = Array.from({ length: keyCount }, (_, i) => `${i}-${random().toString(36)}`.slice(-1 - (random() % 13)));

let cluster: TestCluster;
/** For each key the number of the shard that `locate` names. */
let located: Uint8Array;

beforeAll(async () => {
  const records = new Map(keys.slice(0, 1_000).map((key) => [key, Buffer.from(`value of ${key}`)]));
  cluster = await TestCluster.start({
    records,
    sliceCount: 256,
    routerArgs: ['--deadline', '30s', '--cache-size', '0'],
  });
});
afterAll(async () => await cluster.close());

test('locate says the same for every order of --members, with the hash of the router', async () => {
  const { shardAddresses } = cluster.cluster;
  const orders = [shardAddresses, shardAddresses.toReversed().map((address) => `http://${address}/`)];
  const input = `${keys.join('\n')}\n`;
  const runs = await Promise.all(
    orders.map((members) => runProgram(['locate', '-', '--data', cluster.dataDir, '--members', members.join(',')], { input })),
  );
  expect(runs.map(({ exitCode, stderr }) => [exitCode, stderr])).toEqual([
    [0, ''],
    [0, ''],
  ]);
  expect(runs[0]!.stdout.equals(runs[1]!.stdout)).toBe(true);

  const lines = runs[0]!.stdout.toString('latin1').split('\n');
  expect(lines.length).toBe(keyCount + 1);
  located = new Uint8Array(keyCount);
  for (const [i, key] of keys.entries()) {
    const hash = keyHash32OfLatin1(key);
    const shard = cluster.holdersOf(key)[0]!;
    const expected = `${key}\thash ${hash.toString(16).padStart(8, '0')}\tslice ${sliceIndexOf(hash, 8)} of 256\t${shardAddresses[shard]}`;
    if (lines[i] !== expected) expect(lines[i]).toBe(expected);
    located[i] = shard;
  }
});

test('each shard answers the keys that locate gives it, and no others', async () => {
  const idBytes = Buffer.from((await cluster.status()).version!.id, 'hex');
  const connections = await Promise.all(cluster.cluster.shardAddresses.map((address) => RawConnection.open(address)));
  for (let start = 0; start < keyCount; start += limits.batchKeysMax) {
    const batch = keys.slice(start, start + limits.batchKeysMax).map((key) => ({ key }));
    const request = postRequest('/batch', batchContentType, encodeBatchRequest(idBytes, batch));
    for (const connection of connections) connection.write(request);
    for (const [shard, connection] of connections.entries()) {
      const { body } = await connection.next();
      if (!isBatchReply(body, idBytes, batch.length)) throw new Error(`shard ${shard}: not an answer`);
      readBatchReply(body, (i, status) => {
        if ((status !== batchStatus.notHeld) !== (located[start + i] === shard))
          throw new Error(`shard ${shard}: ${keys[start + i]} is ${status}`);
      });
    }
  }
  for (const connection of connections) connection.close();
});

test('the router asks nobody for a key that is not there', async () => {
  const notHeld = async (): Promise<number[]> =>
    await Promise.all(
      cluster.cluster.shardAddresses.map(
        async (address) => JSON.parse((await ask(address, getRequest('/status'))).body.toString()).keys.notHeld,
      ),
    );
  const before = await notHeld();
  const connections = await Promise.all(Array.from({ length: 4 }, () => RawConnection.open(cluster.address)));
  let answered = 0;
  await Promise.all(
    connections.map(async (connection, lane) => {
      for (let start = lane * limits.mgetKeysMax; start < keyCount; start += connections.length * limits.mgetKeysMax) {
        connection.write(postRequest('/mget', 'application/json', JSON.stringify({ keys: keys.slice(start, start + limits.mgetKeysMax) })));
        const { status, body } = await connection.next();
        expect([status, body.includes('unavailable')]).toEqual([200, false]);
        answered += body.toString('latin1').split('"status":').length - 1;
      }
      connection.close();
    }),
  );
  expect(answered).toBe(keyCount);
  expect(await notHeld()).toEqual(before);
  expect((await cluster.status()).keys.retries).toBe(0);
});
