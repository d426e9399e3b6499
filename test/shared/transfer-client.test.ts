import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import { TransferClient, type TransferRequest } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { waiting } from '../cluster/cluster-harness.ts';

const MiB = 1024 * 1024;

/** A server that gives `/long` 8 MiB, `/short` 3 bytes, `/never` no answer, and anything else what it was sent. */
async function startServer() {
  const unanswered: ServerResponse[] = [];
  let sockets = 0;
  const server = createServer(async (request, response) => {
    if (request.url === '/never') return void unanswered.push(response);
    const body = request.url === '/long' ? Buffer.alloc(8 * MiB) : request.url === '/short' ? Buffer.from('abc') : await buffer(request);
    response.setHeader('content-length', body.length).end(body);
  });
  server.on('connection', () => sockets++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new TransferClient(1);
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const send = async (path: string, more: Partial<TransferRequest> = {}) =>
    await client.send({ origin, path, method: 'GET', headers: {}, ...more });
  return { send, unanswered, sockets: () => sockets };
}

async function sizeOf({ body }: { readonly body: AsyncIterable<Buffer> }): Promise<number> {
  let size = 0;
  for await (const piece of body) size += piece.length;
  return size;
}

test('a request that gets no socket, or no answer, fails after a while; what it waited for goes on', async () => {
  const { send, unanswered } = await startServer();
  const long = await send('/long');
  const answerMs = vi.spyOn(limits, 'storeAnswerMs', 'get').mockReturnValue(50 as 60_000);
  onTestFinished(() => answerMs.mockRestore());
  // Nobody reads the one answer: the only socket is taken.
  await expect(send('/short')).rejects.toMatchObject({
    code: 'UND_ERR_HEADERS_TIMEOUT',
    message: expect.stringMatching(/^GET http:.*\/short: no socket/),
  });
  expect(await sizeOf(long)).toBe(8 * MiB);
  // Long enough for the request to arrive, however busy the machine is.
  answerMs.mockReturnValue(3_000 as 60_000);
  await expect(send('/never')).rejects.toMatchObject({ code: 'UND_ERR_HEADERS_TIMEOUT' });
  expect(unanswered).toHaveLength(1);
  answerMs.mockRestore();
  expect(await sizeOf(await send('/short'))).toBe(3);
});

test('a body that is taken slowly is no silence', async () => {
  const { send } = await startServer();
  const answerMs = vi.spyOn(limits, 'storeAnswerMs', 'get').mockReturnValue(1_000 as 60_000);
  onTestFinished(() => answerMs.mockRestore());
  const startedMs = performance.now();
  async function* pieces(): AsyncGenerator<Buffer> {
    while (performance.now() - startedMs < 1_500) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      yield Buffer.alloc(10);
    }
  }
  const reply = await send('/echo', { method: 'PUT', body: pieces() });
  expect([reply.status, (await sizeOf(reply)) > 10]).toEqual([200, true]);
});

test('an answer that is discarded, or left by a break, gives its socket back; a short one can be used again', async () => {
  const { send, sockets } = await startServer();
  (await send('/short')).discard();
  expect(await sizeOf(await send('/short'))).toBe(3);
  expect(sockets()).toBe(1);
  (await send('/long')).discard();
  for await (const _ of (await send('/long')).body) break;
  await vi.waitFor(async () => expect(await sizeOf(await send('/short'))).toBe(3), waiting);
  expect(sockets()).toBe(3);
});
