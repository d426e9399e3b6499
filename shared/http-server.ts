// The door of fastify: how every HTTP server of ours is set up. Errors are RFC 9457 problems with a stable code, those of
// Node's own parser included; half-sent requests end in time; another method on a known path is 405, another path 404.
//
// A connection is read by a `PlainConnection` as long as plain requests come over it; all else is parsed by Node. `/get` and `fastPath` are
// answered ahead of fastify's routing: its hooks and reply would cost more than the answer itself. Everything else goes the plain way.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, LogController } from 'fastify';
import { type ErrorCode, errorTable, PavostoreError, problemContentType, problemOf } from './errors.ts';
import { type GetExchange, ResponseExchange } from './get-response.ts';
import { originFormOf, pathOf } from './key-query.ts';
import { limits } from './limits.ts';
import { isOwing, OwedMemory } from './owed-memory.ts';
import { ParsedConnections } from './parsed-connections.ts';
import { linger, PlainConnection, type PlainConnectionOwner, type PlainPostRoute } from './plain-connection.ts';
import { sendProblem } from './problem-response.ts';

export type HttpServer = FastifyInstance;
export type HttpReply = FastifyReply;

/** Answers the request and returns true, or leaves it untouched and returns false. Must not throw. */
export type FastPath = (request: IncomingMessage, response: ServerResponse, target: string) => boolean;

export type HttpServerOptions = {
  /** Stands in every log line: `router`, or `shard` and the member's name. */
  readonly name: string;
  readonly logLevel: string;
  /** Answers a GET or HEAD of `/get`. Must not throw. */
  readonly answerGet: (target: string, exchange: GetExchange) => void;
  readonly fastPath?: FastPath;
  /** By path: what answers plain POSTs there. Those that are not plain go the usual way. */
  readonly postRoutes?: ReadonlyMap<string, PlainPostRoute>;
  /** Of all its answers; by default they are counted and not bounded. */
  readonly owed?: OwedMemory;
  /** The methods of each path: of the plain routes, of `/get`, and of those that `fastPath` answers. */
  readonly methodsOf: Readonly<Record<string, readonly string[]>>;
  /** How long idle connections are kept when it closes: their clients may ask once more, to be told that the connection ends. Default 0. */
  readonly goodbyeMs?: number;
};

/** A fastify instance, not listening yet, so that tests can `inject`. Its log lines go to standard error as JSON. */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { name, logLevel, answerGet, fastPath, postRoutes = new Map<string, PlainPostRoute>(), methodsOf, goodbyeMs = 0 } = options;
  const { owed = new OwedMemory() } = options;
  let isClosing = false;
  const connections: Connections = { plain: new Set(), parsed: new ParsedConnections() };
  const server = Fastify({
    logger: { level: logLevel, name, stream: process.stderr },
    // One line a request would cost more than the request; errors are logged by the error handler below.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.mgetBodySizeMax,
    forceCloseConnections: 'idle',
    // While closing, requests on open connections are still answered: the drain is ours to time.
    return503OnClosing: false,
    exposeHeadRoutes: true,
    clientErrorHandler: answerClientError,
    routerOptions: { caseSensitive: true, ignoreTrailingSlash: false, ignoreDuplicateSlashes: false },
    serverFactory: (handler) => {
      const httpServer = createServer(
        {
          maxHeaderSize: limits.headerSizeMax,
          headersTimeout: limits.headersTimeoutMs,
          requestTimeout: limits.requestTimeoutMs,
          connectionsCheckingInterval: limits.connectionsCheckingIntervalMs,
          keepAliveTimeout: limits.serverKeepAliveMs,
          insecureHTTPParser: false,
          // Node's own refusal has no body: ours is below.
          requireHostHeader: false,
          noDelay: true,
        },
        (request, response) => {
          connections.parsed.began(request, response);
          const hosts = hostCountOf(request);
          if (hosts > 1 || (hosts === 0 && request.httpVersion === '1.1')) return refuseHosts(response, hosts);
          // We speak no other protocol; but Node's parser loses what the client has sent behind such a request, so it is the last one.
          if (isClosing || request.headers.upgrade !== undefined) response.shouldKeepAlive = false;
          const target = originFormOf(request.url ?? '/');
          const path = pathOf(target);
          if (path === '/get' && (request.method === 'GET' || request.method === 'HEAD')) {
            return answerGet(target, new ResponseExchange(request, response, owed));
          }
          if (fastPath?.(request, response, target)) return;
          const allowed = Object.hasOwn(methodsOf, path) ? methodsOf[path]! : undefined;
          if (allowed && !allowed.includes(request.method ?? '')) return refuseMethod(request, response, allowed);
          // No path of ours has an escape; fastify would decode it, and take another spelling of some paths but not of all.
          if (path.includes('%')) return sendProblem(response, 'route_not_found');
          request.url = target;
          handler(request, response);
        },
      );
      // An expectation that nobody knows may be ignored (RFC 9110, 10.1.1); Node would answer 417 without a body.
      httpServer.on('checkExpectation', (request, response) => httpServer.emit('request', request, response));
      // Fastify and Node each call this as soon as it closes: when connections end is decided below.
      httpServer.closeIdleConnections = () => {};
      // Node itself would keep a client that takes nothing for ever.
      httpServer.timeout = limits.serverKeepAliveMs + limits.serverKeepAliveSlackMs;
      httpServer.on('timeout', (socket) => {
        if (isOwing(socket)) owed.stalledCount++;
        socket.destroy();
      });
      readPlainRequests(httpServer, { answerGet, postRoutes, owed, isClosing: () => isClosing, connections });
      return httpServer;
    },
  });
  server.addHook('preClose', (done) => {
    isClosing = true;
    drain(server.server, { connections, goodbyeMs });
    done();
  });
  server.setNotFoundHandler((_request, reply) => {
    reply.hijack();
    sendProblem(reply.raw, 'route_not_found');
  });
  server.setErrorHandler((error: FastifyError | Error, request, reply) => {
    reply.hijack();
    const code = codeOfError(error);
    if (code === 'internal') request.log.error({ err: error }, 'unexpected error in a request');
    sendProblem(reply.raw, code, { detail: code === 'internal' ? errorTable.internal.title : error.message });
  });
  return server;
}

/** Starts to listen; returns the port. Throws `port_in_use`. */
export async function listen(server: HttpServer, host: string, port: number): Promise<number> {
  try {
    await server.listen({ host, port, backlog: 4096 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new PavostoreError('port_in_use', `${host}:${port} is taken by another process; give another --port`, { cause: error });
    if (code !== undefined)
      throw new PavostoreError('address_unavailable', `${host}:${port}: ${(error as Error).message}; give another --host or --port`, {
        cause: error,
      });
    throw error;
  }
  return (server.server.address() as { port: number }).port;
}

type Connections = { readonly plain: Set<PlainConnection>; readonly parsed: ParsedConnections };

/**
 * Ends the connections of a server that closes, each with the answer that it is owed: one that was busy just then would be kept as long as its
 * client goes on asking; and one with half a request for ever, since a closing server measures no times any more.
 */
function drain(server: Server, { connections, goodbyeMs }: { readonly connections: Connections; readonly goodbyeMs: number }): void {
  const { plain, parsed } = connections;
  if (!server.listening) return;
  const startedMs = performance.now();
  parsed.endWithAnswers();
  const look = (): void => {
    const tookMs = performance.now() - startedMs;
    if (tookMs < goodbyeMs) return;
    const isLate = tookMs >= limits.drainMs;
    if (isLate) server.closeAllConnections();
    else parsed.endIdle();
    for (const connection of plain) if (isLate || connection.isIdle) connection.destroy();
  };
  look();
  const timer = setInterval(look, limits.drainIntervalMs).unref();
  server.once('close', () => clearInterval(timer));
}

/** Puts a `PlainConnection` before Node's own reading of each new connection. */
function readPlainRequests(
  server: Server,
  options: Pick<PlainConnectionOwner, 'answerGet' | 'postRoutes' | 'owed' | 'isClosing'> & { connections: Connections },
): void {
  const { connections, ...owner } = options;
  const timer = setInterval(() => {
    for (const connection of connections.plain) connection.look();
  }, limits.connectionsCheckingIntervalMs).unref();
  server.once('close', () => clearInterval(timer));
  const nodeListeners = server.listeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const connection = new PlainConnection(socket, {
      ...owner,
      handOver: (from, bytes) => {
        connections.parsed.add(from);
        // Node takes any stream that is given to it as a connection; what was read of it before goes back into it.
        for (const listener of nodeListeners) listener.call(server, from);
        from.unshift(bytes);
        from.resume();
      },
      refuse: (from, code) => {
        // It may go at any time from now on, and nobody else listens.
        from.on('error', () => {});
        refuseSocket(from, code);
      },
      onEnd: (ended) => connections.plain.delete(ended),
    });
    connections.plain.add(connection);
  });
}

function refuseMethod(request: IncomingMessage, response: ServerResponse, allowed: readonly string[]): void {
  sendProblem(response, 'method_not_allowed', {
    detail: `${request.method} is not one of ${allowed.join(', ')}`,
    headers: ['Allow', allowed.join(', ')],
  });
}

/** RFC 9112, 3.2: a request has one Host, one of HTTP/1.0 may have none. */
function refuseHosts(response: ServerResponse, count: number): void {
  const detail = count === 0 ? 'The request has no Host' : `The request has ${count} Hosts`;
  sendProblem(response, 'request_malformed', { detail, headers: ['Connection', 'close'] });
}

function hostCountOf({ rawHeaders }: IncomingMessage): number {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]!.toLowerCase() === 'host') count++;
  return count;
}

/** Our code for an error of a route: our own, or the client's fault as fastify tells it. */
function codeOfError(error: FastifyError | Error): ErrorCode {
  if (error instanceof PavostoreError) return error.code;
  const { code, statusCode } = error as FastifyError;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return 'body_too_large';
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return 'media_type_unsupported';
  return statusCode !== undefined && statusCode >= 400 && statusCode < 500 ? 'body_malformed' : 'internal';
}

/** Sockets whose client has sent what is not HTTP; the parser complains again about all that follows. */
const refusedSockets = new WeakSet<Socket>();

/** A request that Node's parser refused: there is no response object, so the answer is written by hand, behind those still owed. */
function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || refusedSockets.has(socket)) return;
  refusedSockets.add(socket);
  // What follows a request with `Connection: close` is no request: the answer to that one closes the socket.
  if (error.code === 'HPE_CLOSED_CONNECTION') return;
  const code: ErrorCode =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'header_too_large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request_timeout'
        : 'request_malformed';
  afterAnswers(socket, () => refuseSocket(socket, code));
}

/** Calls `then` when the complete requests before the one at fault are answered: an error before them would be taken for an answer to them. */
function afterAnswers(socket: Socket & { _httpMessage?: ServerResponse }, then: () => void): void {
  // Node's own field for the response that is due; its own handler of such errors reads it too.
  const due = socket._httpMessage;
  if (due?.req.complete) due.once('close', () => afterAnswers(socket, then));
  else then();
}

function refuseSocket(socket: Socket, code: ErrorCode): void {
  if (!socket.writable) return socket.destroySoon();
  const body = JSON.stringify(problemOf(code));
  const { status } = errorTable[code];
  const phrase = { 400: 'Bad Request', 408: 'Request Timeout', 431: 'Request Header Fields Too Large' }[status as 400 | 408 | 431];
  socket.end(
    `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: ${problemContentType}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
  linger(socket);
}
