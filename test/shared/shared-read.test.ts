import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { readAsStream, readShared } from '../../shared/shared-read.ts';
import { waiting } from '../cluster/cluster-harness.ts';

let server: Server;
const clients: Socket[] = [];

beforeEach(async () => {
  server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
  server.close();
});

/** A connection as the server has it, and as its client does; `accept` runs before anything can be read. */
async function open(accept: (socket: Socket) => void): Promise<{ socket: Socket; client: Socket }> {
  const accepted = once(server, 'connection');
  server.once('connection', accept);
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  clients.push(client);
  const [socket] = (await accepted) as [Socket];
  return { socket, client };
}

/** Fills the text that it returns. */
function collect(socket: Socket): { text: string } {
  const read = { text: '' };
  readShared(socket, (bytes, size) => {
    read.text += bytes.toString('latin1', 0, size);
  });
  return read;
}

/** As on a Node that keeps no buffer with its sockets. */
function withoutSharing(socket: Socket): Socket {
  (socket as unknown as { _handle: { useUserBuffer: undefined } })._handle.useUserBuffer = undefined;
  return socket;
}

test('this Node reads accepted sockets into one buffer: nobody listens to `data`', async () => {
  let buffers = new Set<unknown>();
  const take = (bytes: Buffer): unknown => (buffers = new Set([...buffers, bytes.buffer]));
  for (let i = 0; i < 3; i++) {
    const { socket, client } = await open((accepted) => readShared(accepted, take));
    client.end('x');
    await once(socket, 'end');
    expect(socket.listenerCount('data')).toBe(0);
  }
  expect([...buffers].map((buffer) => (buffer as ArrayBuffer).byteLength)).toEqual([limits.readBufferSize]);
});

describe.each([
  ['into one buffer', (socket: Socket): Socket => socket],
  ['where Node cannot', withoutSharing],
])('sockets that are read %s', (_how, prepare) => {
  test('get each its own bytes, however they come mixed, and their ends', async () => {
    const size = 40 * limits.readBufferSize + 1;
    const all = [];
    for (const letter of ['a', 'b', 'c', 'd']) {
      let read = { text: '' };
      const { socket, client } = await open((accepted) => {
        read = collect(prepare(accepted));
      });
      all.push({ letter, read, client, ended: once(socket, 'end') });
    }
    for (const { letter, client } of all) client.end(letter.repeat(size));
    await Promise.all(all.map(({ ended }) => ended));
    for (const { letter, read } of all) expect(read.text === letter.repeat(size), letter).toBe(true);
  });

  test('are not read while they are paused', async () => {
    let read = { text: '' };
    const { socket, client } = await open((accepted) => {
      read = collect(prepare(accepted));
      accepted.pause();
    });
    const size = 64 * 2 ** 20;
    client.end(Buffer.alloc(size, 'x'));
    // Unread, most of it waits in the client.
    await vi.waitFor(() => expect(client.writableLength).toBeGreaterThan(0), waiting);
    expect(read.text).toBe('');
    socket.resume();
    await once(socket, 'end');
    expect(read.text.length).toBe(size);
  });

  test('are streams again from any moment on: what came before stays with its reader, nothing is lost or changed later', async () => {
    const chunks: Buffer[] = [];
    let text = '';
    const { socket, client } = await open((accepted) => {
      readShared(prepare(accepted), (bytes, size) => {
        text += bytes.toString('latin1', 0, size);
        if (text.length < 3) return;
        readAsStream(accepted);
        accepted.on('data', (chunk: Buffer) => chunks.push(chunk));
      });
    });
    client.write('one');
    await vi.waitFor(() => expect(text).toBe('one'), waiting);
    for (const word of ['two', 'three', 'four'.repeat(limits.readBufferSize)]) {
      const before = Buffer.concat(chunks).length;
      client.write(word);
      await vi.waitFor(() => expect(Buffer.concat(chunks).length).toBe(before + word.length), waiting);
    }
    client.end();
    await once(socket, 'end');
    expect(Buffer.concat(chunks).toString()).toBe(`twothree${'four'.repeat(limits.readBufferSize)}`);
    expect(text).toBe('one');
  });

  test('of a client that breaks the connection emit what they would', async () => {
    let errors: NodeJS.ErrnoException[] = [];
    const { socket, client } = await open((accepted) => {
      collect(prepare(accepted));
      accepted.on('error', (error) => (errors = [...errors, error]));
    });
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    client.resetAndDestroy();
    await closed;
    expect(errors.map(({ code }) => code)).toEqual(['ECONNRESET']);
  });
});
