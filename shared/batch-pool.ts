// The keep-alive sockets to one shard, over which batches go: a POST of wire format 1 out, its reply back, one at a time on each socket.
//
// Written and read here, on sockets that undici connects, since a request through undici costs more than the batch itself
// (docs/decisions/015-the-hop-and-the-look-up.md). What a shard may answer is narrow: a status line, plain fields with a Content-Length, the body. Anything else is
// no answer, and ends the socket: nothing can be known of what comes behind it.
//
// Callers have deadlines of their own and let a late reply finish, since giving a request up costs its socket. One that stays silent for
// `socketSilentMs` is destroyed here.

import type { Socket } from 'node:net';
import { batchContentType } from './batch-wire.ts';
import { type Connector, isConnectTimeout, isRefused, openConnector } from './http-client.ts';
import { limits } from './limits.ts';
import { type Outgoing, sendOutgoing } from './outgoing.ts';
import { readShared } from './shared-read.ts';

/**
 * Why a batch has no reply. `refused`: nobody listens, so nothing was written; `reset`: a connection that had served before ended without a
 * byte of this answer, as when its idle time was over just then; `broken`: any other end of a connection; `late`: silent; `wrong`: not an answer.
 */
export type BatchFailure = 'refused' | 'reset' | 'broken' | 'late' | 'wrong';

export type BatchCallbacks = {
  /** Its first byte is given to a socket: at once, or when the connection is made. */
  readonly onWrite?: () => void;
  /** The whole body of a 200 of the right type. The bytes belong to the receiver. */
  readonly onReply: (body: Buffer) => void;
  readonly onFailure: (failure: BatchFailure) => void;
};

/** A batch on its way. */
export type SentBatch = {
  /** False as long as no byte of it has been given to a socket: the connection is still being made. */
  readonly isWritten: boolean;
};

/** Does not queue: the caller has at most `batchSocketsMax` batches under way. */
export class BatchPool {
  readonly #headStart: string;
  readonly #idle: BatchSocket[] = [];
  readonly #all = new Set<BatchSocket>();
  readonly #connect: Connector;
  #isClosed = false;

  constructor(address: string, connect: Connector = openConnector(address)) {
    this.#headStart = `POST /batch HTTP/1.1\r\nHost: ${address}\r\nConnection: keep-alive\r\nContent-Type: ${batchContentType}\r\nContent-Length: `;
    this.#connect = connect;
  }

  /** Sends a batch, which is the pool's from now on. */
  send(request: Outgoing, callbacks: BatchCallbacks): SentBatch {
    if (this.#isClosed) {
      queueMicrotask(() => callbacks.onFailure('broken'));
      return { isWritten: false };
    }
    const batch = new Batch(`${this.#headStart}${request.end - request.start}\r\n\r\n`, request, callbacks);
    const socket = this.#idle.pop() ?? this.#open();
    socket.send(batch);
    return batch;
  }

  /** Ends all sockets at once; batches under way fail. */
  close(): void {
    this.#isClosed = true;
    for (const socket of this.#all) socket.destroy();
  }

  #open(): BatchSocket {
    const socket = new BatchSocket(this.#connect, {
      onIdle: () => this.#idle.push(socket),
      onEnd: () => {
        this.#all.delete(socket);
        const at = this.#idle.indexOf(socket);
        if (at >= 0) this.#idle.splice(at, 1);
      },
    });
    this.#all.add(socket);
    return socket;
  }
}

class Batch implements SentBatch {
  readonly head: string;
  readonly request: Outgoing;
  readonly callbacks: BatchCallbacks;
  isWritten = false;

  constructor(head: string, request: Outgoing, callbacks: BatchCallbacks) {
    this.head = head;
    this.request = request;
    this.callbacks = callbacks;
  }
}

/** One connection, from its first batch to its end. */
class BatchSocket {
  readonly #events: { readonly onIdle: () => void; readonly onEnd: () => void };
  #socket: Socket | undefined;
  #batch: Batch | undefined;
  /** Of the reply: as long as its head is not whole what has come, then room for all of it. */
  #reply: Buffer = nothing;
  /** What has come of the reply. */
  #size = 0;
  /** Of the reply, once it is known. */
  #head: ReplyHead | undefined;
  /** Of the reply before. */
  #knownHead: ReplyHead | undefined;
  #idleSinceMs = 0;
  #hasServed = false;
  #isEnded = false;

  constructor(connect: Connector, events: { onIdle: () => void; onEnd: () => void }) {
    this.#events = events;
    connect((error, socket) => {
      if (!socket) this.#end(connectFailure(error));
      else if (this.#isEnded) socket.destroy();
      else this.#opened(socket);
    });
  }

  /** Only when it is new, or idle. */
  send(batch: Batch): void {
    this.#batch = batch;
    if (this.#socket) this.#write(this.#socket, batch);
  }

  destroy(): void {
    this.#end('broken');
  }

  #opened(socket: Socket): void {
    this.#socket = socket;
    readShared(socket, (bytes, size) => this.#receive(bytes, size));
    for (const event of ['error', 'end', 'close']) socket.on(event, () => this.#end(this.#isUnheard ? 'reset' : 'broken'));
    socket.on('timeout', () => this.#silent(socket));
    socket.setTimeout(limits.socketSilentMs);
    if (this.#batch) this.#write(socket, this.#batch);
  }

  /** It had served before, and nothing of the reply has come. */
  get #isUnheard(): boolean {
    return this.#hasServed && this.#size === 0;
  }

  #write(socket: Socket, batch: Batch): void {
    batch.isWritten = true;
    batch.callbacks.onWrite?.();
    sendOutgoing(socket, batch.head, batch.request);
  }

  #receive(bytes: Buffer, size: number): void {
    // Nobody has asked for it.
    if (!this.#batch) return this.#end('wrong');
    const sizeBefore = this.#size;
    this.#size += size;
    if (this.#head) {
      // More than the reply: nothing can be known of what it is.
      if (this.#size > this.#head.end) return this.#end('wrong');
      bytes.copy(this.#reply, sizeBefore, 0, size);
    } else if (!this.#begin(sizeBefore === 0 ? bytes.subarray(0, size) : Buffer.concat([this.#reply, bytes.subarray(0, size)]))) return;
    if (this.#size === this.#head!.end) this.#complete(this.#head!);
  }

  /** `start` is what has come of the reply, in a buffer that is not ours. False when it has no whole head yet, or is no reply: then this is the end. */
  #begin(start: Buffer): boolean {
    const head = readReplyHead(start, this.#knownHead);
    if (head === undefined && start.length <= limits.replyHeadSizeMax) {
      this.#reply = Buffer.from(start);
      return false;
    }
    if (head === undefined || head === 'wrong' || start.length > head.end || head.end - head.bodyAt > replySizeMax) {
      this.#end('wrong');
      return false;
    }
    this.#head = head;
    // Of its own, since it goes to the receiver: a piece of a pool would live as long as the longest of its neighbours.
    this.#reply = Buffer.allocUnsafeSlow(head.end);
    start.copy(this.#reply);
    return true;
  }

  #complete(head: ReplyHead): void {
    const reply = this.#reply;
    const batch = this.#batch!;
    this.#batch = undefined;
    this.#reply = nothing;
    this.#size = 0;
    this.#knownHead = head;
    this.#head = undefined;
    this.#hasServed = true;
    this.#idleSinceMs = performance.now();
    if (head.isLast) this.#end('broken');
    else this.#events.onIdle();
    if (head.isAnswer) batch.callbacks.onReply(reply.subarray(head.bodyAt, head.end));
    else batch.callbacks.onFailure('wrong');
  }

  /** Nothing was read or written for `socketSilentMs`. */
  #silent(socket: Socket): void {
    if (this.#batch || performance.now() - this.#idleSinceMs >= limits.clientKeepAliveMs) this.#end('late');
    else socket.setTimeout(limits.socketSilentMs);
  }

  #end(failure: BatchFailure): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#socket?.destroy();
    this.#events.onEnd();
    this.#batch?.callbacks.onFailure(failure);
    this.#batch = undefined;
  }
}

function connectFailure(error: Error | null): BatchFailure {
  // Nobody said no: the machine is silent, or its network.
  if (isConnectTimeout(error)) return 'late';
  return isRefused(error) ? 'refused' : 'broken';
}

/** The largest reply: full, but for one value that exceeds it, and the statuses of the rest. */
const replySizeMax = limits.batchReplySizeMax + limits.valueSizeMax + limits.batchKeysMax * 5 + 64;

type ReplyHead = {
  /** All before the digits of the length, where that is the last field: replies within one second repeat it. Empty where it is not. */
  readonly repeated: string;
  readonly bodyAt: number;
  readonly end: number;
  /** A 200 of the right type. */
  readonly isAnswer: boolean;
  /** The connection ends behind it. */
  readonly isLast: boolean;
};

const headEnd = '\r\n\r\n';
const nothing = Buffer.alloc(0);

/** Undefined when there is not all of it yet; `wrong` when it is not a head that a shard sends. */
function readReplyHead(bytes: Buffer, known: ReplyHead | undefined): ReplyHead | 'wrong' | undefined {
  const headSize = bytes.indexOf(headEnd) + headEnd.length;
  if (headSize < headEnd.length) return undefined;
  const head = bytes.toString('latin1', 0, headSize);
  if (known && known.repeated !== '' && head.startsWith(known.repeated)) {
    const length = head.slice(known.repeated.length, -headEnd.length);
    if (isLength(length)) return { ...known, bodyAt: headSize, end: headSize + Number(length) };
  }
  return parseReplyHead(head);
}

function parseReplyHead(head: string): ReplyHead | 'wrong' {
  const [statusLine, ...lines] = head.slice(0, -headEnd.length).split('\r\n');
  const status = /^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/.exec(statusLine!)?.[1];
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    if (colon <= 0 || fields.has(name)) return 'wrong';
    fields.set(name, line.slice(colon + 1).trim());
  }
  const length = fields.get('content-length');
  if (status === undefined || length === undefined || !isLength(length) || fields.has('transfer-encoding')) return 'wrong';
  const repeated = head.slice(0, -headEnd.length - length.length);
  return {
    repeated: repeated.toLowerCase().endsWith('\r\ncontent-length: ') ? repeated : '',
    bodyAt: head.length,
    end: head.length + Number(length),
    isAnswer: status === '200' && fields.get('content-type') === batchContentType,
    isLast: fields.get('connection')?.toLowerCase() === 'close',
  };
}

function isLength(text: string): boolean {
  return /^\d{1,9}$/.test(text);
}
