// A client's connection as long as nothing but plain requests come over it: they are read and answered on the bare socket, for a third of
// what Node's HTTP server takes for the same. The first bytes that are no plain request hand the connection over to Node, with
// all that is not answered yet, for good. docs/decisions/007-plain-gets-ahead-of-the-parser.md, 015-the-hop-and-the-look-up.md.
//
//     bytes ─┬─> readPlainGet ──> answerGet ───────┬─> one write ─> next request
//            ├─> readPlainPost ─> its body ─> answer ┘
//            └─ neither ─> Node's parser, every byte from here on
//
// One request is answered at a time, in order: what a client sends ahead waits, and the socket is not read meanwhile. A GET comes in one
// piece; the body of a POST may come in some.

import type { Socket } from 'node:net';
import type { ErrorCode } from './errors.ts';
import { type GetExchange, httpDate, keepAliveText, lastText, type VersionHeaders } from './get-response.ts';
import { limits } from './limits.ts';
import { type Outgoing, sendOutgoing } from './outgoing.ts';
import type { Memory, OwedMemory } from './owed-memory.ts';
import { readPlainGet } from './plain-get.ts';
import { type PlainPost, readPlainPost } from './plain-post.ts';
import { type ProblemText, problemText } from './problem-response.ts';
import { readAsStream, readShared } from './shared-read.ts';

/** One plain POST, to be answered by exactly one call. */
export interface PostExchange {
  /** 200 with these fields, lines that end in CRLF. */
  sendBody(fields: string, body: Outgoing): void;
  sendProblem(code: ErrorCode, version?: VersionHeaders, detail?: string): void;
}

/** What answers the plain POSTs to one path; another type of body, or a larger one, makes a request that is not plain. */
export type PlainPostRoute = {
  readonly contentType: string;
  readonly sizeMax: number;
  /** The body belongs to the receiver. Must not throw. */
  readonly answer: (body: Buffer, exchange: PostExchange) => void;
};

export type PlainConnectionOwner = {
  readonly answerGet: (target: string, exchange: GetExchange) => void;
  readonly postRoutes: ReadonlyMap<string, PlainPostRoute>;
  readonly owed: OwedMemory;
  /** True when the server closes: an answer that is due then is the last one, and what comes then is for Node, which says the same. */
  readonly isClosing: () => boolean;
  /** `bytes` is all that has come and is not answered. */
  readonly handOver: (socket: Socket, bytes: Buffer) => void;
  /** Tells the client why, and ends the connection. */
  readonly refuse: (socket: Socket, code: 'request_timeout') => void;
  readonly onEnd: (connection: PlainConnection) => void;
};

/** A POST whose body has not come yet, as a whole. */
type PartialPost = { readonly post: PlainPost; readonly pieces: Buffer[]; size: number; readonly sinceMs: number };

const letterP = 0x50;
/** How long a connection may be idle after its first request. */
const keptIdleMs = limits.serverKeepAliveMs + limits.serverKeepAliveSlackMs;

export class PlainConnection implements GetExchange, PostExchange {
  readonly #socket: Socket;
  readonly #owner: PlainConnectionOwner;
  /** What came behind the request that is being answered, one character a byte; the socket is paused while there is any. */
  #held = '';
  #partial: PartialPost | undefined;
  /** The header fields of the GET before, which this client will send again. */
  #fields = '';
  /** The POST before. */
  #post: PlainPost | undefined;
  #isAnswering = false;
  #isReading = false;
  #clientEnded = false;
  /** The client has been told that the connection ends with the answer that was sent. */
  #isOver = false;
  /** What the answer lies in that the client has not taken. */
  #owed: Memory | undefined;
  /** How often its owner has looked since something was read or answered: a timer of Node's would be set anew for each. */
  #quietLooks = 0;
  readonly #unsubscribe: () => void;

  constructor(socket: Socket, owner: PlainConnectionOwner) {
    this.#socket = socket;
    this.#owner = owner;
    const events: readonly [string, (...args: never[]) => void][] = [
      ['drain', () => this.#drained()],
      ['end', () => this.#end()],
      // What goes wrong with a client's socket concerns nobody else: it closes.
      ['error', () => {}],
      ['timeout', () => this.#stalled()],
      [
        'close',
        () => {
          this.#settleDebt();
          owner.onEnd(this);
        },
      ],
    ];
    for (const [event, listener] of events) socket.on(event, listener as () => void);
    readShared(socket, (bytes, size) => this.#receive(bytes, size));
    this.#unsubscribe = () => {
      for (const [event, listener] of events) socket.removeListener(event, listener as () => void);
      readAsStream(socket);
    };
  }

  /** Nothing is owed to the client, and it has taken all that it was. */
  get isIdle(): boolean {
    return !this.#isAnswering && !this.#partial && !this.#isOver && this.#held === '' && this.#socket.writableLength === 0;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** The owner calls it each `connectionsCheckingIntervalMs`: a connection on which nothing happens ends. An answer that is due has a deadline of its own. */
  look(): void {
    this.#quietLooks++;
    if (this.#isAnswering || this.#socket.writableNeedDrain) return;
    if (this.#quietLooks * limits.connectionsCheckingIntervalMs <= this.#idleMaxMs) return;
    if (this.#partial) this.#giveUp();
    else this.destroy();
  }

  get #idleMaxMs(): number {
    if (this.#partial) return limits.requestTimeoutMs;
    // One that has asked knows what it wants.
    return this.#fields === '' && !this.#post ? limits.headersTimeoutMs : keptIdleMs;
  }

  sendValue(version: VersionHeaders, value: string | Buffer): void {
    const head = `${this.#kept(version.foundText)}${value.length}\r\nDate: ${httpDate()}\r\n\r\n`;
    if (typeof value === 'string') {
      this.#socket.write(head + value, 'latin1');
      return this.#answered();
    }
    this.#socket.cork();
    this.#socket.write(head, 'latin1');
    this.#socket.write(value);
    this.#socket.uncork();
    this.#answered(value.buffer);
  }

  sendBody(fields: string, body: Outgoing): void {
    const size = body.end - body.start;
    sendOutgoing(
      this.#socket,
      `HTTP/1.1 200 OK\r\n${fields}${this.#kept(keepAliveText)}Date: ${httpDate()}\r\nContent-Length: ${size}\r\n\r\n`,
      body,
    );
    this.#answered(body.buffer.bytes.buffer);
  }

  sendProblem(code: ErrorCode, version?: VersionHeaders, detail?: string): void {
    const { head, body } =
      code === 'key_not_found' && version && detail === undefined ? version.missingText : keptProblemText(code, version, detail);
    this.#socket.write(`${this.#kept(head)}Date: ${httpDate()}\r\n\r\n${body}`, detail === undefined ? 'latin1' : 'utf8');
    this.#answered();
  }

  /** The head of an answer: the last one, when the server closes and the client has not asked for more. */
  #kept(head: string): string {
    this.#isOver = this.#owner.isClosing() && this.#held === '';
    return this.#isOver ? head.replace(keepAliveText, lastText) : head;
  }

  /** The bytes are somebody else's when it returns. */
  #receive(bytes: Buffer, size: number): void {
    this.#quietLooks = 0;
    if (this.#isOver) return;
    if (this.#partial) return this.#fill(this.#partial, ownCopyOf(bytes.subarray(0, size)));
    const isFree = this.#held === '' && !this.#isAnswering && !this.#socket.writableNeedDrain;
    if (isFree && bytes[0] === letterP && this.#readPost(bytes.subarray(0, size))) return;
    this.#held += bytes.toString('latin1', 0, size);
    this.#read();
  }

  /** Answers what is held, one request after the other, as far as the client takes the answers. */
  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#held !== '' && !this.#isAnswering && !this.#socket.writableNeedDrain && !this.#socket.destroyed) {
      const request = this.#owner.isClosing() ? undefined : readPlainGet(this.#held, this.#fields);
      if (!request) {
        const bytes = Buffer.from(this.#held, 'latin1');
        this.#held = '';
        if (this.#readPost(bytes)) continue;
        return this.#handOver(bytes);
      }
      this.#fields = request.fields;
      this.#held = request.end === this.#held.length ? '' : this.#held.slice(request.end);
      this.#isAnswering = true;
      this.#owner.answerGet(request.target, this);
    }
    this.#isReading = false;
    if (this.#held !== '') this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** False when `bytes`, which are somebody else's afterwards, do not start with a plain POST, and nothing has been done. */
  #readPost(bytes: Buffer): boolean {
    const post = this.#owner.isClosing() ? undefined : readPlainPost(bytes, this.#post);
    const route = post && this.#owner.postRoutes.get(post.target);
    if (!route || post.contentType !== route.contentType || post.end - post.bodyAt > route.sizeMax) return false;
    this.#post = post;
    if (bytes.length >= post.end) this.#answerPost(post, Buffer.from(bytes));
    else this.#partial = { post, pieces: [ownCopyOf(bytes)], size: bytes.length, sinceMs: performance.now() };
    return true;
  }

  #fill(partial: PartialPost, chunk: Buffer): void {
    const { post, pieces, sinceMs } = partial;
    pieces.push(chunk);
    partial.size += chunk.length;
    if (partial.size >= post.end) {
      this.#partial = undefined;
      this.#answerPost(post, Buffer.concat(pieces, partial.size));
    } else if (performance.now() - sinceMs > limits.requestTimeoutMs) this.#giveUp();
  }

  #answerPost(post: PlainPost, bytes: Buffer): void {
    if (bytes.length > post.end) this.#held = bytes.toString('latin1', post.end);
    this.#isAnswering = true;
    this.#owner.postRoutes.get(post.target)!.answer(bytes.subarray(post.bodyAt, post.end), this);
    this.#read();
  }

  /** The body does not come in time. */
  #giveUp(): void {
    this.#partial = undefined;
    this.#leave();
    this.#owner.refuse(this.#socket, 'request_timeout');
  }

  /** `memory`: where the answer lies, unless it is a text. */
  #answered(memory?: Memory): void {
    this.#isAnswering = false;
    this.#quietLooks = 0;
    if (this.#socket.writableNeedDrain) this.#owe(memory ?? { byteLength: this.#socket.writableLength });
    if (this.#held !== '') this.#read();
    else if (this.#isOver) this.#socket.end(() => linger(this.#socket));
    else if (this.#clientEnded) this.#socket.end();
  }

  /** Until `drain`: Node sees whether the client takes anything. One answer at a time can be due. */
  #owe(memory: Memory): void {
    this.#owed = memory;
    this.#owner.owed.hold(memory);
    this.#socket.setTimeout(limits.answerStalledMs);
  }

  #settleDebt(): void {
    if (this.#owed) this.#owner.owed.drop(this.#owed);
    this.#owed = undefined;
  }

  #stalled(): void {
    this.#owner.owed.stalledCount++;
    this.destroy();
  }

  #handOver(bytes: Buffer): void {
    this.#leave();
    this.#owner.handOver(this.#socket, bytes);
  }

  /** The socket is somebody else's from now on. */
  #leave(): void {
    this.#settleDebt();
    this.#unsubscribe();
    this.#socket.setTimeout(0);
    this.#owner.onEnd(this);
  }

  #drained(): void {
    this.#settleDebt();
    this.#quietLooks = 0;
    this.#socket.setTimeout(0);
    this.#read();
  }

  /** The client sends no more; it may still wait for an answer. */
  #end(): void {
    this.#clientEnded = true;
    if (!this.#isAnswering) this.#socket.end();
  }
}

/** For a socket that has been ended: closed at once, with bytes of the client unread, it would be reset and the answer lost; but no client may hold it for long. */
export function linger(socket: Socket): void {
  if (socket.destroyed) return;
  const timer = setTimeout(() => socket.destroy(), limits.lingerMs);
  socket.once('close', () => clearTimeout(timer));
}

/** Not a piece of a pool: a client that takes its time would keep all of that. */
function ownCopyOf(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}

const problemTexts = new Map<ErrorCode, ProblemText>();

function keptProblemText(code: ErrorCode, version: VersionHeaders | undefined, detail: string | undefined): ProblemText {
  if (version) return problemText(code, `Pavostore-Version: ${version.missing[1]}\r\n${keepAliveText}`, detail);
  if (detail !== undefined) return problemText(code, keepAliveText, detail);
  let text = problemTexts.get(code);
  if (!text) {
    text = problemText(code, keepAliveText);
    problemTexts.set(code, text);
  }
  return text;
}
