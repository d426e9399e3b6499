// The keys of a request target: `/get?key=K`, `/mget?key=A&key=B`. Nothing here throws: a malformed query is a value,
// because the caller stands in a request listener, where an exception would end the process.
//
// A key travels as a latin1 string, one character a byte, from here to the batch. Percent-decoding gives bytes (`%FF` is the
// byte FF), `+` is a space, `%2B` a plus. Names other than `key` are ignored. Node's parser has refused raw control and
// non-ASCII bytes before. A raw `#` has no place in a request target (RFC 9112, 3.2): it is refused, never cut off.

import type { ErrorCode } from './errors.ts';
import { limits } from './limits.ts';

export type KeyQueryProblem = Extract<ErrorCode, 'key_required' | 'key_empty' | 'key_repeated' | 'key_malformed' | 'key_too_long'>;

/** What a query gives instead of a key. */
export type KeyProblem = { readonly code: KeyQueryProblem };

const problems = {
  key_required: { code: 'key_required' },
  key_empty: { code: 'key_empty' },
  key_repeated: { code: 'key_repeated' },
  key_malformed: { code: 'key_malformed' },
  key_too_long: { code: 'key_too_long' },
} as const satisfies Record<KeyQueryProblem, KeyProblem>;

const usualPrefix = '/get?key=';
const codeOf = { hash: 0x23, percent: 0x25, ampersand: 0x26, plus: 0x2b } as const;

/** The one key of a `/get`. The usual target, one parameter without escapes, is answered by one scan. */
export function parseGetKey(target: string): string | KeyProblem {
  if (target.startsWith(usualPrefix)) {
    let i = usualPrefix.length;
    for (; i < target.length; i++) {
      const c = target.charCodeAt(i);
      if (c === codeOf.percent || c === codeOf.plus || c === codeOf.ampersand || c === codeOf.hash) break;
    }
    if (i === target.length) return checkKey(target.slice(usualPrefix.length));
  }
  const keys = parseKeys(target);
  if (!Array.isArray(keys)) return keys;
  if (keys.length > 1) return problems.key_repeated;
  return keys[0]!;
}

/** All keys of a target in their order, at least one; or the first problem among them. */
export function parseKeys(target: string): string[] | KeyProblem {
  if (target.includes('#')) return problems.key_malformed;
  const queryAt = target.indexOf('?');
  const keys: string[] = [];
  if (queryAt < 0) return problems.key_required;
  for (const parameter of target.slice(queryAt + 1).split('&')) {
    const equalsAt = parameter.indexOf('=');
    const name = percentDecode(equalsAt < 0 ? parameter : parameter.slice(0, equalsAt));
    if (name !== 'key') continue;
    const decoded = percentDecode(equalsAt < 0 ? '' : parameter.slice(equalsAt + 1));
    const key = decoded === undefined ? problems.key_malformed : checkKey(decoded);
    if (typeof key !== 'string') return key;
    keys.push(key);
  }
  return keys.length > 0 ? keys : problems.key_required;
}

/** The path of a request target in origin or absolute form, without its query. */
export function pathOf(target: string): string {
  const queryAt = target.indexOf('?');
  return queryAt < 0 ? target : target.slice(0, queryAt);
}

/** `http://host/get?key=K`, which every server must accept (RFC 9112, 3.2.2), as `/get?key=K`; other targets as they are. */
export function originFormOf(target: string): string {
  if (target.charCodeAt(0) === 0x2f) return target;
  const absolute = /^https?:\/\/[^/?#]*/i.exec(target);
  if (!absolute) return target;
  const rest = target.slice(absolute[0].length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function checkKey(key: string): string | KeyProblem {
  if (key.length === 0) return problems.key_empty;
  return key.length > limits.keySizeMax ? problems.key_too_long : key;
}

/** One character a byte; undefined for an escape that is not `%` and two hex digits. */
function percentDecode(text: string): string | undefined {
  if (!text.includes('%')) return text.includes('+') ? text.replaceAll('+', ' ') : text;
  let decoded = '';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === codeOf.percent) {
      const high = hexDigit(text.charCodeAt(i + 1));
      const low = hexDigit(text.charCodeAt(i + 2));
      if (high < 0 || low < 0) return undefined;
      decoded += String.fromCharCode(high * 16 + low);
      i += 2;
    } else {
      decoded += c === codeOf.plus ? ' ' : text[i];
    }
  }
  return decoded;
}

/** 0 to 15, or -1; NaN, what lies beyond the end of a string, is -1 too. */
function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
