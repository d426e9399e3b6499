import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { bodyOf, headRoom, outgoingOf, sendOutgoing, takeBuffer } from '../../shared/outgoing.ts';

let near: Socket;
let far: Socket;
let close: () => Promise<void>;

beforeEach(async () => {
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  near = connect((server.address() as { port: number }).port, '127.0.0.1');
  await once(near, 'connect');
  [far] = await accepted;
  close = async () => {
    near.destroy();
    far.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
});
afterEach(async () => await close());

async function received(size: number): Promise<string> {
  let text = '';
  far.setEncoding('latin1');
  far.on('data', (part: string) => {
    text += part;
  });
  far.resume();
  while (text.length < size) await once(far, 'data');
  return text;
}

test('a head and a body leave together, and their buffer is used for the next', async () => {
  const first = outgoingOf(Buffer.from('body'));
  expect(bodyOf(first).toString()).toBe('body');
  sendOutgoing(near, 'head ', first);
  const second = outgoingOf(Buffer.from('another'));
  expect(second.buffer).toBe(first.buffer);
  sendOutgoing(near, ' ', second);
  expect(await received(17)).toBe('head body another');
});

test('a buffer that the socket has not taken is not used again', async () => {
  const size = limits.outgoingSize - headRoom;
  const texts: string[] = [];
  // Nobody reads: at some time the system takes no more.
  for (let i = 0; near.writableLength === 0; i++) {
    texts.push(String.fromCharCode(0x61 + (i % 26)).repeat(size));
    sendOutgoing(near, '', outgoingOf(Buffer.from(texts.at(-1)!)));
  }
  for (let i = 0; i < 2 * limits.outgoingKeptMax; i++) takeBuffer(1).bytes.fill(0);
  const expected = texts.join('');
  expect((await received(expected.length)) === expected).toBe(true);
});

test('a body beyond the usual size has a buffer of its own, and a head beyond its room is a bug', () => {
  expect(takeBuffer(limits.outgoingSize + 1).bytes.length).toBeGreaterThan(limits.outgoingSize);
  expect(() => sendOutgoing(near, 'h'.repeat(headRoom + 1), outgoingOf(Buffer.alloc(1)))).toThrow('room for the head');
});
