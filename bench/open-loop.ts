// Load at a fixed rate, whatever the answers take: each request has its time, and its latency counts from then, also while it waits for
// a connection or for this process. So a stall of the server counts for every request that would have come in it ("coordinated
// omission" corrected; G. Tene, "How NOT to Measure Latency", 2013).
//
// Requests come every millisecond, as many as the rate gives; over keep-alive sockets, one request at a time on each.

import { connect, type Socket } from 'node:net';
import { createHistogram } from 'node:perf_hooks';

export type OpenLoopOptions = {
  /** `host:port` */
  readonly address: string;
  readonly perSecond: number;
  readonly seconds: number;
  readonly connections: number;
  /** The next key, of characters that need no escape. */
  readonly nextKey: () => string;
};

/** Latencies in milliseconds, from the time at which the request should have left. */
export type OpenLoopResult = {
  readonly requests: number;
  readonly perSecond: number;
  readonly statuses: Readonly<Record<number, number>>;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
};

const tickMs = 1;

export async function runOpenLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const { address, perSecond, seconds, connections, nextKey } = options;
  const latencies = createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
  const statuses: Record<number, number> = {};
  const waiting: number[] = [];
  const idle: Client[] = [];
  let open = 0;
  let finish: () => void = () => {};
  const onAnswer = (client: Client, status: number, dueMs: number): void => {
    latencies.record(Math.max(1, Math.round((performance.now() - dueMs) * 1_000)));
    statuses[status] = (statuses[status] ?? 0) + 1;
    open--;
    const nextDueMs = waiting.shift();
    if (nextDueMs === undefined) idle.push(client);
    else client.ask(nextKey(), nextDueMs);
    if (open === 0) finish();
  };
  const clients = await Promise.all(Array.from({ length: connections }, () => Client.open(address, onAnswer)));
  idle.push(...clients);

  const startedMs = performance.now();
  let sent = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsedMs = Math.min(performance.now() - startedMs, seconds * 1_000);
      const due = Math.floor((elapsedMs * perSecond) / 1_000);
      for (; sent < due; sent++) {
        const dueMs = startedMs + (sent * 1_000) / perSecond;
        open++;
        const client = idle.pop();
        if (client) client.ask(nextKey(), dueMs);
        else waiting.push(dueMs);
      }
      if (elapsedMs < seconds * 1_000) return;
      clearInterval(timer);
      finish = resolve;
      if (open === 0) resolve();
    }, tickMs);
  });
  const tookSeconds = (performance.now() - startedMs) / 1_000;
  for (const client of clients) client.close();
  const ms = (percentile: number): number => latencies.percentile(percentile) / 1_000;
  return {
    requests: sent,
    perSecond: sent / tookSeconds,
    statuses,
    p50Ms: ms(50),
    p99Ms: ms(99),
    p999Ms: ms(99.9),
    maxMs: latencies.max / 1_000,
  };
}

class Client {
  readonly #socket: Socket;
  readonly #host: string;
  #received = '';
  #dueMs = 0;

  private constructor(socket: Socket, host: string, onAnswer: (client: Client, status: number, dueMs: number) => void) {
    this.#socket = socket;
    this.#host = host;
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.toString('latin1');
      const headEnd = this.#received.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#received)![1]);
      if (this.#received.length < headEnd + 4 + length) return;
      const status = Number(this.#received.slice(9, 12));
      this.#received = '';
      onAnswer(this, status, this.#dueMs);
    });
    socket.on('error', (error) => {
      throw new Error(`a connection to ${host} broke under load`, { cause: error });
    });
  }

  static async open(address: string, onAnswer: (client: Client, status: number, dueMs: number) => void): Promise<Client> {
    const { hostname, port } = new URL(`http://${address}`);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new Client(socket, address, onAnswer);
  }

  ask(key: string, dueMs: number): void {
    this.#dueMs = dueMs;
    this.#socket.write(`GET /get?key=${key} HTTP/1.1\r\nHost: ${this.#host}\r\n\r\n`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
