// An error as a response: RFC 9457 with a stable `code`, through Node's response or as the whole text of one.

import type { ServerResponse } from 'node:http';
import { type ErrorCode, errorTable, isTemporary, problemContentType, problemOf } from './errors.ts';
import { limits } from './limits.ts';

/** Ends a response with a problem. Safe on a response whose client has gone. */
export function sendProblem(
  response: ServerResponse,
  code: ErrorCode,
  options: { detail?: string | undefined; headers?: readonly string[] | undefined } = {},
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = JSON.stringify(problemOf(code, options.detail));
  const headers = ['Content-Type', problemContentType, 'Content-Length', String(Buffer.byteLength(body)), 'Cache-Control', 'no-store'];
  if (isTemporary(code)) headers.push('Retry-After', String(limits.retryAfterSeconds));
  if (options.headers) headers.push(...options.headers);
  response.writeHead(errorTable[code].status, headers);
  response.end(body);
}

/** A problem as text, without Date, which goes between the two. */
export type ProblemText = { readonly head: string; readonly body: string };

const phrases: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  404: 'Not Found',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  415: 'Unsupported Media Type',
  421: 'Misdirected Request',
  431: 'Request Header Fields Too Large',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** The response without its Date: `fields` are lines that end in CRLF. An early 503 should cost hardly anything: callers keep what they get. */
export function problemText(code: ErrorCode, fields: string, detail?: string): ProblemText {
  const { status } = errorTable[code];
  const body = JSON.stringify(problemOf(code, detail));
  const retryAfter = isTemporary(code) ? `Retry-After: ${limits.retryAfterSeconds}\r\n` : '';
  return {
    head:
      `HTTP/1.1 ${status} ${phrases[status] ?? 'Error'}\r\nContent-Type: ${problemContentType}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Cache-Control: no-store\r\n${retryAfter}${fields}`,
    body,
  };
}
