// What a router says that has no room: before it has read the keys, or made anything for them.

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Admission } from '../../router/admission.ts';
import type { LookupEngine } from '../../router/lookup-engine.ts';
import { RoutedVersion } from '../../router/routed-version.ts';
import { buildRouterServer } from '../../router/server.ts';
import { type HttpServer, listen } from '../../shared/http-server.ts';
import { OwedMemory } from '../../shared/owed-memory.ts';
import { ask, getRequest, postRequest, type RawResponse } from '../raw-http.ts';
import { problemCodeOf } from './contract-cluster.ts';

/** An engine without room; of hot answers it has one. */
const engine = {
  isFull: true,
  isFullForBulk: true,
  counts: { overloaded: 0 },
  findHot: (_version: RoutedVersion, key: string) => (key === 'hot' ? 'the value of hot' : undefined),
};

let server: HttpServer;
let address: string;

beforeAll(async () => {
  const version = new RoutedVersion({ id: '0123456789abcdef0123456789abcdef', sequence: 1, sliceCount: 4 });
  const admission = new Admission(engine as unknown as LookupEngine, { owed: new OwedMemory() });
  const view = { engine: engine as unknown as LookupEngine, admission, version, isReady: true, status: () => ({}) };
  server = buildRouterServer(view, { logLevel: 'silent' });
  address = `127.0.0.1:${await listen(server, '127.0.0.1', 0)}`;
});
afterAll(async () => await server.close());
beforeEach(() => {
  engine.counts.overloaded = 0;
});

function expectRefused(response: RawResponse): void {
  expect([response.status, problemCodeOf(response), response.headers.get('retry-after')]).toEqual([503, 'overloaded', '1']);
  expect(engine.counts.overloaded).toBe(1);
}

test('a GET is refused early, with Retry-After', async () => {
  expectRefused(await ask(address, getRequest('/get?key=k')));
});

test('a hot key is answered all the same', async () => {
  expect((await ask(address, getRequest('/get?key=hot'))).body.toString()).toBe('the value of hot');
});

test('a whole /mget is refused, without a look at its keys', async () => {
  expectRefused(await ask(address, postRequest('/mget', 'application/json', '{"keys":["a","b"]}')));
  engine.counts.overloaded = 0;
  expectRefused(await ask(address, getRequest('/mget?key=a&key=b')));
});
