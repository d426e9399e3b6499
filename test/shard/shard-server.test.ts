import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Shard } from '../../shard/shard.ts';
import { batchContentType, batchStatus, encodeBatchRequest, isBatchReply, readBatchReply } from '../../shared/batch-wire.ts';
import { currentPath, manifestPath, versionPath } from '../../shared/data-set.ts';
import { bitsOf, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest } from '../../shared/manifest.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import { placeSlices } from '../../shared/placement.ts';
import { parseStatusReport } from '../../shared/status-report.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import { encodeRecords, publishRecords } from '../data-sets.ts';
import { ask, getRequest, percentEncode, postRequest, RawConnection, type RawResponse } from '../raw-http.ts';
import { problemCodeOf } from '../router/contract-cluster.ts';

const sliceCount = 16;
const keys = Array.from({ length: 200 }, (_, i) => `key-${i}`);
const records = new Map(keys.map((key) => [key, Buffer.from(`value of ${key}`)]));

let folder: string;
let shard: Shard;
let address: string;

async function startShard(options: { members?: string; name?: string; port?: number } = {}): Promise<void> {
  const { members, name = 'tested', port = 0 } = options;
  const source = members === undefined ? undefined : parseMemberSource(members);
  shard = new Shard({
    dataDir: folder,
    host: '127.0.0.1',
    port,
    members: source,
    name,
    zone: undefined,
    replicas: 1,
    memory: undefined,
    stateDir: undefined,
    leaveGraceMs: 0,
    logLevel: 'silent',
  });
  address = `127.0.0.1:${await shard.start()}`;
}

const untilReady = async (): Promise<void> =>
  await vi.waitFor(async () => expect((await ask(address, getRequest('/health/ready'))).status).toBe(200), waiting);

const postBatch = async (body: Buffer, type = batchContentType): Promise<RawResponse> =>
  await ask(address, postRequest('/batch', type, body));

function makeFolder(): void {
  folder = join(mkdtempSync(join(tmpdir(), 'pavostore-shard-')), 'data');
  mkdirSync(folder);
}

function removeFolder(): void {
  rmSync(join(folder, '..'), { recursive: true, force: true });
}

describe('a shard that is alone', () => {
  let idBytes: Buffer;
  let good: Buffer;

  beforeAll(async () => {
    makeFolder();
    idBytes = Buffer.from(publishRecords(folder, records, { sliceCount }).id, 'hex');
    good = encodeBatchRequest(idBytes, [{ key: 'key-1' }, { key: 'nobody' }, { key: 'key-2' }]);
    await startShard();
    await untilReady();
  });
  afterAll(async () => {
    await shard.close();
    removeFolder();
  });

  test('answers a batch', async () => {
    const { status, headers, body } = await postBatch(good);
    expect([status, headers.get('content-type')]).toEqual([200, batchContentType]);
    expect(isBatchReply(body, idBytes, 3)).toBe(true);
    const answers: unknown[] = [];
    readBatchReply(body, (_i, state, start, end) => answers.push([state, body.toString('latin1', start, end)]));
    expect(answers).toEqual([
      [batchStatus.found, 'value of key-1'],
      [batchStatus.missing, ''],
      [batchStatus.found, 'value of key-2'],
    ]);
  });

  test('answers a batch of another version with nothing held', async () => {
    const { body } = await postBatch(encodeBatchRequest(Buffer.alloc(16, 7), [{ key: 'key-1' }]));
    expect([...body.subarray(21)]).toEqual([batchStatus.notHeld]);
  });

  const head = (count: number, protocol = 1): Buffer => {
    const bytes = Buffer.alloc(21);
    bytes[0] = protocol;
    bytes.writeUInt32LE(count, 17);
    return bytes;
  };
  const keyed = (size: number, bytes: Buffer): Buffer => Buffer.concat([Buffer.from([size & 0xff, size >>> 8]), bytes]);

  test.each<[string, () => Buffer]>([
    ['nothing', () => Buffer.alloc(0)],
    ['a head cut off', () => head(1).subarray(0, 20)],
    ['no keys', () => head(0)],
    ['another protocol', () => Buffer.concat([head(1, 2), keyed(1, Buffer.from('a'))])],
    ['fewer keys than it says', () => Buffer.concat([head(2), keyed(1, Buffer.from('a'))])],
    ['more keys than it says', () => Buffer.concat([head(1), keyed(1, Buffer.from('a')), keyed(1, Buffer.from('b'))])],
    ['a length cut off', () => Buffer.concat([head(1), Buffer.from([1])])],
    ['a key cut off', () => Buffer.concat([head(1), keyed(5, Buffer.from('abcd'))])],
    ['an empty key', () => Buffer.concat([head(1), keyed(0, Buffer.alloc(0))])],
    ['a key of 2,049 bytes', () => Buffer.concat([head(1), keyed(2_049, Buffer.alloc(2_049, 'k'))])],
    ['1,025 keys', () => Buffer.concat([head(1_025), ...Array.from({ length: 1_025 }, () => keyed(1, Buffer.from('a')))])],
    ['4 billion keys', () => Buffer.concat([head(0xffffffff), keyed(1, Buffer.from('a'))])],
    ['JSON', () => Buffer.from('{"keys":["a"]}'.padEnd(30))],
  ])('refuses a batch with %s', async (_name, body) => {
    const response = await postBatch(body());
    expect([response.status, problemCodeOf(response)]).toEqual([400, 'body_malformed']);
  });

  test('refuses a batch above its size, of another type, by another method', async () => {
    const tooLarge = await postBatch(Buffer.alloc(limits.batchRequestSizeMax + 1));
    expect([tooLarge.status, problemCodeOf(tooLarge)]).toEqual([413, 'body_too_large']);
    const otherType = await postBatch(good, 'application/json');
    expect([otherType.status, problemCodeOf(otherType)]).toEqual([415, 'media_type_unsupported']);
    const otherMethod = await ask(address, getRequest('/batch'));
    expect([otherMethod.status, otherMethod.headers.get('allow')]).toEqual([405, 'POST']);
  });

  test('answers any bytes with a reply or a problem, and lives', async () => {
    const connection = await RawConnection.open(address);
    const anyBody = fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }).map((changes) => {
        const body = Buffer.from(good);
        for (const [at, byte] of changes) body[at] = byte;
        return body;
      }),
      fc.nat(good.length).map((size) => good.subarray(0, size)),
    );
    const property = fc.asyncProperty(anyBody, async (body) => {
      connection.write(postRequest('/batch', batchContentType, body));
      const response = await connection.next();
      if (response.status === 200) expect(isBatchReply(response.body, body.subarray(1, 17), body.readUInt32LE(17))).toBe(true);
      else expect([response.status, problemCodeOf(response)]).toEqual([400, 'body_malformed']);
    });
    await fc.assert(property, { numRuns: 300 });
    connection.close();
    expect((await postBatch(good)).status).toBe(200);
  });

  test('outlives a batch that its sender cuts off', async () => {
    const request = postRequest('/batch', batchContentType, good);
    for (const size of [50, request.length - 1]) {
      const connection = await RawConnection.open(address);
      connection.write(request.subarray(0, size));
      connection.close();
    }
    expect((await postBatch(good)).status).toBe(200);
  });

  test('answers GET /get as a router does', async () => {
    const found = await ask(address, getRequest('/get?key=key-1'));
    expect([found.status, found.body.toString(), found.headers.get('etag')]).toEqual([
      200,
      'value of key-1',
      `"${idBytes.toString('hex')}"`,
    ]);
    expect((await ask(address, getRequest('/get?key=key-1', ['If-None-Match: *']))).status).toBe(304);
    expect((await ask(address, getRequest('/get?key=key-1', [], 'HEAD'), { toHead: true })).headers.get('content-length')).toBe('14');
    const missing = await ask(address, getRequest('/get?key=nobody'));
    expect([missing.status, problemCodeOf(missing)]).toEqual([404, 'key_not_found']);
    for (const [target, code] of [
      ['/get', 'key_required'],
      ['/get?key=%', 'key_malformed'],
      ['/get?key=', 'key_empty'],
      ['/mget?key=a', 'route_not_found'],
    ]) {
      expect(problemCodeOf(await ask(address, getRequest(target!)))).toBe(code);
    }
  });

  test('reports what it holds, with a counter that grows', async () => {
    const reports = [];
    for (let i = 0; i < 3; i++) reports.push(parseStatusReport((await ask(address, getRequest('/status'))).body.toString(), 'the shard'));
    expect(reports[0]).toMatchObject({
      name: 'tested',
      state: 'ready',
      versions: [{ id: idBytes.toString('hex'), sliceCount, slices: { kept: [[0, 15]] } }],
    });
    expect(reports[2]!.counter).toBeGreaterThan(reports[1]!.counter);
    expect(reports[1]!.counter).toBeGreaterThan(reports[0]!.counter);
  });
});

describe('a shard beside others', () => {
  beforeEach(makeFolder);
  afterEach(async () => {
    await shard.close();
    removeFolder();
  });

  test('answers 421 for the slices that are not its own, and not held in a batch', async () => {
    const { id } = publishRecords(folder, records, { sliceCount });
    const port = nextPorts(2);
    const members = [`127.0.0.1:${port}`, `127.0.0.1:${port + 1}`];
    await startShard({ members: members.join(','), name: members[0]!, port });
    await untilReady();
    const placement = placeSlices({ members: members.map((name) => ({ name })), sliceCount, replicas: 1 });
    const isOwn = (key: string): boolean => placement[sliceIndexOf(keyHash32OfLatin1(key), bitsOf(sliceCount))]![0] === members[0];
    expect(keys.filter(isOwn).length).toBeGreaterThan(20);

    const { body } = await postBatch(
      encodeBatchRequest(
        Buffer.from(id, 'hex'),
        keys.map((key) => ({ key })),
      ),
    );
    const states: number[] = [];
    readBatchReply(body, (_i, state) => states.push(state));
    expect(states).toEqual(keys.map((key) => (isOwn(key) ? batchStatus.found : batchStatus.notHeld)));

    const foreign = await ask(address, getRequest(`/get?key=${percentEncode(keys.find((key) => !isOwn(key))!)}`));
    expect([foreign.status, problemCodeOf(foreign)]).toEqual([421, 'slice_not_held']);
    expect((await ask(address, getRequest(`/get?key=${percentEncode(keys.find(isOwn)!)}`))).status).toBe(200);
  });

  test.each<[string, string, (text: string) => string]>([
    ['a current of two lines', 'current', (text) => text + text],
    ['a current without its newline', 'current', (text) => text.trimEnd()],
    ['a current with another sequence', 'current', (text) => text.replace(' 1 1 ', ' 1 2 ')],
    ['a current of another format', 'current', (text) => text.replace('current 1', 'current 2')],
    ['an empty current', 'current', () => ''],
    ['half a manifest', 'manifest', (text) => text.slice(0, text.length / 2)],
    ['a manifest with another id', 'manifest', (text) => text.replace(/"id": "(.)/, (_, digit) => `"id": "${digit === '0' ? 1 : 0}`)],
    ['a manifest with other bytes of a slice', 'manifest', (text) => text.replace(/"bytes": (\d)/, '"bytes": 9$1')],
    [
      'the manifest of another version',
      'manifest',
      () => formatManifest(encodeRecords(new Map([['a', Buffer.from('b')]]), sliceCount).manifest),
    ],
    ['an empty manifest', 'manifest', () => ''],
  ])('that finds %s is not ready, and is when it is mended', async (_name, file, change) => {
    const { id } = publishRecords(folder, records, { sliceCount });
    const path = file === 'current' ? currentPath(folder) : manifestPath(versionPath(folder, id));
    const good = readFileSync(path, 'utf8');
    expect(change(good)).not.toBe(good);
    writeFileSync(path, change(good));
    await startShard();
    expect((await ask(address, getRequest('/health/ready'))).status).toBe(503);
    expect(problemCodeOf(await ask(address, getRequest('/get?key=key-1')))).toBe('no_version');
    writeFileSync(path, good);
    await untilReady();
    expect((await ask(address, getRequest('/get?key=key-1'))).body.toString()).toBe('value of key-1');
  });

  test('that finds nothing published is live but not ready, until something is', async () => {
    await startShard();
    expect((await ask(address, getRequest('/health/live'))).status).toBe(200);
    expect((await ask(address, getRequest('/health/ready'))).status).toBe(503);
    const early = await ask(address, getRequest('/get?key=key-1'));
    expect([early.status, problemCodeOf(early), early.headers.get('retry-after')]).toEqual([503, 'no_version', '1']);
    publishRecords(folder, records, { sliceCount });
    await untilReady();
    expect((await ask(address, getRequest('/get?key=key-1'))).body.toString()).toBe('value of key-1');
  });
});
