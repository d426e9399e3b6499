// A plain POST, read from the bytes of a connection: `POST /batch` of a router, `POST /mget` of a client.
//
//     POST /path HTTP/1.1 CRLF   Host: h CRLF   Content-Type: t CRLF   other fields CRLF   Content-Length: n CRLF   CRLF   n bytes
//
// As strict as a plain GET: a length in digits and a type, both once, no other coding; the whole head in one piece. Whatever is not plain is
// Node's: `undefined`, never an error.

import { limits } from './limits.ts';
import { fieldsEnd, isPrintable, readPlainFields } from './plain-fields.ts';

export type PlainPost = {
  /** Printable ASCII without a space. */
  readonly target: string;
  readonly contentType: string;
  /** The body is from `bodyAt` to `end` of the bytes that were read; it may not have come yet. */
  readonly bodyAt: number;
  readonly end: number;
  /** All before the digits of the length, where that is the last field: a client repeats it to the byte. Empty where it is not. */
  readonly repeated: string;
};

const start = 'POST ';
const lineEnd = ' HTTP/1.1\r\n';
const lengthField = '\r\nContent-Length: ';
/** A length of more digits is above every limit. */
const digitsMax = 9;

/** The request that `bytes` starts with. `known` was read from this connection before. */
export function readPlainPost(bytes: Buffer, known: PlainPost | undefined): PlainPost | undefined {
  if (known && known.repeated !== '' && bytes.toString('latin1', 0, known.repeated.length) === known.repeated) {
    const { target, contentType, repeated } = known;
    const size = readLength(bytes, repeated.length);
    if (size) return { target, contentType, repeated, bodyAt: size.end, end: size.end + size.value };
  }
  const headSize = bytes.indexOf(fieldsEnd) + fieldsEnd.length;
  if (headSize < fieldsEnd.length || headSize > limits.plainFieldsSizeMax) return undefined;
  const head = bytes.toString('latin1', 0, headSize);
  const targetEnd = head.indexOf(lineEnd);
  if (!head.startsWith(start) || targetEnd <= start.length || !isPrintable(head, start.length, targetEnd)) return undefined;
  const fields = readPlainFields(head.slice(targetEnd + lineEnd.length), ['content-type', 'content-length']);
  const length = fields?.get('content-length') ?? '';
  const contentType = fields?.get('content-type');
  if (contentType === undefined || length.length > digitsMax || !/^\d+$/.test(length)) return undefined;
  const repeated = head.slice(0, headSize - fieldsEnd.length - length.length);
  return {
    target: head.slice(start.length, targetEnd),
    contentType,
    bodyAt: headSize,
    end: headSize + Number(length),
    repeated: repeated.toLowerCase().endsWith(lengthField.toLowerCase()) ? repeated : '',
  };
}

/** The number at `at` and the end of the head behind it. */
function readLength(bytes: Buffer, at: number): { value: number; end: number } | undefined {
  let value = 0;
  let i = at;
  for (; i < bytes.length && i - at < digitsMax; i++) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) break;
    value = 10 * value + digit;
  }
  if (i === at || i + 4 > bytes.length) return undefined;
  const isEnd = bytes[i] === 0x0d && bytes[i + 1] === 0x0a && bytes[i + 2] === 0x0d && bytes[i + 3] === 0x0a;
  return isEnd ? { value, end: i + 4 } : undefined;
}
