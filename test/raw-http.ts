// A client of plain sockets for tests: sends bytes exactly as they are given, reads responses strictly. What is not a well-formed
// response of a known length, or comes when nothing was asked, is an error: so a server that loses step is found out.

import { connect, type Socket } from 'node:net';

export type RawResponse = {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
};

export class RawConnection {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const wake = (): void => this.#wake?.();
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      wake();
    });
    socket.on('error', (error) => {
      this.#error = error;
    });
    for (const event of ['end', 'close'] as const) {
      socket.on(event, () => {
        this.#ended = true;
        wake();
      });
    }
  }

  /** `address` is `host:port`. */
  static async open(address: string): Promise<RawConnection> {
    const { hostname, port } = new URL(`http://${address}`);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawConnection(socket);
  }

  /** A string is latin1: one character a byte. */
  write(bytes: string | Buffer): void {
    this.#socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** The next response; `toHead`: it answers a HEAD and has no body. Rejects when the connection ends before. */
  async next({ toHead = false }: { toHead?: boolean } = {}): Promise<RawResponse> {
    const head = await this.#takeHead();
    const [statusLine, ...fields] = head.split('\r\n') as [string, ...string[]];
    const status = Number(/^HTTP\/1\.1 (\d{3}) [\x20-\x7e]*$/.exec(statusLine)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) throw new Error(`not a status line: ${JSON.stringify(statusLine.slice(0, 200))}`);
    const headers = new Map<string, string>();
    for (const field of fields) {
      const parts = /^([!#$%&'*+.^`|~\w-]+): (.*)$/.exec(field);
      if (!parts) throw new Error(`not a header field: ${JSON.stringify(field)}`);
      const name = parts[1]!.toLowerCase();
      if (headers.has(name)) throw new Error(`${name} is sent twice`);
      headers.set(name, parts[2]!);
    }
    if (toHead || status < 200 || status === 204 || status === 304) return { status, headers, body: Buffer.alloc(0) };
    const length = headers.get('content-length');
    if (length === undefined || !/^\d+$/.test(length)) throw new Error(`${statusLine}: content-length ${length}`);
    return { status, headers, body: await this.#take(Number(length)) };
  }

  /** False as soon as another response begins; true when the connection ends instead. */
  async isAtEnd(): Promise<boolean> {
    while (!this.#ended && this.#chunks.length === 0) await this.#more();
    return this.#chunks.length === 0;
  }

  /** Resolves when the server has ended the connection, to the bytes that came after the last response that was read. */
  async ended(): Promise<Buffer> {
    while (!this.#ended) await this.#more();
    return Buffer.concat(this.#chunks);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #takeHead(): Promise<string> {
    for (;;) {
      const bytes = this.#received();
      const end = bytes.indexOf('\r\n\r\n');
      if (end >= 0) {
        this.#chunks = end + 4 === bytes.length ? [] : [bytes.subarray(end + 4)];
        return bytes.toString('latin1', 0, end);
      }
      await this.#more();
    }
  }

  async #take(size: number): Promise<Buffer> {
    while (this.#chunks.reduce((sum, { length }) => sum + length, 0) < size) await this.#more();
    const bytes = this.#received();
    this.#chunks = size === bytes.length ? [] : [bytes.subarray(size)];
    return bytes.subarray(0, size);
  }

  /** All that came and was not read. */
  #received(): Buffer {
    return this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
  }

  async #more(): Promise<void> {
    if (this.#ended) {
      const rest = JSON.stringify(Buffer.concat(this.#chunks).toString('latin1').slice(0, 200));
      throw new Error(`the connection ended (${this.#error?.message ?? 'in order'}) after ${rest}`);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await promise;
  }
}

/** One request on a connection of its own. With a deadline it rejects when that is over, also when nobody takes the connection. */
export async function ask(
  address: string,
  request: string | Buffer,
  { toHead = false, deadlineMs }: { toHead?: boolean; deadlineMs?: number } = {},
): Promise<RawResponse> {
  const opening = RawConnection.open(address);
  const isOver = deadlineMs === undefined ? undefined : AbortSignal.timeout(deadlineMs);
  try {
    const answer = opening.then(async (connection) => {
      connection.write(request);
      return await connection.next({ toHead });
    });
    return await (isOver ? Promise.race([answer, rejected(isOver)]) : answer);
  } finally {
    // It may have come too late.
    void opening.then((connection) => connection.close()).catch(() => {});
  }
}

function rejected(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
}

/** Many requests over one connection, each sent before the answer to the one before has come, at most `ahead` of them. */
export async function askPipelined(
  connection: RawConnection,
  requests: readonly { readonly text: string; readonly toHead?: boolean }[],
  ahead = 64,
): Promise<RawResponse[]> {
  const responses: RawResponse[] = [];
  for (let start = 0; start < requests.length; start += ahead) {
    const part = requests.slice(start, start + ahead);
    connection.write(part.map(({ text }) => text).join(''));
    for (const { toHead = false } of part) responses.push(await connection.next({ toHead }));
  }
  return responses;
}

/** `GET target` with a Host, and further header lines if any. */
export function getRequest(target: string, headers: readonly string[] = [], method = 'GET'): string {
  return `${method} ${target} HTTP/1.1\r\nHost: test\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`;
}

export function postRequest(target: string, type: string, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body);
  return Buffer.concat([
    Buffer.from(`POST ${target} HTTP/1.1\r\nHost: test\r\nContent-Type: ${type}\r\nContent-Length: ${bytes.length}\r\n\r\n`, 'latin1'),
    bytes,
  ]);
}

/** Each byte of a latin1 string as `%XX`: the safest way to write a key into a query. */
export function percentEncode(key: string): string {
  return [...Buffer.from(key, 'latin1')].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
}
