// The door of undici: how our processes ask each other, and an object store. Three ways: `HttpClient` for polls and tools, each over a connection
// apart from the data's; `BatchPool`, the few keep-alive sockets to one shard over which batches go; `TransferClient` for large bodies.
//
// undici's own timeouts cannot go below about a second: callers have deadlines of their own and let a late reply finish, since
// aborting a running request would cost its socket. A socket that stays silent for `socketSilentMs` is destroyed here.

import { Readable } from 'node:stream';
import { Agent, buildConnector, type Dispatcher, errors, Pool } from 'undici';
import { batchContentType } from './batch-wire.ts';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';

export type HttpReply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
};

/** A client for polls and tools; `close` ends its sockets. */
export class HttpClient {
  readonly #agent = new Agent({
    connections: 4,
    pipelining: 1,
    connect: { timeout: limits.connectTimeoutMs },
    keepAliveTimeout: limits.clientKeepAliveMs,
    keepAliveMaxTimeout: limits.clientKeepAliveMs,
  });

  /**
   * One request to `http://address/path`, ended at `deadlineMs`. Rejects with the system's error, or `reply_malformed` for a
   * body above `sizeMax` bytes.
   */
  async fetch(
    address: string,
    path: string,
    options: { deadlineMs: number; sizeMax: number; method?: 'GET' | 'POST'; body?: string; headers?: Record<string, string> },
  ): Promise<HttpReply> {
    const { statusCode, headers, body } = await this.#agent.request({
      origin: `http://${address}`,
      path,
      method: options.method ?? 'GET',
      ...(options.body === undefined ? {} : { body: options.body }),
      ...(options.headers ? { headers: options.headers } : {}),
      signal: AbortSignal.timeout(options.deadlineMs),
    });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > options.sizeMax)
        throw new PavostoreError('reply_malformed', `http://${address}${path}: more than ${options.sizeMax} bytes`);
      chunks.push(chunk);
    }
    return { status: statusCode, headers, body: Buffer.concat(chunks, size) };
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

export type TransferRequest = {
  readonly origin: string;
  readonly path: string;
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  /** In pieces, of `content-length` bytes in all. */
  readonly body?: AsyncIterable<Uint8Array> | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type TransferReply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Must be read to the end, or left by a `break`. */
  readonly body: AsyncIterable<Buffer>;
};

/** A client for large bodies, over http or https: a request may take hours, but its socket is never silent for `limits.storeSilentMs`. */
export class TransferClient {
  readonly #agent: Agent;

  constructor(connections: number) {
    this.#agent = new Agent({
      connections,
      pipelining: 1,
      // One stream a socket: what one of them loses, the others keep.
      allowH2: false,
      connect: { timeout: limits.storeConnectTimeoutMs },
      // Bodies go in pieces: with these undici counts the silence, not the time that all of it takes.
      headersTimeout: limits.storeSilentMs,
      bodyTimeout: limits.storeSilentMs,
      keepAliveTimeout: limits.storeKeepAliveMs,
      keepAliveMaxTimeout: limits.storeKeepAliveMs,
    });
  }

  /** Rejects with the system's error, or undici's. Redirects are answers like others. */
  async send({ origin, path, method, headers, body, signal }: TransferRequest): Promise<TransferReply> {
    const reply = await this.#agent.request({
      origin,
      path,
      method,
      headers,
      ...(body ? { body: Readable.from(body, { objectMode: false }) } : {}),
      ...(signal ? { signal } : {}),
    });
    return { status: reply.statusCode, headers: reply.headers, body: reply.body as AsyncIterable<Buffer> };
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

/**
 * Why a batch has no reply. `refused`: nobody listens, so nothing was written; `reset`: a connection that had served before ended without a
 * byte of this answer, as when its idle time was over just then; `broken`: any other end of a connection; `late`: silent; `wrong`: not an answer.
 */
export type BatchFailure = 'refused' | 'reset' | 'broken' | 'late' | 'wrong';

export type BatchCallbacks = {
  /** The whole body of a 200 of the right type. The bytes belong to the receiver. */
  readonly onReply: (body: Buffer) => void;
  readonly onFailure: (failure: BatchFailure) => void;
};

/** A batch on its way. */
export type SentBatch = {
  /** False as long as no byte of it has been given to a socket: the connection is still being made. */
  readonly isWritten: boolean;
};

/** The keep-alive sockets to one shard. Does not queue: the caller has at most `batchSocketsMax` batches under way. */
export class BatchPool {
  readonly #pool: Pool;

  constructor(address: string) {
    this.#pool = new Pool(`http://${address}`, {
      connections: batchSocketsMax,
      pipelining: 1,
      allowH2: false,
      connect: connectMarked,
      headersTimeout: limits.socketSilentMs,
      bodyTimeout: limits.socketSilentMs,
      keepAliveTimeout: limits.clientKeepAliveMs,
      keepAliveMaxTimeout: limits.clientKeepAliveMs,
    });
  }

  send(body: Buffer, callbacks: BatchCallbacks): SentBatch {
    const reply = new BatchReply(callbacks);
    this.#pool.dispatch({ path: '/batch', method: 'POST', headers: batchRequestHeaders, body }, reply);
    return reply;
  }

  /** Ends all sockets at once; batches under way fail. */
  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

const batchSocketsMax = limits.batchesInFlightMax + limits.probesInFlightMax;

const batchRequestHeaders = ['content-type', batchContentType];

const connect = buildConnector({ timeout: limits.connectTimeoutMs, noDelay: true });

/** An error of a socket tells how much it had read: undici says so of the ends that it finds itself only. */
const connectMarked: typeof connect = (options, callback) => {
  connect(options, (...[error, socket]: Parameters<typeof callback>) => {
    if (error) return callback(error, null);
    socket.prependListener('error', (failure: MarkedError) => {
      failure.bytesRead = socket.bytesRead;
    });
    callback(null, socket);
  });
};

type MarkedError = Error & { code?: string; bytesRead?: number };

/** The largest reply: full, but for one value that exceeds it, and the statuses of the rest. */
const replySizeMax = limits.batchReplySizeMax + limits.valueSizeMax + limits.batchKeysMax * 5 + 64;

/** Gathers one reply; exactly one of the callbacks is called. */
class BatchReply implements Dispatcher.DispatchHandler, SentBatch {
  readonly #callbacks: BatchCallbacks;
  isWritten = false;
  #hasBegun = false;
  #chunks: Buffer[] = [];
  #size = 0;
  #isAnswer = false;
  #done = false;

  constructor(callbacks: BatchCallbacks) {
    this.#callbacks = callbacks;
  }

  onRequestStart(): void {
    this.isWritten = true;
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    statusCode: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    this.#hasBegun = true;
    this.#isAnswer = statusCode === 200 && headers['content-type'] === batchContentType;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#size > replySizeMax) controller.abort(new PavostoreError('reply_malformed', `a batch reply above ${replySizeMax} bytes`));
    else if (this.#isAnswer) this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    if (this.#done) return;
    this.#done = true;
    if (!this.#isAnswer) this.#callbacks.onFailure('wrong');
    else this.#callbacks.onReply(this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks, this.#size));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#done) return;
    this.#done = true;
    const failure = failureOf(error);
    this.#callbacks.onFailure(failure === 'reset' && this.#hasBegun ? 'broken' : failure);
  }
}

function failureOf(error: MarkedError): BatchFailure {
  if (error instanceof PavostoreError || error instanceof errors.HTTPParserError) return 'wrong';
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError) return 'late';
  // Nobody said no: the machine is silent, or its network.
  if (error instanceof errors.ConnectTimeoutError) return 'late';
  if (isRefused(error)) return 'refused';
  const bytesRead = error instanceof errors.SocketError ? error.socket?.bytesRead : error.bytesRead;
  return bytesRead !== undefined && bytesRead > 0 ? 'reset' : 'broken';
}

/** True when nobody listens at the address, or it cannot be reached at all: nothing was sent. */
export function isRefused(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === 'ECONNREFUSED' || code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'ENOTFOUND';
}
