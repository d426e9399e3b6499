// The HTTP server of a router: the whole contract with clients. `/get` is answered ahead of fastify's routing; all else is
// plain routes.

import { PavostoreError } from '../shared/errors.ts';
import { createHttpServer, type HttpReply, type HttpServer } from '../shared/http-server.ts';
import { parseKeys } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import { bodyOf } from '../shared/outgoing.ts';
import { holdUntilSent, type OwedMemory } from '../shared/owed-memory.ts';
import type { PostExchange } from '../shared/plain-connection.ts';
import type { Admission } from './admission.ts';
import { answerGet } from './get-route.ts';
import { type KeyRanges, packKeys } from './key-ranges.ts';
import type { LookupEngine } from './lookup-engine.ts';
import { checkKeyCount, readMgetBody } from './mget-keys.ts';
import { answerMget, type MgetResponse } from './mget-route.ts';
import type { RoutedVersion } from './routed-version.ts';

/** What the server reads of its router. */
export type RouterView = {
  readonly engine: LookupEngine;
  readonly admission: Admission;
  /** What is served now: a request keeps the one that it was admitted with. */
  readonly version: RoutedVersion | undefined;
  readonly isReady: boolean;
  readonly status: () => Readonly<Record<string, unknown>>;
};

const methodsOf = {
  '/get': ['GET', 'HEAD'],
  '/mget': ['GET', 'HEAD', 'POST'],
  '/status': ['GET', 'HEAD'],
  '/health/live': ['GET', 'HEAD'],
  '/health/ready': ['GET', 'HEAD'],
};

/** A server that does not listen yet. */
export function buildRouterServer(router: RouterView, options: { logLevel: string; goodbyeMs?: number }): HttpServer {
  const { owed } = router.admission;
  const server = createHttpServer({
    name: 'router',
    ...options,
    methodsOf,
    owed,
    answerGet: (target, exchange) => answerGet(router, target, exchange),
    postRoutes: new Map([
      [
        '/mget',
        {
          contentType: 'application/json',
          sizeMax: limits.mgetBodySizeMax,
          answer: (body, exchange) => void answerPlainMget(body, exchange),
        },
      ],
    ]),
  });

  // Parsed here, not by fastify: malformed UTF-8 and lone surrogates are errors of the client, never replaced silently.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  const answerKeys = async (keys: KeyRanges): Promise<MgetResponse> => {
    const { version } = router;
    if (!version) throw new PavostoreError('no_version', 'No version of the data is being served yet');
    return await answerMget(router, version, keys);
  };
  /** Before the keys are read: to refuse them one by one would cost more than to answer some. */
  const checkRoom = (): void => {
    if (!router.admission.refusesMget()) return;
    throw new PavostoreError('overloaded', 'Too many keys are waiting');
  };
  const answerBody = async (body: Buffer): Promise<MgetResponse> => {
    checkRoom();
    return await answerKeys(readMgetBody(body));
  };
  const answerPlainMget = async (body: Buffer, exchange: PostExchange): Promise<void> => {
    try {
      const answer = await answerBody(body);
      exchange.sendBody(`Content-Type: application/json; charset=utf-8\r\nPavostore-Version: ${answer.versionId}\r\n`, answer.body);
      owed.drop(answer.body.buffer.bytes.buffer);
    } catch (error) {
      const isKnown = error instanceof PavostoreError;
      if (!isKnown) server.log.error({ err: error }, 'unexpected error in a request');
      exchange.sendProblem(isKnown ? error.code : 'internal', undefined, isKnown ? error.message : undefined);
    }
  };
  server.post('/mget', async (request, reply) => {
    if (!Buffer.isBuffer(request.body))
      throw new PavostoreError('media_type_unsupported', 'Send the keys as application/json: {"keys":["a","b"]}');
    return sendMget(owed, reply, await answerBody(request.body));
  });
  server.get('/mget', async (request, reply) => {
    checkRoom();
    const keys = parseKeys(request.raw.url ?? '');
    if (!Array.isArray(keys)) throw new PavostoreError(keys.code, `The query is not like /mget?key=a&key=b: ${keys.code}`);
    checkKeyCount(keys.length);
    const answer = await answerKeys(packKeys(keys));
    return sendMget(owed, reply, answer);
  });

  server.get('/status', (_request, reply) => reply.header('cache-control', 'no-store').send(router.status()));
  server.get('/health/live', (_request, reply) => reply.send({ status: 'live' }));
  server.get('/health/ready', (_request, reply) =>
    reply.code(router.isReady ? 200 : 503).send({ status: router.isReady ? 'ready' : 'not ready' }),
  );
  return server;
}

function sendMget(owed: OwedMemory, reply: HttpReply, { versionId, body }: MgetResponse): HttpReply {
  const memory = body.buffer.bytes.buffer;
  holdUntilSent(owed, reply.raw, memory);
  owed.drop(memory);
  return reply.header('pavostore-version', versionId).type('application/json; charset=utf-8').send(bodyOf(body));
}
