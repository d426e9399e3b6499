// The memory of answers that are due, in one place: replies of shards whose request is not answered yet, and what was written to clients and not yet taken by the
// kernel. Keys are bounded by the engine; values of 8 MiB need a bound in bytes, or clients that do not read take all the memory there is.
//
// What counts is whole pieces of memory, each once, however many answers lie in it: the value of one slow client keeps the reply that it came in, and a hot value
// that a hundred clients take is there once. Small pieces are not counted, and of small answers only those that a socket has not taken: the others cost nothing.

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { limits } from './limits.ts';

/** An `ArrayBuffer`, or whatever else stands for a piece of memory by its identity. */
export type Memory = { readonly byteLength: number };

export type OwedReport = { readonly bytes: number; readonly bytesMax: number; readonly stalled: number };

export class OwedMemory {
  readonly sizeMax: number;
  readonly #largeMax: number;
  readonly #holders = new Map<Memory, number>();
  #size = 0;
  /** Connections that were ended since their client took nothing, since the start. */
  stalledCount = 0;

  /** `sizeMax` in bytes; by default there is no bound. */
  constructor(sizeMax: number = Number.POSITIVE_INFINITY) {
    this.sizeMax = sizeMax;
    this.#largeMax = sizeMax * limits.owedLargeShare;
  }

  get size(): number {
    return this.#size;
  }

  /** Not even a small answer more. */
  get isFull(): boolean {
    return this.#size >= this.sizeMax;
  }

  /** No large answer more. */
  get isFullForLarge(): boolean {
    return this.#size >= this.#largeMax;
  }

  /** Whether a large answer that lies in `memory` may be made. */
  hasRoomFor(memory: Memory): boolean {
    return this.#holders.has(memory) || this.#size + memory.byteLength <= this.#largeMax;
  }

  /** To be dropped as often as it is held. */
  hold(memory: Memory): void {
    if (memory.byteLength < limits.owedPieceMin) return;
    const count = this.#holders.get(memory) ?? 0;
    if (count === 0) this.#size += memory.byteLength;
    this.#holders.set(memory, count + 1);
  }

  drop(memory: Memory): void {
    if (memory.byteLength < limits.owedPieceMin) return;
    const count = this.#holders.get(memory)!;
    if (count > 1) this.#holders.set(memory, count - 1);
    else {
      this.#holders.delete(memory);
      this.#size -= memory.byteLength;
    }
  }

  report(): OwedReport {
    return { bytes: this.#size, bytesMax: this.sizeMax, stalled: this.stalledCount };
  }
}

/** By connection of Node's HTTP server: what drops each of the answers that it has not taken. */
const debts = new WeakMap<Socket, Set<() => void>>();

/** Holds `memory` until the response, which is sent right after, has left or cannot; its client may not stand still. */
export function holdUntilSent(owed: OwedMemory, response: ServerResponse, memory: Memory): void {
  const { socket } = response.req;
  if (socket.destroyed) return;
  const due = debts.get(socket) ?? debtsOf(socket);
  const drop = (): void => {
    if (due.delete(drop)) owed.drop(memory);
  };
  due.add(drop);
  owed.hold(memory);
  response.setTimeout(limits.answerStalledMs);
  response.once('finish', drop);
}

/** Answers to requests that were sent ahead are no connection's until those before them have left: their `close` may never come. */
function debtsOf(socket: Socket): Set<() => void> {
  const due = new Set<() => void>();
  debts.set(socket, due);
  socket.once('close', () => {
    for (const drop of due) drop();
  });
  return due;
}

/** Node found that nothing moves on a connection: whether an answer was due on it. */
export function isOwing(socket: Socket): boolean {
  return (debts.get(socket)?.size ?? 0) > 0;
}
