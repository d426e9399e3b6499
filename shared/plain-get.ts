// A plain `GET /get?key=K`, read from the text of a connection: with `POST` to one of a few paths (plain-post.ts), what is answered ahead
// of Node's parser.
//
//     GET /get?key=K HTTP/1.1 CRLF   Host: h CRLF   other fields CRLF   CRLF
//
// Everything here is a strict subset of HTTP/1.1: complete, printable ASCII, no body, plain fields (plain-fields.ts). Whatever is not plain is
// Node's: `undefined`, never an error.

import { limits } from './limits.ts';
import { fieldsEnd, isPrintable, readPlainFields } from './plain-fields.ts';

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
  return fields.length <= limits.plainFieldsSizeMax && readPlainFields(fields, []) ? { target, fields, end } : undefined;
}
