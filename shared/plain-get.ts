// A plain `GET /get?key=K`, read from the text of a connection: the one form of request that is answered ahead of Node's parser.
//
//     GET /get?key=K HTTP/1.1 CRLF   Host: h CRLF   other fields CRLF   CRLF
//
// Everything here is a strict subset of HTTP/1.1 (RFC 9112) that any parser reads in the same way: complete, printable ASCII, no body,
// one Host, and no field that would change what the request means. Whatever is not plain is Node's: `undefined`, never an error.

import { limits } from './limits.ts';

export type PlainGet = {
  /** `/get?…`: printable ASCII without a space. */
  readonly target: string;
  /** The header fields with the empty line that ends them. A client repeats them to the byte: known ones need no second look. */
  readonly fields: string;
  /** Where the next request of the connection starts. */
  readonly end: number;
};

const start = 'GET /get?';
const versionPart = ' HTTP/1.1';
const fieldsEnd = '\r\n\r\n';

/** The request that `text`, one character a byte, starts with. `knownFields` were accepted before, or are empty. */
export function readPlainGet(text: string, knownFields: string): PlainGet | undefined {
  if (!text.startsWith(start)) return undefined;
  const lineEnd = text.indexOf('\r\n');
  const targetEnd = lineEnd - versionPart.length;
  if (targetEnd < start.length || !text.startsWith(versionPart, targetEnd) || !isPrintable(text, start.length, targetEnd)) return undefined;
  const target = text.slice(4, targetEnd);
  const fieldsAt = lineEnd + 2;
  if (knownFields !== '' && text.startsWith(knownFields, fieldsAt)) {
    return { target, fields: knownFields, end: fieldsAt + knownFields.length };
  }
  const endAt = text.indexOf(fieldsEnd, fieldsAt);
  if (endAt < 0) return undefined;
  const end = endAt + fieldsEnd.length;
  const fields = text.slice(fieldsAt, end);
  return fields.length <= limits.plainFieldsSizeMax && arePlainFields(fields) ? { target, fields, end } : undefined;
}

/** Neither a space nor a control character nor anything beyond ASCII. */
function isPrintable(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const c = text.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f) return false;
  }
  return true;
}

/** Fields by which a request gets a body, another protocol, another connection, or another answer than the value. */
const meaningful = new Set([
  'content-length',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
  'expect',
  'proxy-connection',
  'if-none-match',
]);

function arePlainFields(fields: string): boolean {
  let hosts = 0;
  for (const line of fields.slice(0, -fieldsEnd.length).split('\r\n')) {
    const field = /^([A-Za-z0-9-]+):[ \t]*([\x20-\x7e]*)$/.exec(line);
    if (!field) return false;
    const name = field[1]!.toLowerCase();
    const value = field[2]!.trim();
    if (meaningful.has(name) || (name === 'connection' && value.toLowerCase() !== 'keep-alive')) return false;
    if (name === 'host' && (++hosts > 1 || value === '')) return false;
  }
  return hosts === 1;
}
