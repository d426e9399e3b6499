// The HTTP server of a shard: `POST /batch` for routers and `GET /get` for people by the fast path, status and health as
// plain routes. It answers from `ShardView`, which the shard keeps up to date, and changes nothing.

import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type BatchRequest,
  type BatchStatus,
  batchContentType,
  batchStatus,
  readBatchReply,
  readBatchRequest,
} from '../shared/batch-wire.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { GetExchange } from '../shared/get-response.ts';
import { createHttpServer, type HttpServer } from '../shared/http-server.ts';
import { parseGetKey } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import { bodyOf, giveBuffer, type Outgoing } from '../shared/outgoing.ts';
import type { PostExchange } from '../shared/plain-connection.ts';
import { sendProblem } from '../shared/problem-response.ts';
import type { StatusReport } from '../shared/status-report.ts';
import { parseVersionUse, type VersionUse, versionUseHeader } from '../shared/version-use.ts';
import { type AnswerCounts, answerBatch } from './batch-answer.ts';
import { DiskBatch } from './disk-batch.ts';
import type { HeldVersion } from './held-version.ts';
import type { SliceServer } from './slice-server.ts';

/** What the server reads of its shard. */
export type ShardView = {
  readonly name: string;
  /** Newest first; at most two. */
  readonly versions: readonly HeldVersion[];
  /** The one that is served, as far as it is known here. */
  readonly serving: HeldVersion | undefined;
  /** A router says which versions it uses. */
  readonly polled: (use: VersionUse) => void;
  /** A batch asks for the version. */
  readonly asked: (version: HeldVersion) => void;
  readonly isReady: boolean;
  readonly counts: AnswerCounts;
  /** Gives manifests and slices to other shards. */
  readonly slices: Pick<SliceServer, 'answer'>;
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
    answerGet: (target, exchange) => answerGet(shard, target, exchange),
    fastPath: (request, response, target) => {
      if (request.method !== 'POST' || target !== '/batch') return shard.slices.answer(request, response, target);
      receiveBatch(shard, request, response);
      return true;
    },
    postRoutes: new Map([
      [
        '/batch',
        {
          contentType: batchContentType,
          sizeMax: limits.batchRequestSizeMax,
          answer: (body, exchange) => answerPlainBatch(shard, body, exchange),
        },
      ],
    ]),
  });
  server.get('/status', (request, reply) => {
    const use = parseVersionUse(request.headers[versionUseHeader]);
    // Before the answer: what that shows as kept may be asked for until the next poll.
    if (use) shard.polled(use);
    return reply.header('cache-control', 'no-store').send(shard.status());
  });
  server.get('/health/live', (_request, reply) => reply.send({ status: 'live' }));
  server.get('/health/ready', (_request, reply) =>
    reply.code(shard.isReady ? 200 : 503).send({ status: shard.isReady ? 'ready' : 'not ready' }),
  );
  return server;
}

function answerGet(shard: ShardView, target: string, exchange: GetExchange): void {
  const key = parseGetKey(target);
  if (typeof key !== 'string') return exchange.sendProblem(key.code);
  const version = shard.serving;
  if (!version) return exchange.sendProblem('no_version');
  const bytes = Buffer.from(key, 'latin1');
  // A batch of one: its reply holds one status, and the value.
  const batch = { versionId: version.idBytes, count: 1, keyStarts: Uint32Array.of(0, bytes.length + 2), bytes };
  answerFrom(shard, version, batch, (reply) => {
    const body = bodyOf(reply);
    readBatchReply(body, (_, status, start, end) => {
      if (status === batchStatus.found) exchange.sendValue(version.headers, valueIn(body, start, end));
      else exchange.sendProblem(problemOfStatus(status), version.headers);
      // Of a small value, what left was a copy.
      if (end - start <= limits.oneWriteSizeMax) giveBuffer(reply.buffer);
    });
  });
}

/** Small values as one string, which leaves with its header in one write; large ones as a view. */
function valueIn(bytes: Buffer, start: number, end: number): string | Buffer {
  return end - start <= limits.oneWriteSizeMax ? bytes.toString('latin1', start, end) : bytes.subarray(start, end);
}

function problemOfStatus(status: BatchStatus): ErrorCode {
  if (status === batchStatus.missing) return 'key_not_found';
  if (status === batchStatus.loading) return 'slice_loading';
  if (status === batchStatus.deferred) return 'overloaded';
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
  if (!request) return sendProblem(response, 'body_malformed', { detail: noBatch });
  answerFrom(shard, askedVersion(shard, request), request, (reply) => {
    const bytes = bodyOf(reply);
    response.writeHead(200, ['Content-Type', batchContentType, 'Content-Length', String(bytes.length)]);
    response.end(bytes);
  });
}

function answerPlainBatch(shard: ShardView, body: Buffer, exchange: PostExchange): void {
  const request = readBatchRequest(body);
  if (!request) return exchange.sendProblem('body_malformed', undefined, noBatch);
  answerFrom(shard, askedVersion(shard, request), request, (reply) => exchange.sendBody(batchReplyFields, reply));
}

const noBatch = 'The body is not a batch of wire format 1';
const batchReplyFields = `Content-Type: ${batchContentType}\r\n`;

/** The version that the batch is of, which is in use from now on. */
function askedVersion(shard: ShardView, { versionId }: BatchRequest): HeldVersion | undefined {
  const version = shard.versions.find(({ idBytes }) => idBytes.equals(versionId));
  if (version) shard.asked(version);
  return version;
}

/** Calls back at once when no disk is involved. */
function answerFrom(shard: ShardView, version: HeldVersion | undefined, request: BatchRequest, onReply: (reply: Outgoing) => void): void {
  if (version?.disk) new DiskBatch(version.disk, request, shard.counts, onReply).answer(version);
  else onReply(answerBatch(version, request, shard.counts));
}
