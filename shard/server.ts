// The HTTP server of a shard: `POST /batch` for routers and `GET /get` for people by the fast path, status and health as
// plain routes. It answers from `ShardView`, which the shard keeps up to date, and changes nothing.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { batchContentType, batchStatus, readBatchRequest } from '../shared/batch-wire.ts';
import type { ErrorCode } from '../shared/errors.ts';
import { sendValue } from '../shared/get-response.ts';
import { createHttpServer, type HttpServer, sendProblem } from '../shared/http-server.ts';
import { parseGetKey } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import type { Match } from '../shared/slice-layout.ts';
import type { StatusReport } from '../shared/status-report.ts';
import { type AnswerCounts, answerBatch, lookUp } from './batch-answer.ts';
import type { HeldVersion } from './held-version.ts';

/** What the server reads of its shard. */
export type ShardView = {
  readonly name: string;
  /** Newest first; at most two. */
  readonly versions: readonly HeldVersion[];
  readonly isReady: boolean;
  readonly counts: AnswerCounts;
  readonly status: () => StatusReport & Readonly<Record<string, unknown>>;
};

const methodsOf = {
  '/get': ['GET', 'HEAD'],
  '/batch': ['POST'],
  '/status': ['GET', 'HEAD'],
  '/health/live': ['GET', 'HEAD'],
  '/health/ready': ['GET', 'HEAD'],
};

/** A server that does not listen yet. */
export function buildShardServer(shard: ShardView, options: { logLevel: string }): HttpServer {
  const server = createHttpServer({
    name: `shard ${shard.name}`,
    logLevel: options.logLevel,
    methodsOf,
    fastPath: (request, response, target) => {
      if (request.method === 'POST' && target === '/batch') receiveBatch(shard, request, response);
      else if (
        target.startsWith('/get') &&
        (target.length === 4 || target[4] === '?') &&
        (request.method === 'GET' || request.method === 'HEAD')
      ) {
        answerGet(shard, request, response, target);
      } else return false;
      return true;
    },
  });
  server.get('/status', (_request, reply) => reply.header('cache-control', 'no-store').send(shard.status()));
  server.get('/health/live', (_request, reply) => reply.send({ status: 'live' }));
  server.get('/health/ready', (_request, reply) =>
    reply.code(shard.isReady ? 200 : 503).send({ status: shard.isReady ? 'ready' : 'not ready' }),
  );
  return server;
}

function answerGet(shard: ShardView, request: IncomingMessage, response: ServerResponse, target: string): void {
  const key = parseGetKey(target);
  if (typeof key !== 'string') return sendProblem(response, key.code);
  const version = shard.versions[0];
  if (!version) return sendProblem(response, 'no_version');
  const keyBytes = Buffer.from(key, 'latin1');
  const match = { valueStart: 0, valueEnd: 0 };
  const { status, bytes } = lookUp(version, keyBytes, 0, keyBytes.length, match);
  if (bytes) sendValue(request, response, version.headers, valueIn(bytes, match));
  else sendProblem(response, problemOfStatus(status), { headers: version.headers.missing });
}

/** Small values as one string, which leaves with its header in one write; large ones as a view. */
function valueIn(bytes: Buffer, { valueStart, valueEnd }: Match): string | Buffer {
  return valueEnd - valueStart <= limits.oneWriteSizeMax
    ? bytes.toString('latin1', valueStart, valueEnd)
    : bytes.subarray(valueStart, valueEnd);
}

function problemOfStatus(status: number): ErrorCode {
  if (status === batchStatus.missing) return 'key_not_found';
  if (status === batchStatus.loading) return 'slice_loading';
  return status === batchStatus.corrupt ? 'slice_corrupt' : 'slice_not_held';
}

/** Gathers the body, bounded, and answers it. A request is usually one chunk. */
function receiveBatch(shard: ShardView, request: IncomingMessage, response: ServerResponse): void {
  if (request.headers['content-type'] !== batchContentType) {
    request.resume();
    return sendProblem(response, 'media_type_unsupported');
  }
  const chunks: Buffer[] = [];
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= limits.batchRequestSizeMax) chunks.push(chunk);
  });
  request.on('end', () => {
    if (size > limits.batchRequestSizeMax) return sendProblem(response, 'body_too_large');
    answerBatchRequest(shard, response, chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size));
  });
}

function answerBatchRequest(shard: ShardView, response: ServerResponse, body: Buffer): void {
  const request = readBatchRequest(body);
  if (!request) return sendProblem(response, 'body_malformed', { detail: 'The body is not a batch of wire format 1' });
  const version = shard.versions.find(({ idBytes }) => idBytes.equals(request.versionId));
  const reply = answerBatch(version, request, shard.counts);
  response.writeHead(200, ['Content-Type', batchContentType, 'Content-Length', String(reply.length)]);
  response.end(reply);
}
