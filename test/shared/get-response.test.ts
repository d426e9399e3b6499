// The answer to a plain GET on the bare socket against the one through Node: the same status, fields and bytes, but for the order of the fields.

import { afterAll, beforeAll, expect, it } from 'vitest';
import { type GetExchange, versionHeadersOf } from '../../shared/get-response.ts';
import { createHttpServer, type HttpServer, listen } from '../../shared/http-server.ts';
import { ask, type RawResponse } from '../raw-http.ts';

const version = versionHeadersOf('0123456789abcdef0123456789abcdef');
const large = Buffer.alloc(300_000, 'large ');
const answers: readonly ((exchange: GetExchange) => void)[] = [
  (exchange) => exchange.sendValue(version, ''),
  (exchange) => exchange.sendValue(version, 'a value'),
  (exchange) => exchange.sendValue(version, '\u00ff\u0000\u0080'),
  (exchange) => exchange.sendValue(version, large),
  (exchange) => exchange.sendProblem('key_not_found', version),
  (exchange) => exchange.sendProblem('slice_not_held', version),
  (exchange) => exchange.sendProblem('slice_unavailable'),
  (exchange) => exchange.sendProblem('deadline_exceeded'),
  (exchange) => exchange.sendProblem('key_too_long'),
  (exchange) => exchange.sendProblem('key_malformed'),
];

const server: HttpServer = createHttpServer({
  name: 'test',
  logLevel: 'silent',
  methodsOf: {},
  answerGet: (target, exchange) => answers[Number(target.slice('/get?key='.length))]!(exchange),
});
let address: string;

beforeAll(async () => {
  address = `127.0.0.1:${await listen(server, '127.0.0.1', 0)}`;
});
afterAll(async () => await server.close());

function fieldsOf({ headers }: RawResponse): Record<string, string> {
  expect(new Date(headers.get('date')!).getTime()).toBeGreaterThan(Date.now() - 5_000);
  return { ...Object.fromEntries(headers), date: 'now' };
}

it.each(answers.map((_, i) => i))('answer %d is the same on the bare socket and through Node', async (i) => {
  const plain = await ask(address, `GET /get?key=${i} HTTP/1.1\r\nHost: t\r\n\r\n`);
  // `TE` makes it Node's, and changes nothing.
  const parsed = await ask(address, `GET /get?key=${i} HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nConnection: keep-alive\r\n\r\n`);
  expect(plain.status).toBe(parsed.status);
  expect(fieldsOf(plain)).toEqual(fieldsOf(parsed));
  expect(plain.body).toEqual(parsed.body);
});
