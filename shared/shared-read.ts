// Sockets that are read into one buffer of the process: Node makes 64 KiB for each read otherwise, copies what has come into a second buffer and
// hands over a third object: a tenth of what a small request costs in all.
//
// Node offers it for sockets that a program opens (`onread` of `net.Socket`), not for those that a server accepts: for these it is set by hand
// where a socket keeps it. docs/decisions/017-one-buffer-for-all-reads.md.

import { Socket } from 'node:net';
import { limits } from './limits.ts';

/** Where Node keeps the option `onread` of a socket. */
type ReadKeys = { readonly buffer: symbol; readonly callback: symbol };
type ReadHandle = { useUserBuffer?(buffer: Uint8Array): void };
type WithRead = Socket & { _handle: ReadHandle | null } & Record<symbol, unknown>;

const shared = Buffer.allocUnsafeSlow(limits.readBufferSize);
const keys = findKeys();
const listeners = new WeakMap<Socket, (chunk: Buffer) => void>();

/** The first `size` bytes of `bytes` are what has come, until it returns: the buffer is that of all sockets. */
export type Receive = (bytes: Buffer, size: number) => void;

/** From now on `receive` is called with what comes. Where Node has no way to share a buffer, it is what the socket emits as `data`. */
export function readShared(socket: Socket, receive: Receive): void {
  const to = socket as WithRead;
  if (keys && to._handle?.useUserBuffer) {
    to[keys.buffer] = shared;
    to[keys.callback] = (size: number): boolean => {
      receive(shared, size);
      return true;
    };
    to._handle.useUserBuffer(shared);
    socket.resume();
  } else {
    const onData = (chunk: Buffer): void => receive(chunk, chunk.length);
    listeners.set(socket, onData);
    socket.on('data', onData);
  }
}

/** What comes is emitted as `data` again, as for any other socket. */
export function readAsStream(socket: Socket): void {
  const to = socket as WithRead;
  const onData = listeners.get(socket);
  if (onData) socket.removeListener('data', onData);
  else if (keys) to[keys.callback] = (size: number): boolean => socket.push(Buffer.from(shared.subarray(0, size)));
}

function findKeys(): ReadKeys | undefined {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  const named = (name: string): symbol | undefined => symbols.find(({ description }) => description === name);
  const [buffer, callback] = [named('kBuffer'), named('kBufferCb')];
  return buffer && callback && { buffer, callback };
}
