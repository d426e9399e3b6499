// The answer to a `GET /get` as every process of ours gives it: the value's bytes exactly, the version as ETag.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { limits } from './limits.ts';

/** The headers of answers from one version, made once. */
export type VersionHeaders = {
  readonly etag: string;
  readonly found: readonly string[];
  /** The head of a 200 on a connection that is kept, up to the value of its Content-Length, which comes last but for Date. */
  readonly foundHead: string;
  readonly notModified: string[];
  readonly missing: readonly string[];
};

export function versionHeadersOf(id: string): VersionHeaders {
  const etag = `"${id}"`;
  const keepAlive = `Connection: keep-alive\r\nKeep-Alive: timeout=${limits.serverKeepAliveMs / 1_000}\r\n`;
  return {
    etag,
    foundHead:
      'HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n' +
      `ETag: ${etag}\r\nCache-Control: no-cache\r\nPavostore-Version: ${id}\r\n${keepAlive}Content-Length: `,
    found: [
      'Content-Type',
      'text/plain; charset=utf-8',
      'X-Content-Type-Options',
      'nosniff',
      'ETag',
      etag,
      'Cache-Control',
      'no-cache',
      'Pavostore-Version',
      id,
    ],
    notModified: ['ETag', etag, 'Cache-Control', 'no-cache', 'Pavostore-Version', id],
    missing: ['Pavostore-Version', id],
  };
}

/** 200 with the value, a latin1 string or bytes; or 304 when the client has this version's answer. */
export function sendValue(request: IncomingMessage, response: ServerResponse, version: VersionHeaders, value: string | Buffer): void {
  const condition = ifNoneMatchOf(request.rawHeaders);
  if (condition !== undefined && matchesEtag(condition, version.etag)) {
    response.writeHead(304, version.notModified);
    response.end();
    return;
  }
  if (typeof value !== 'string' || request.method !== 'GET' || !response.shouldKeepAlive) {
    response.writeHead(200, [...version.found, 'Content-Length', String(value.length)]);
    response.end(value, 'latin1');
    return;
  }
  // The usual answer: its header as one text that is ready but for the length, given to Node as if `writeHead` had made it. Node would check
  // and join the same eight fields for each response, a fifth of all that a GET costs. docs/decisions/007-a-ready-header.md.
  (response as unknown as { _header: string })._header = `${version.foundHead}${value.length}\r\nDate: ${httpDate()}\r\n\r\n`;
  response.end(value, 'latin1');
}

let dateSecond = 0;
let dateText = '';

/** The Date of responses, made once a second. */
function httpDate(): string {
  const second = Math.floor(Date.now() / 1_000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(1_000 * second).toUTCString();
  }
  return dateText;
}

/**
 * Reads the raw list: building Node's header object would cost more than the rest of a look-up. Fields of one name are one
 * list (RFC 9110, 5.3).
 */
function ifNoneMatchOf(rawHeaders: readonly string[]): string | undefined {
  let condition: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.length !== 13 || rawHeaders[i]!.toLowerCase() !== 'if-none-match') continue;
    condition = condition === undefined ? rawHeaders[i + 1]! : `${condition},${rawHeaders[i + 1]}`;
  }
  return condition;
}

/** RFC 9110, 13.1.2: weak comparison with each tag of the list, or `*`. */
function matchesEtag(condition: string, etag: string): boolean {
  if (condition.trim() === '*') return true;
  return condition.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}
