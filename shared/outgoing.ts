// Buffers for what is written to a socket as a whole: a batch, its reply, the answer to an /mget. They are used again and again: made anew
// for each message, they would be most of what the collector has to do, since every one of them is memory outside of its heap.
//
//     takeBuffer ─> room for a head | the body is written ─> sendOutgoing: the head goes right before it ─> one write ─> back
//
// A buffer that a socket has not taken at once is not given back: the socket still reads it, and the collector gets it in the end.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { limits } from './limits.ts';
import { makeWordBuffer, type WordBuffer, wordCopySlack } from './word-copy.ts';

/** A body from `start` to `end`; before it there is room for the head of its message. Whoever has it sends it or drops it. */
export type Outgoing = { readonly buffer: WordBuffer; readonly start: number; readonly end: number };

/** What a body that is to be sent leaves free before itself, in bytes. */
export const headRoom = limits.headRoomSize;

const idle: WordBuffer[] = [];

/** A buffer with `size` bytes and the slack of word copies behind them, of any content; the caller's until it is sent or given back. */
export function takeBuffer(size: number): WordBuffer {
  if (size > limits.outgoingSize) return makeWordBuffer(size);
  return idle.pop() ?? makeWordBuffer(limits.outgoingSize);
}

/** Nobody reads it any more. */
export function giveBuffer(buffer: WordBuffer): void {
  if (buffer.bytes.length === limits.outgoingSize + wordCopySlack && idle.length < limits.outgoingKeptMax) idle.push(buffer);
}

/** A body that was made otherwise, ready to be sent. */
export function outgoingOf(body: Buffer): Outgoing {
  const buffer = takeBuffer(headRoom + body.length);
  body.copy(buffer.bytes, headRoom);
  return { buffer, start: headRoom, end: headRoom + body.length };
}

/** The body alone. */
export function bodyOf({ buffer, start, end }: Outgoing): Buffer {
  return buffer.bytes.subarray(start, end);
}

/** Writes `head`, of one byte a character, and the body behind it. */
export function sendOutgoing(socket: Socket, head: string, { buffer, start, end }: Outgoing): void {
  assert(head.length <= start, 'there is room for the head');
  const { bytes } = buffer;
  bytes.write(head, start - head.length, 'latin1');
  socket.write(bytes.subarray(start - head.length, end));
  if (socket.writableLength === 0) giveBuffer(buffer);
}
