// A name server as small as can be (RFC 1035): one name, which has the addresses that a test wants, or none, or no answer at all.

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

/** What is said to every question: addresses, none of them, that there is no such name, that something failed; or nothing. */
export type NameAnswer = readonly string[] | 'no such name' | 'failure' | 'silence';

const headerSize = 12;
const typeA = 1;
const codes = { 'no such name': 3, failure: 2 } as const;

export class NameServer {
  /** Knob. */
  answer: NameAnswer = [];
  /** Counter. */
  questions = 0;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (question, { address, port }) => {
      this.questions++;
      const said = this.answer;
      if (said !== 'silence') socket.send(answerTo(question, said), port, address);
    });
  }

  /** On port 53 of `host`: where every resolver asks. */
  static async start(host: string): Promise<NameServer> {
    const socket = createSocket('udp4').bind(53, host);
    await once(socket, 'listening');
    return new NameServer(socket);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }
}

function answerTo(question: Buffer, said: Exclude<NameAnswer, 'silence'>): Buffer {
  let end = headerSize;
  while (question[end] !== 0) end += 1 + question[end]!;
  end += 5;
  const isA = question.readUInt16BE(end - 4) === typeA;
  const addresses = typeof said === 'string' || !isA ? [] : said;
  const header = Buffer.alloc(headerSize);
  question.copy(header, 0, 0, 2);
  // An answer, with recursion as it was asked for.
  header.writeUInt16BE(0x8180 | (typeof said === 'string' ? codes[said] : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(addresses.length, 6);
  const records = addresses.map((address) => {
    // The name of the question; type A, class IN, for no time at all, four bytes.
    const record = Buffer.from('c00c00010001000000000004', 'hex');
    return Buffer.concat([record, Buffer.from(address.split('.').map(Number))]);
  });
  return Buffer.concat([header, question.subarray(headerSize, end), ...records]);
}
