// A shard with knobs, for the router's tests: a real HTTP server that answers `/status` and `/batch` well until it is told
// otherwise. It writes the wire format by hand, so that a fault in the product's own writer would show.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SliceRanges } from '../../shared/slice-ranges.ts';
import type { StatusReport } from '../../shared/status-report.ts';
import { parseVersionUse, type VersionUse, versionUseHeader } from '../../shared/version-use.ts';

export const statusOfKey = { found: 0, missing: 1, notHeld: 2, loading: 3, corrupt: 4, deferred: 5 } as const;

/** What the fake says of one key: a value, or one of the other states. */
export type FakeAnswer = Buffer | Exclude<keyof typeof statusOfKey, 'found'>;

/** How a batch is answered; `good` is the reply that an honest shard would give. */
export type FakeReply = (good: Buffer, response: ServerResponse, request: IncomingMessage) => void;

export const contentType = 'application/vnd.pavostore.batch';

export const honestReply: FakeReply = (good, response) => {
  response.writeHead(200, { 'content-type': contentType, 'content-length': good.length });
  response.end(good);
};

export class FakeShard {
  readonly name: string;
  /** Knob: the version that it reports; it answers for any. */
  versionId: string;
  readonly sliceCount: number;
  readonly #server: Server;
  #counter = 0;
  /** Knob: what it says of a key in a version. */
  answer: (key: string, versionId: string) => FakeAnswer = () => 'missing';
  /** Knob: how it sends its replies. */
  reply: FakeReply = honestReply;
  /** Knob: how it sends its status; `good` is the true one. */
  replyStatus: (good: string, response: ServerResponse) => void = (good, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(good);
  };
  /** Knobs: what it reports. */
  state: StatusReport['state'] = 'ready';
  kept: SliceRanges;
  loading: SliceRanges = [];
  corrupt: SliceRanges = [];
  sequence = 1;
  /** What the last poll of a router said of the versions that it uses. */
  versionUse: VersionUse | undefined;
  /** Counter: the keys of each batch that came. */
  readonly batches: string[][] = [];
  readonly #arrivals: (() => void)[] = [];

  private constructor(options: { name: string; versionId: string; sliceCount: number; idleMs: number }) {
    this.name = options.name;
    this.versionId = options.versionId;
    this.sliceCount = options.sliceCount;
    this.kept = [[0, options.sliceCount - 1]];
    this.#server = createServer({ keepAliveTimeout: options.idleMs, keepAliveTimeoutBuffer: 0 }, (request, response) => {
      if (request.url === '/status') {
        this.versionUse = parseVersionUse(request.headers[versionUseHeader]);
        this.replyStatus(JSON.stringify(this.report), response);
      } else this.#receive(request, response);
    });
  }

  /** `idleMs`: how long it keeps an idle connection. */
  static async start(options: { name?: string; versionId?: string; sliceCount?: number; idleMs?: number } = {}): Promise<FakeShard> {
    const versionId = '0123456789abcdef0123456789abcdef';
    const shard = new FakeShard({ name: 'fake', versionId, sliceCount: 4, idleMs: 60_000, ...options });
    await new Promise<void>((resolve) => shard.#server.listen(0, '127.0.0.1', resolve));
    return shard;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get report(): StatusReport {
    const slices = { kept: this.kept, loading: this.loading, yielding: [], corrupt: this.corrupt };
    const versions = [{ id: this.versionId, sequence: this.sequence, sliceCount: this.sliceCount, slices }];
    return {
      name: this.name,
      incarnation: Buffer.from(this.name).toString('hex'),
      startedMs: 1,
      counter: ++this.#counter,
      state: this.state,
      versions,
    };
  }

  /** Resolves when `count` batches have come since the start. */
  async received(count: number): Promise<void> {
    while (this.batches.length < count) await new Promise<void>((resolve) => this.#arrivals.push(resolve));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const keys = keysOf(body);
      this.batches.push(keys);
      for (const arrived of this.#arrivals.splice(0)) arrived();
      this.reply(this.#goodReply(body, keys), response, request);
    });
  }

  #goodReply(body: Buffer, keys: readonly string[]): Buffer {
    const parts = keys.map((key) => {
      const answer = this.answer(key, body.toString('hex', 1, 17));
      if (typeof answer === 'string') return Buffer.from([statusOfKey[answer]]);
      const head = Buffer.alloc(5);
      head.writeUInt32LE(answer.length, 1);
      return Buffer.concat([head, answer]);
    });
    return Buffer.concat([body.subarray(0, 21), ...parts]);
  }
}

function keysOf(body: Buffer): string[] {
  const keys: string[] = [];
  for (let at = 21; at < body.length; ) {
    const size = body.readUInt16LE(at);
    keys.push(body.toString('latin1', at + 2, at + 2 + size));
    at += 2 + size;
  }
  if (keys.length !== body.readUInt32LE(17)) throw new Error(`a batch says ${body.readUInt32LE(17)} keys and has ${keys.length}`);
  return keys;
}
