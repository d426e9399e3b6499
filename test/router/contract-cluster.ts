// The records and the cluster behind the tests of the HTTP contract.

import { TestCluster } from '../cluster/cluster-harness.ts';
import type { Records } from '../data-sets.ts';
import type { RawResponse } from '../raw-http.ts';

const utf8 = (text: string): string => Buffer.from(text).toString('latin1');

export const longestKey = 'k'.repeat(2048);
export const bigValue = Buffer.alloc(8 * 1024 * 1024, 'The quick brown fox jumps over the lazy dog. ');

export const contractRecords: Records = new Map<string, Buffer>([
  ['foo', Buffer.from('bar')],
  ['a', Buffer.from('the value of a')],
  ['k', Buffer.from('the value of k')],
  ['empty', Buffer.alloc(0)],
  ['spaces', Buffer.from('  two before, tab\tand one after ')],
  ['bytes', Buffer.from(Array.from({ length: 256 }, (_, i) => i).filter((byte) => byte !== 0x0a))],
  ['a b', Buffer.from('the value of a, space, b')],
  ['a+b', Buffer.from('the value of a, plus, b')],
  ['\xff', Buffer.from('the value of the byte FF')],
  ['%FF', Buffer.from('the value of percent, F, F')],
  ['\xc3\xa9', Buffer.from('the value of two bytes, é in UTF-8')],
  ['\xe9', Buffer.from('the value of one byte, é in latin1')],
  ['a#b', Buffer.from('the value of a, hash, b')],
  ['a=b&key=c?/', Buffer.from('the value of a hostile key')],
  ['__proto__', Buffer.from('the value of __proto__')],
  ['constructor', Buffer.from('the value of constructor')],
  [utf8('Größe 📏'), Buffer.from('die Größe 📏')],
  [longestKey, Buffer.from('the value of the longest key')],
  ['big0', bigValue],
  ['big1', bigValue],
]);

/** Its router has time for large values on a busy machine. */
export async function startContractCluster(records = contractRecords): Promise<TestCluster> {
  return await TestCluster.start({ records, sliceCount: 16, routerArgs: ['--deadline', '30s'] });
}

/** The code of a problem, after checking that it is one as RFC 9457 has it; fails otherwise. */
export function problemCodeOf({ status, headers, body }: RawResponse): string {
  const type = headers.get('content-type');
  if (type !== 'application/problem+json; charset=utf-8') throw new Error(`${status} with type ${type}: ${body.toString().slice(0, 200)}`);
  const problem = JSON.parse(body.toString()) as Record<string, unknown>;
  const { status: stated, code, title, detail, type: uri } = problem;
  if (stated !== status || uri !== 'about:blank') throw new Error(`${status}: ${body}`);
  if (typeof code !== 'string' || typeof title !== 'string' || typeof detail !== 'string') throw new Error(`${status}: ${body}`);
  return code;
}
