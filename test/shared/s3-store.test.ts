import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { openPlace } from '../../shared/place.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import { account, accountEnv, bucket, makeRoot, openS3, partSize, startS3 } from '../object-store/places.ts';
import type { S3Fate, S3Seen } from '../object-store/s3-server.ts';

const prefix = 'some/prefix/';

function makeFile(size: number): { path: string; bytes: Buffer } {
  const path = join(makeRoot(), 'file');
  const bytes = randomBytes(size);
  writeFileSync(path, bytes);
  return { path, bytes };
}

async function readWhole(store: ObjectStore, name: string): Promise<Buffer> {
  return await buffer((await store.readObject(name))!.chunks);
}

const isPart = ({ method, query }: S3Seen): boolean => method === 'PUT' && query.has('partNumber');

describe('a request that fails', () => {
  test('for a reason that may pass is made again', async () => {
    const fates: S3Fate[] = [
      'reset',
      { status: 503, code: 'SlowDown' },
      { status: 500, code: 'InternalError' },
      { status: 400, code: 'RequestTimeout' },
    ];
    const server = await startS3({ onRequest: () => fates.shift() });
    const store = openS3(server);
    const { path, bytes } = makeFile(1_000);
    await store.writeFile('x', path);
    fates.push({ status: 429, code: 'TooManyRequests' }, 'reset');
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
  });

  test('again and again ends as `store_unreachable`, which names the request and the reason', async () => {
    // On a port that nobody else gets once it is free.
    const server = await startS3({ port: nextPorts(1), onRequest: () => ({ status: 503, code: 'SlowDown', message: 'too fast' }) });
    await expect(openS3(server).findObject('x')).rejects.toMatchObject({
      code: 'store_unreachable',
      message: `HEAD ${server.endpoint}/${bucket}/${prefix}x: 503 (tried ${limits.storeTriesMax} times)`,
    });
    await expect(openS3(server).readObject('x')).rejects.toMatchObject({
      message: expect.stringContaining('503 SlowDown too fast (tried'),
    });
    expect(server.requests).toHaveLength(2 * limits.storeTriesMax);
    const store = openS3(server);
    await server.close();
    await expect(store.readObject('x')).rejects.toMatchObject({
      code: 'store_unreachable',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('because the store says no is not made again', async () => {
    const server = await startS3({ region: 'eu-west-1' });
    const ask = async (options: Parameters<typeof openS3>[1], place?: string): Promise<unknown> =>
      await openS3(server, { region: 'eu-west-1', ...options }, place)
        .readObject('x')
        .catch((error: unknown) => error);
    const refused = (message: string): unknown =>
      expect.objectContaining({ code: 'store_refused', message: expect.stringContaining(message) });
    expect(await ask({}, 's3://no-such-bucket/x')).toEqual(refused('404 NoSuchBucket'));
    expect(await ask({ region: 'us-east-1' })).toEqual(refused("expecting 'eu-west-1'"));
    expect(await ask({ env: { ...accountEnv, AWS_SECRET_ACCESS_KEY: 'wrong' } })).toEqual(refused('403 SignatureDoesNotMatch'));
    expect(await ask({ env: { ...accountEnv, AWS_ACCESS_KEY_ID: 'nobody' } })).toEqual(refused('403 InvalidAccessKeyId'));
    expect(server.requests).toHaveLength(4);
    const store = openS3(server, { region: 'eu-west-1' });
    for (let tries = 0; tries < 10; tries++) expect(await store.readObject('x')).toBeUndefined();
  });

  test('because it speaks no TLS, or has no name, is `store_unreachable`', async () => {
    const server = await startS3();
    for (const endpoint of [server.endpoint.replace('http:', 'https:'), 'http://nobody.invalid'])
      await expect(openS3(server, { endpoint }).findObject('x')).rejects.toMatchObject({ code: 'store_unreachable' });
  });

  test('tells no secret, not even one that the store repeats', async () => {
    const { secretAccessKey, sessionToken } = account;
    const message = `your key ${secretAccessKey} with ${sessionToken}`;
    const server = await startS3({ onRequest: () => ({ status: 403, code: 'AccessDenied', message }) });
    const store = openS3(server);
    const error = await store
      .findObject('x')
      .then(() => store.readObject('x'))
      .catch((failure: unknown) => failure);
    const again = await store.readObject('x').catch((failure: unknown) => failure);
    expect((again as Error).message).toContain('your key … with …');
    for (const shown of [inspect(error, { depth: 9 }), inspect(again, { depth: 9 }), inspect(store, { depth: 9 }), JSON.stringify(store)]) {
      expect(shown).not.toContain(secretAccessKey);
      expect(shown).not.toContain(sessionToken);
    }
  });
});

describe('credentials in a file', () => {
  test('that somebody renews are read again when the old ones are refused', async () => {
    const path = join(makeRoot(), 'credentials');
    const write = (token: string): void =>
      writeFileSync(
        path,
        `[default]\naws_access_key_id = ${account.accessKeyId}\naws_secret_access_key=${account.secretAccessKey}\naws_session_token= ${token}\n`,
      );
    write('an old token');
    const server = await startS3();
    const store = openS3(server, { credentialsPath: path, env: {} });
    await expect(store.readObject('x')).rejects.toMatchObject({ code: 'store_refused' });
    write(account.sessionToken);
    expect(await store.readObject('x')).toBeUndefined();
  });
});

describe('a body that breaks off', () => {
  test('is taken up where it broke', async () => {
    let cuts = 3;
    const server = await startS3({
      onRequest: ({ method, key }) => (method === 'GET' && key !== '' && cuts-- > 0 ? { cutAfter: 10 * partSize } : undefined),
    });
    const store = openS3(server);
    const { path, bytes } = makeFile(50 * partSize);
    await store.writeFile('x', path);
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
    expect(cuts).toBe(-1);
  });

  test('is an error when the object was replaced meanwhile', async () => {
    const path = makeFile(10 * partSize).path;
    let isCut = true;
    const server = await startS3({
      onRequest: async ({ method, key, headers }) => {
        if (method !== 'GET' || key === '') return undefined;
        // Another object under the same name, before the rest is asked for.
        if (headers.range !== undefined) await openS3(server).writeFile('x', makeFile(10 * partSize).path);
        const fate = isCut ? { cutAfter: 1_000 } : undefined;
        isCut = false;
        return fate;
      },
    });
    const store = openS3(server);
    await store.writeFile('x', path);
    await expect(readWhole(store, 'x')).rejects.toMatchObject({ code: 'object_corrupt', message: expect.stringContaining('replaced') });
  });

  test('is the same error in a store that gives no tags, and its socket is given back', async () => {
    const { createServer } = await import('node:http');
    const size = 10_000_000;
    const server = createServer(({ headers }, response) => {
      const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1]);
      if (headers.range === undefined)
        return response.setHeader('content-length', size).write(Buffer.alloc(1_000), () => response.socket!.resetAndDestroy());
      // The range that is asked for ends with the object that was there before.
      const length = size - from;
      const range = `bytes ${from}-${size - 1}/${size + 1}`;
      return response.writeHead(206, { 'content-range': range, 'content-length': length }).end(Buffer.alloc(length));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const store = openPlace(`s3://${bucket}`, { endpoint: `http://127.0.0.1:${port}`, env: accountEnv, retryDelayMs: 1, parallel: 1 });
    for (let tries = 0; tries < 10; tries++)
      await expect(readWhole(store, 'x')).rejects.toMatchObject({ code: 'object_corrupt', message: expect.stringContaining('replaced') });
    await store.close();
    server.close();
  });

  test.for([
    ['a range that was not asked for', { 'content-range': 'bytes 0-9/100' }],
    ['no range at all', {}],
  ] as const)('is refused with %s', async ([, headers]) => {
    const { createServer } = await import('node:http');
    const server = createServer((_request, response) =>
      response.writeHead(206, { ...headers, 'content-length': '1000000' }).end('0123456789'.repeat(100_000)),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const store = openPlace(`s3://${bucket}`, { endpoint: `http://127.0.0.1:${port}`, env: accountEnv, retryDelayMs: 1 });
    // More often than there are sockets: each one is given back.
    for (let tries = 0; tries < 10; tries++)
      await expect(store.readObject('x', { from: 10 })).rejects.toMatchObject({ code: 'reply_malformed' });
    await store.close();
    server.close();
  });
});

describe('an upload in parts', () => {
  const size = 20 * partSize + 1;

  test('that ended in the middle goes on by what the store lists, from another process as well', async () => {
    let isDown = false;
    let parts = 0;
    const server = await startS3({
      pageSize: 3,
      onRequest: (seen) => {
        if (isPart(seen) && ++parts > 12) isDown = true;
        return isDown ? { status: 503, code: 'SlowDown' } : undefined;
      },
    });
    const { path, bytes } = makeFile(size);
    await expect(openS3(server).writeFile('x', path)).rejects.toMatchObject({ code: 'store_unreachable' });
    expect(
      await openS3(server)
        .findObject('x')
        .catch(() => undefined),
    ).toBeUndefined();
    isDown = false;
    parts = -100;
    const before = server.bytesIn;
    let stored = 0;
    const store = openS3(server);
    await store.writeFile('x', path, { onStored: (count) => (stored += count) });
    expect(stored).toBe(size);
    // A dozen parts were there before the store went down.
    expect(server.bytesIn - before).toBeLessThan(size - 11 * partSize + 10_000);
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
    expect(server.uploadIds()).toEqual([]);
  });

  test('does not trust parts of other bytes or another size', async () => {
    let isDown = false;
    const server = await startS3({
      onRequest: ({ method, query }) =>
        isDown && method === 'POST' && query.has('uploadId') ? { status: 403, code: 'AccessDenied' } : undefined,
    });
    isDown = true;
    const other = makeFile(size);
    await expect(openS3(server).writeFile('x', other.path)).rejects.toMatchObject({ code: 'store_refused' });
    expect(server.uploadIds()).toHaveLength(1);
    isDown = false;
    const { path, bytes } = makeFile(size - 100);
    const store = openS3(server);
    await store.writeFile('x', path);
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
    expect(server.uploadIds()).toEqual([]);
  });

  test('is done when its end was completed, but the answer was lost', async () => {
    let lost = 0;
    const server = await startS3({
      onRequest: async (seen) => {
        if (seen.method !== 'POST' || !seen.query.has('uploadId') || lost++ > 0) return undefined;
        // The store did it, and its answer does not arrive.
        const upload = server.uploadIds()[0]!;
        await completeBehind(upload);
        return 'reset';
      },
    });
    const { path, bytes } = makeFile(size);
    const completeBehind = async (upload: string): Promise<void> => {
      const target = server.objectPath(bucket, `${prefix}x`);
      cpSync(path, target);
      writeFileSync(`${target}.etag`, '"by-parts"');
      rmSync(join(server.root, 'uploads', upload), { recursive: true });
    };
    const store = openS3(server);
    await store.writeFile('x', path);
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
  });

  test.for([403, 501])('does without the lists that a store does not give (%i)', async (status) => {
    const server = await startS3({
      onRequest: ({ key, query }) => (key === '' && query.has('uploads') ? { status, code: 'NotGiven' } : undefined),
    });
    const { path, bytes } = makeFile(size);
    const store = openS3(server);
    await store.writeFile('x', path);
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
  });

  test('that somebody takes away is begun again', async () => {
    let parts = 0;
    const server = await startS3({
      onRequest: (seen) => {
        if (isPart(seen) && ++parts === 10) rmSync(join(server.root, 'uploads', seen.query.get('uploadId')!), { recursive: true });
        return undefined;
      },
    });
    const { path, bytes } = makeFile(size);
    const store = openS3(server);
    await store.writeFile('x', path);
    expect((await readWhole(store, 'x')).equals(bytes)).toBe(true);
  });

  test('by two processes at once gives one object', async () => {
    const server = await startS3();
    const { path, bytes } = makeFile(size);
    const [a, b] = [openS3(server), openS3(server)];
    await Promise.all([a.writeFile('x', path), b.writeFile('x', path)]);
    expect((await readWhole(a, 'x')).equals(bytes)).toBe(true);
  });
});

describe('a place', () => {
  test.for([
    ['', {}, 'not an empty text'],
    ['s3://', {}, 'no place'],
    ['s3://UPPER/x', {}, 'no place'],
    ['https://host/bucket', {}, 'no place'],
    ['s3://key:secret@bucket/x', {}, 's3://…@bucket'],
    ['s3://bucket/a/../b', {}, 'a prefix is'],
    ['s3://bucket/a//b', {}, 'a prefix is'],
    ['s3://bucket/%41', {}, 'a prefix is'],
    ['folder', { endpoint: 'http://host' }, '--endpoint is for s3'],
    ['s3://bucket', { endpoint: 'ftp://host' }, 'http://HOST:PORT'],
    ['s3://bucket', { endpoint: 'http://key:secret@host' }, 'never from a URL'],
    ['s3://bucket', { endpoint: 'http://host/path' }, 'not supported'],
    ['s3://bucket', { region: 'a/b' }, 'region "a/b"'],
    ['s3://bucket', { env: { HOME: '/nowhere' } }, 'no credentials'],
    ['s3://bucket', { credentialsPath: '/nowhere/credentials' }, '/nowhere/credentials'],
  ] as const)('%s with %j is wrong usage', ([place, options, said]) => {
    let message = '';
    try {
      openPlace(place, { env: accountEnv, ...options });
    } catch (error) {
      expect(error).toMatchObject({ code: 'usage' });
      ({ message } = error as Error);
    }
    expect(message).toContain(said);
    expect(message).not.toContain('secret');
  });

  test('that is a folder says what the system refuses', async () => {
    const root = makeRoot();
    writeFileSync(join(root, 'file'), '');
    await expect(openPlace(join(root, 'file', 'x')).writeSmallObject('y', Buffer.alloc(1))).rejects.toMatchObject({
      code: 'store_unreachable',
    });
    mkdirSync(join(root, 'slices'));
    await expect(openPlace(root).findObject('slices')).rejects.toMatchObject({ code: 'object_corrupt' });
  });
});
