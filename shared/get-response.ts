// The answer to a `GET /get` as every process of ours gives it: the value's bytes exactly, the version as ETag.

import type { IncomingMessage, ServerResponse } from 'node:http';

/** The headers of answers from one version, made once. */
export type VersionHeaders = {
  readonly etag: string;
  readonly found: readonly string[];
  readonly notModified: string[];
  readonly missing: readonly string[];
};

export function versionHeadersOf(id: string): VersionHeaders {
  const etag = `"${id}"`;
  return {
    etag,
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
  response.writeHead(200, [...version.found, 'Content-Length', String(value.length)]);
  if (typeof value === 'string') response.end(value, 'latin1');
  else response.end(value);
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
