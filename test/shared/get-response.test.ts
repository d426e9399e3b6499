// The ready header against the one that Node makes: the same fields with the same values, byte for byte but for their order.

import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sendValue, versionHeadersOf } from '../../shared/get-response.ts';
import { limits } from '../../shared/limits.ts';
import { ask, getRequest } from '../raw-http.ts';

const version = versionHeadersOf('0123456789abcdef0123456789abcdef');
const values: readonly (string | Buffer)[] = ['', 'a value', '\u00ff\u0000\u0080', Buffer.from('a value')];

const server = createServer({ keepAliveTimeout: limits.serverKeepAliveMs }, (request, response) => {
  sendValue(request, response, version, values[Number(request.url!.slice(1))]!);
});

beforeAll(async () => await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
afterAll(() => server.close());

const addressOf = (): string => `127.0.0.1:${(server.address() as AddressInfo).port}`;

function fieldsOf(head: readonly string[]): string[] {
  return head.map((line) => line.replace(/^Date: .*/, 'Date: now')).sort();
}

async function headOf(path: string, method: 'GET' | 'HEAD'): Promise<string[]> {
  return await new Promise((resolve, reject) => {
    const request = httpRequest(`http://${addressOf()}${path}`, { method, headers: { Connection: 'keep-alive' } }, (response) => {
      response.resume();
      const fields: string[] = [];
      for (let i = 0; i < response.rawHeaders.length; i += 2) fields.push(`${response.rawHeaders[i]}: ${response.rawHeaders[i + 1]}`);
      response.on('end', () => resolve(fieldsOf(fields)));
    });
    request.on('error', reject);
    request.end();
  });
}

it('a ready header has the same fields as one that Node makes', async () => {
  for (const i of [0, 1, 2]) expect(await headOf(`/${i}`, 'GET')).toEqual(await headOf(`/${i}`, 'HEAD'));
  expect(await headOf('/1', 'GET')).toEqual(await headOf('/3', 'GET'));
});

it('the value follows its header exactly, whatever its bytes', async () => {
  for (const i of [0, 1, 2]) {
    const response = await ask(addressOf(), getRequest(`/${i}`));
    expect(response.status).toBe(200);
    expect(response.body).toEqual(Buffer.from(values[i] as string, 'latin1'));
  }
});
