// The door of undici: how our processes ask each other, and an object store. Three ways: `HttpClient` for polls and tools, over connections
// apart from the data's; `TransferClient` for large bodies; and the connections of batch-pool.ts, over which batches go.

import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { Agent, buildConnector, type Dispatcher, errors } from 'undici';
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
  /** Must be read to the end, left by a `break`, or discarded: one that nobody reads keeps its socket for ever. */
  readonly body: AsyncIterable<Buffer>;
  /** Gives the socket back without reading the body. */
  readonly discard: () => void;
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

  /** Rejects with the system's error, or undici's, at the latest after `limits.storeAnswerMs` in which nothing went on. Redirects are answers like others. */
  async send({ origin, path, method, headers, body, signal }: TransferRequest): Promise<TransferReply> {
    const patience = new Patience(`${method} ${origin}${path}`);
    const answering = this.#agent.request({
      origin,
      path,
      method,
      headers,
      ...(body ? { body: Readable.from(patience.watch(body), { objectMode: false }) } : {}),
      signal: signal ? AbortSignal.any([signal, patience.signal]) : patience.signal,
    });
    try {
      // A request that waits for a socket does not listen to its signal.
      const reply = await Promise.race([answering, patience.end]);
      return { status: reply.statusCode, headers: reply.headers, body: reply.body as AsyncIterable<Buffer>, discard: () => discard(reply) };
    } catch (error) {
      answering.then(discard, () => {});
      throw error;
    } finally {
      patience.close();
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

function discard({ body }: Dispatcher.ResponseData): void {
  void body.dump({ limit: limits.storeRestSizeMax });
}

/** Ends a request on which nothing goes on for `limits.storeAnswerMs`. Owns its timer until `close`. */
class Patience {
  /** Rejects when it is at its end. */
  readonly end: Promise<never>;
  readonly #what: string;
  readonly #controller = new AbortController();
  readonly #reject: (error: Error) => void;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(what: string) {
    this.#what = what;
    const { promise, reject } = Promise.withResolvers<never>();
    this.end = promise;
    this.#reject = reject;
    this.#begin();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The pieces as they are; with each that is taken the time begins anew. */
  async *watch(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      this.#begin();
      yield piece;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #begin(): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => this.#lose(), limits.storeAnswerMs);
  }

  #lose(): void {
    const error = new errors.HeadersTimeoutError(`${this.#what}: no socket was free, or no answer came, for ${limits.storeAnswerMs} ms`);
    this.#controller.abort(error);
    this.#reject(error);
  }
}

/** Opens one more connection to one address. */
export type Connector = (callback: (error: Error | null, socket: Socket | null) => void) => void;

const connect = buildConnector({ timeout: limits.connectTimeoutMs, noDelay: true });

/** Connections to `host:port`, for what is neither a request nor a reply of undici's (batch-pool.ts). */
export function openConnector(address: string): Connector {
  const { hostname, port, host } = new URL(`http://${address}`);
  return (callback) =>
    connect({ hostname, host, port, protocol: 'http:' }, (...[error, socket]: Parameters<Parameters<typeof connect>[1]>) =>
      callback(error, socket),
    );
}

/** True when a connection was neither made nor refused in time. */
export function isConnectTimeout(error: unknown): boolean {
  return error instanceof errors.ConnectTimeoutError;
}

/** True when nobody listens at the address, or it cannot be reached at all: nothing was sent. */
export function isRefused(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === 'ECONNREFUSED' || code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'ENOTFOUND';
}
