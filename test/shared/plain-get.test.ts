import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { readPlainGet } from '../../shared/plain-get.ts';

const host = 'Host: t\r\n';
const plain = `GET /get?key=a HTTP/1.1\r\n${host}\r\n`;

describe('a plain GET', () => {
  it('is read with its target, its fields, and where it ends', () => {
    expect(readPlainGet(plain, '')).toEqual({ target: '/get?key=a', fields: `${host}\r\n`, end: plain.length });
  });

  it('ends where the next request starts', () => {
    expect(readPlainGet(plain + plain, '')).toEqual({ target: '/get?key=a', fields: `${host}\r\n`, end: plain.length });
  });

  it('may carry the fields that clients of all kinds send', () => {
    const fields = `${host}User-Agent: curl/8.0 (x)\r\nAccept: */*\r\nX-Empty:\r\nConnection: Keep-Alive\r\nCookie: a=b\r\n\r\n`;
    expect(readPlainGet(`GET /get?key=a HTTP/1.1\r\n${fields}`, '')?.fields).toBe(fields);
  });

  it('is known by its fields when they are repeated to the byte, and looked at again when not', () => {
    const other = `GET /get?key=a HTTP/1.1\r\n${host}Expect: x\r\n\r\n`;
    expect(readPlainGet(plain, `${host}\r\n`)?.end).toBe(plain.length);
    expect(readPlainGet(other, `${host}\r\n`)).toBeUndefined();
    expect(readPlainGet(plain, `${host}Accept: */*\r\n\r\n`)?.fields).toBe(`${host}\r\n`);
  });
});

describe('is not plain, and left to Node:', () => {
  const get = (fields: string): string => `GET /get?key=a HTTP/1.1\r\n${fields}\r\n`;
  it.each([
    ['nothing', ''],
    ['another method', plain.replace('GET', 'HEAD')],
    ['another path', plain.replace('/get', '/getx')],
    ['no query', plain.replace('?key=a', '')],
    ['HTTP/1.0', plain.replace('1.1', '1.0')],
    ['a space in the target', plain.replace('key=a', 'key=a b')],
    ['a tab in the target', plain.replace('key=a', 'key=a\tb')],
    ['a control character in the target', plain.replace('key=a', 'key=a\x01')],
    ['a byte beyond ASCII in the target', plain.replace('key=a', 'key=\xe9')],
    ['a bare line feed', plain.replaceAll('\r\n', '\n')],
    ['a bare line feed in the request line', plain.replace('key=a', 'key=a\n')],
    ['no Host', get('')],
    ['an empty Host', get('Host: \r\n')],
    ['two Hosts', get(host + host)],
    ['a length', get(`${host}Content-Length: 0\r\n`)],
    ['a coding', get(`${host}transfer-encoding: chunked\r\n`)],
    ['a condition', get(`${host}If-None-Match: "a"\r\n`)],
    ['an upgrade', get(`${host}Upgrade: h2c\r\n`)],
    ['an expectation', get(`${host}Expect: 100-continue\r\n`)],
    ['a connection that closes', get(`${host}Connection: close\r\n`)],
    ['a connection with more in it', get(`${host}Connection: keep-alive, TE\r\n`)],
    ['a space before the colon', get(`${host}X : a\r\n`)],
    ['a folded field', get(`${host}X: a\r\n b\r\n`)],
    ['a field without a colon', get(`${host}X\r\n`)],
    ['a field without a name', get(`${host}: a\r\n`)],
    ['a NUL in a value', get(`${host}X: a\0\r\n`)],
    ['a bare carriage return in a value', get(`${host}X: a\rY: b\r\n`)],
    ['a byte beyond ASCII in a value', get(`${host}X: \xe9\r\n`)],
    ['more fields than are remembered', get(`${host}X: ${'a'.repeat(limits.plainFieldsSizeMax)}\r\n`)],
  ])('%s', (_, text) => {
    expect(readPlainGet(text, '')).toBeUndefined();
  });

  it('any part of a request', () => {
    for (let i = 0; i < plain.length; i++) expect(readPlainGet(plain.slice(0, i), '')).toBeUndefined();
  });
});

it('whatever comes, only what is read is taken, and it is a request of its own', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom('GET /get?', 'key=a', ' HTTP/1.1', '\r\n', 'Host: t', 'X: y', '\n', ' ', '\r', '\t', ':', 'Connection: keep-alive'),
        {
          maxLength: 16,
        },
      ),
      (parts) => {
        const text = parts.join('');
        const request = readPlainGet(text, '');
        if (!request) return;
        expect(text.slice(0, request.end)).toMatch(/^GET \/get\?[!-~]* HTTP\/1\.1\r\n([A-Za-z0-9-]+:[ \t]*[ -~]*\r\n)+\r\n$/);
        expect(text.slice(0, request.end)).toContain('Host: t\r\n');
      },
    ),
    { numRuns: 20_000 },
  );
});
