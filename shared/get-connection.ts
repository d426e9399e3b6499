// A client's connection as long as nothing but plain GETs comes over it: they are read and answered on the bare socket, for a third of
// what Node's HTTP server takes for the same. The first bytes that are not a whole plain GET hand the connection over to Node, with
// all that is not answered yet, for good. docs/decisions/007-plain-gets-ahead-of-the-parser.md.
//
//     bytes ─> readPlainGet ─┬─> answerGet ─> one write ─> next request
//                            └─ undefined ─> Node's parser, every byte from here on
//
// One request is answered at a time, in order: what a client sends ahead waits, and the socket is not read meanwhile.

import type { Socket } from 'node:net';
import type { ErrorCode } from './errors.ts';
import { type GetExchange, httpDate, keepAliveText, type VersionHeaders } from './get-response.ts';
import { limits } from './limits.ts';
import { readPlainGet } from './plain-get.ts';
import { type ProblemText, problemText } from './problem-response.ts';

export type GetConnectionOwner = {
  readonly answerGet: (target: string, exchange: GetExchange) => void;
  /** True when the server closes: Node tells its clients. */
  readonly isClosing: () => boolean;
  /** `bytes` is all that has come and is not answered. */
  readonly handOver: (socket: Socket, bytes: Buffer) => void;
  readonly onEnd: (connection: GetConnection) => void;
};

export class GetConnection implements GetExchange {
  readonly #socket: Socket;
  readonly #owner: GetConnectionOwner;
  /** What came behind the request that is being answered, one character a byte; the socket is paused while there is any. */
  #held = '';
  /** The header fields of the request before, which this client will send again. */
  #fields = '';
  #isAnswering = false;
  #isReading = false;
  #clientEnded = false;
  readonly #unsubscribe: () => void;

  constructor(socket: Socket, owner: GetConnectionOwner) {
    this.#socket = socket;
    this.#owner = owner;
    const events: readonly [string, (...args: never[]) => void][] = [
      ['data', (chunk: Buffer) => this.#receive(chunk)],
      ['drain', () => this.#read()],
      ['end', () => this.#end()],
      // What goes wrong with a client's socket concerns nobody else: it closes.
      ['error', () => {}],
      ['timeout', () => this.#idle()],
      ['close', () => owner.onEnd(this)],
    ];
    for (const [event, listener] of events) socket.on(event, listener as () => void);
    this.#unsubscribe = () => {
      for (const [event, listener] of events) socket.removeListener(event, listener as () => void);
    };
    socket.setTimeout(limits.headersTimeoutMs);
  }

  /** Nothing is owed to the client. */
  get isIdle(): boolean {
    return !this.#isAnswering;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  sendValue(version: VersionHeaders, value: string | Buffer): void {
    const head = `${version.foundText}${value.length}\r\nDate: ${httpDate()}\r\n\r\n`;
    if (typeof value === 'string') {
      this.#socket.write(head + value, 'latin1');
    } else {
      this.#socket.cork();
      this.#socket.write(head, 'latin1');
      this.#socket.write(value);
      this.#socket.uncork();
    }
    this.#answered();
  }

  sendProblem(code: ErrorCode, version?: VersionHeaders): void {
    const { head, body } = version && code === 'key_not_found' ? version.missingText : keptProblemText(code, version);
    this.#socket.write(`${head}Date: ${httpDate()}\r\n\r\n${body}`, 'latin1');
    this.#answered();
  }

  #receive(chunk: Buffer): void {
    this.#held += chunk.toString('latin1');
    this.#read();
  }

  /** Answers what is held, one request after the other, as far as the client takes the answers. */
  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#held !== '' && !this.#isAnswering && !this.#socket.writableNeedDrain && !this.#socket.destroyed) {
      const request = this.#owner.isClosing() ? undefined : readPlainGet(this.#held, this.#fields);
      if (!request) return this.#handOver();
      if (this.#fields === '') this.#socket.setTimeout(limits.serverKeepAliveMs + limits.serverKeepAliveSlackMs);
      this.#fields = request.fields;
      this.#held = request.end === this.#held.length ? '' : this.#held.slice(request.end);
      this.#isAnswering = true;
      this.#owner.answerGet(request.target, this);
    }
    this.#isReading = false;
    if (this.#held !== '') this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  #answered(): void {
    this.#isAnswering = false;
    if (this.#held !== '') this.#read();
    else if (this.#clientEnded) this.#socket.end();
  }

  #handOver(): void {
    const bytes = Buffer.from(this.#held, 'latin1');
    this.#unsubscribe();
    this.#socket.setTimeout(0);
    this.#owner.onEnd(this);
    this.#owner.handOver(this.#socket, bytes);
  }

  /** The client sends no more; it may still wait for an answer. */
  #end(): void {
    this.#clientEnded = true;
    if (!this.#isAnswering) this.#socket.end();
  }

  /** Nothing was read or written for the whole time. An answer that is still due has a deadline of its own. */
  #idle(): void {
    if (!this.#isAnswering) this.destroy();
  }
}

const problemTexts = new Map<ErrorCode, ProblemText>();

function keptProblemText(code: ErrorCode, version: VersionHeaders | undefined): ProblemText {
  if (version) return problemText(code, `Pavostore-Version: ${version.missing[1]}\r\n${keepAliveText}`);
  let text = problemTexts.get(code);
  if (!text) {
    text = problemText(code, keepAliveText);
    problemTexts.set(code, text);
  }
  return text;
}
