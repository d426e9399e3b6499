import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { readPlainPost } from '../../shared/plain-post.ts';

const host = 'Host: t\r\n';
const type = 'Content-Type: application/x\r\n';
const before = `POST /batch HTTP/1.1\r\n${host}${type}Content-Length: `;
const head = (length: string): string => `${before}${length}\r\n\r\n`;
const plain = `${head('3')}abc`;
const read = (text: string, known?: string) =>
  readPlainPost(Buffer.from(text, 'latin1'), known === undefined ? undefined : readPlainPost(Buffer.from(known, 'latin1'), undefined));

describe('a plain POST', () => {
  it('is read with its target, its type, and where its body is', () => {
    const bodyAt = plain.length - 3;
    const post = { target: '/batch', contentType: 'application/x', bodyAt, end: bodyAt + 3, repeated: before };
    expect(read(plain)).toEqual(post);
    expect(read(`${plain}POST /`)).toEqual(post);
    expect(read(head('3'))).toEqual(post);
    expect(read(head('000'))).toMatchObject({ bodyAt: bodyAt + 2, end: bodyAt + 2 });
  });

  it('is known by what it repeats of the one before it, with another length', () => {
    for (const length of ['0', '1234', '123456789']) expect(read(head(length), plain)).toEqual(read(head(length)));
    const other = `POST /batch HTTP/1.1\r\nHost: u\r\n${type}Content-Length: 3\r\n\r\n`;
    expect(read(other, plain)).toEqual(read(other));
    expect(read(`${before}3\r\nTE: x\r\n\r\n`, plain)).toBeUndefined();
    expect(read(`${before}3\r\nX: y\r\n\r\n`, plain)).toMatchObject({ repeated: '' });
    expect(read(head('3'), `${before}3\r\nX: y\r\n\r\n`)).toEqual(read(head('3')));
  });

  it('may carry its fields in any order and case, and others', () => {
    const text = `POST /mget HTTP/1.1\r\ncontent-length:3\r\nAccept: */*\r\nhost: t\r\nCONTENT-TYPE:  a/b \r\nConnection: Keep-Alive\r\n\r\n`;
    expect(read(text)).toEqual({ target: '/mget', contentType: 'a/b', bodyAt: text.length, end: text.length + 3, repeated: '' });
  });
});

describe('is not plain, and left to Node:', () => {
  it.each([
    ['nothing', ''],
    ['another method', plain.replace('POST', 'PUT')],
    ['HTTP/1.0', plain.replace('1.1', '1.0')],
    ['a space in the target', plain.replace('/batch', '/bat ch')],
    ['no target', plain.replace('/batch', '')],
    ['bare line feeds', plain.replaceAll('\r\n', '\n')],
    ['no Host', plain.replace(host, '')],
    ['two Hosts', plain.replace(host, host + host)],
    ['no type', plain.replace(type, '')],
    ['two types', plain.replace(type, type + type)],
    ['no length', plain.replace('Content-Length: 3\r\n', '')],
    ['two lengths', plain.replace('Content-Length: 3', 'Content-Length: 3\r\nContent-Length: 3')],
    ['a list of lengths', head('3, 3')],
    ['a length with a sign', head('+3')],
    ['a negative length', head('-3')],
    ['a length in hex', head('0x3')],
    ['a length of ten digits', head('0000000003')],
    ['an empty length', head('')],
    ['a coding', plain.replace(type, `${type}Transfer-Encoding: chunked\r\n`)],
    ['an encoding', plain.replace(type, `${type}Content-Encoding: gzip\r\n`)],
    ['an expectation', plain.replace(type, `${type}Expect: 100-continue\r\n`)],
    ['an upgrade', plain.replace(type, `${type}Upgrade: h2c\r\n`)],
    ['a connection that closes', plain.replace(type, `${type}Connection: close\r\n`)],
    ['a folded field', plain.replace(type, `${type} x\r\n`)],
    ['a space before the colon', plain.replace('Content-Length:', 'Content-Length :')],
    ['a NUL in a value', plain.replace('application/x', 'application/\0')],
    ['more fields than are remembered', plain.replace(type, `${type}X: ${'a'.repeat(limits.plainFieldsSizeMax)}\r\n`)],
  ])('%s', (_, text) => {
    expect(read(text)).toBeUndefined();
    expect(read(text, plain)).toBeUndefined();
  });

  it('any part of a head', () => {
    for (let i = 0; i < head('3').length; i++) {
      expect(read(plain.slice(0, i))).toBeUndefined();
      expect(read(plain.slice(0, i), plain)).toBeUndefined();
    }
  });
});

it('whatever comes, what is known makes no difference', () => {
  const part = fc.constantFrom(
    'POST /batch',
    ' HTTP/1.1',
    '\r\n',
    host,
    type,
    'Content-Length: ',
    '3',
    '12',
    '\n',
    ' ',
    'X: y\r\n',
    before,
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), fc.boolean(), (parts, isEnded) => {
      const text = parts.join('') + (isEnded ? '\r\n\r\n' : '');
      expect(read(text, plain)).toEqual(read(text));
    }),
    { numRuns: 5_000 },
  );
});
