// The answer to a `GET /get` as every process of ours gives it: the value's bytes exactly, the version as ETag. A `GetExchange` is one
// request that is owed its answer: over Node's response here, over a bare socket in plain-connection.ts.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ErrorCode } from './errors.ts';
import { limits } from './limits.ts';
import { holdUntilSent, type OwedMemory } from './owed-memory.ts';
import { type ProblemText, problemText, sendProblem } from './problem-response.ts';

/** One `GET /get`, to be answered by exactly one call; whether its client is still there does not matter. */
export interface GetExchange {
  /** 200 with the value, a latin1 string or bytes. */
  sendValue(version: VersionHeaders, value: string | Buffer): void;
  /** With the version that was looked into, where there was one. */
  sendProblem(code: ErrorCode, version?: VersionHeaders): void;
}

/** The headers of answers from one version, made once. */
export type VersionHeaders = {
  readonly etag: string;
  readonly found: readonly string[];
  readonly notModified: string[];
  readonly missing: readonly string[];
  /** The head of a 200 on a connection that is kept, up to the value of its Content-Length. */
  readonly foundText: string;
  /** A 404 on a connection that is kept. */
  readonly missingText: ProblemText;
};

/** What a response says of a connection that stays open. */
export const keepAliveText = `Connection: keep-alive\r\nKeep-Alive: timeout=${limits.serverKeepAliveMs / 1_000}\r\n`;

/** What it says instead of one that ends with it. */
export const lastText = 'Connection: close\r\n';

export function versionHeadersOf(id: string): VersionHeaders {
  const etag = `"${id}"`;
  const found = ['Content-Type', 'text/plain; charset=utf-8', 'X-Content-Type-Options', 'nosniff'];
  const notModified = ['ETag', etag, 'Cache-Control', 'no-cache', 'Pavostore-Version', id];
  found.push(...notModified);
  return {
    etag,
    found,
    notModified,
    missing: ['Pavostore-Version', id],
    foundText: `HTTP/1.1 200 OK\r\n${linesOf(found)}${keepAliveText}Content-Length: `,
    missingText: problemText('key_not_found', `Pavostore-Version: ${id}\r\n${keepAliveText}`),
  };
}

function linesOf(headers: readonly string[]): string {
  let lines = '';
  for (let i = 0; i < headers.length; i += 2) lines += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return lines;
}

/** A request that Node has parsed. */
export class ResponseExchange implements GetExchange {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #owed: OwedMemory;

  constructor(request: IncomingMessage, response: ServerResponse, owed: OwedMemory) {
    this.#request = request;
    this.#response = response;
    this.#owed = owed;
  }

  /** Or 304 when the client has this version's answer. */
  sendValue(version: VersionHeaders, value: string | Buffer): void {
    const condition = this.#request.headers['if-none-match'];
    if (condition !== undefined && matchesEtag(condition, version.etag)) {
      this.#response.writeHead(304, version.notModified);
      this.#response.end();
      return;
    }
    if (this.#request.method !== 'HEAD')
      holdUntilSent(this.#owed, this.#response, typeof value === 'string' ? { byteLength: value.length } : value.buffer);
    this.#response.writeHead(200, [...version.found, 'Content-Length', String(value.length)]);
    this.#response.end(value, 'latin1');
  }

  sendProblem(code: ErrorCode, version?: VersionHeaders): void {
    sendProblem(this.#response, code, { headers: version?.missing });
  }
}

let dateSecond = 0;
let dateText = '';

/** The Date of responses, made once a second. */
export function httpDate(): string {
  const second = Math.floor(Date.now() / 1_000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(1_000 * second).toUTCString();
  }
  return dateText;
}

/** RFC 9110, 13.1.2: weak comparison with each tag of the list, or `*`. */
function matchesEtag(condition: string, etag: string): boolean {
  if (condition.trim() === '*') return true;
  return condition.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}
