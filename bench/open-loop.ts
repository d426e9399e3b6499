// Load at a fixed rate, whatever the answers take: each request has its time, and its latency counts from then, also while it waits for
// a connection or for this process. So a stall of the server counts for every request that would have come in it ("coordinated
// omission" corrected; G. Tene, "How NOT to Measure Latency", 2013).
//
// Requests come every millisecond, as many as the rate gives; over keep-alive sockets, one request at a time on each, which are opened when
// they are needed.

import { connect, type Socket } from 'node:net';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { getPath, type KeyPath } from './tools.ts';

export type OpenLoopOptions = {
  /** `host:port` */
  readonly address: string;
  /** Our own by default. */
  readonly path?: KeyPath;
  readonly perSecond: number;
  /** At the most. */
  readonly seconds: number;
  /** Ends the load before that. */
  readonly signal?: AbortSignal;
  readonly connections: number;
  /** All connections are made before the load begins; by default when they are needed. */
  readonly opensFirst?: boolean;
  /** The next key, of characters that need no escape. */
  readonly nextKey: () => string;
  /** A request that has found no connection for so long is given up, as by a client that waits no longer. By default none is. */
  readonly giveUpMs?: number;
  /** Whether an answer is what it should be; by default none is looked at. */
  readonly isRight?: (key: string, status: number, body: string) => boolean;
};

export type Latencies = {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
};

/** Latencies from the time at which the request should have left. */
export type OpenLoopResult = Omit<Latencies, 'count'> & {
  readonly requests: number;
  readonly perSecond: number;
  readonly statuses: Readonly<Record<number, number>>;
  /** By status, from the time at which the request did leave. */
  readonly answers: Readonly<Record<number, Latencies>>;
  readonly givenUp: number;
  readonly wrong: number;
  /** Requests whose connection ended without an answer, or could not be made. */
  readonly broken: number;
};

const tickMs = 1;
/** Fewer than servers let wait to be accepted. */
const openedAtOnce = 500;
const openingMs = 20;

export async function runOpenLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const {
    address,
    path = getPath,
    perSecond,
    seconds,
    connections,
    nextKey,
    giveUpMs = Number.POSITIVE_INFINITY,
    isRight = () => true,
  } = options;
  const latencies = newHistogram();
  const byStatus = new Map<number, RecordableHistogram>();
  const waiting = new DueTimes();
  const idle: Client[] = [];
  let connectionCount = 0;
  let open = 0;
  let givenUp = 0;
  let wrong = 0;
  let broken = 0;
  let finish: () => void = () => {};
  const next = (client: Client): void => {
    const nowMs = performance.now();
    while (waiting.count > 0 && nowMs - waiting.first > giveUpMs) {
      waiting.take();
      givenUp++;
      open--;
    }
    if (client.isLast) client.close();
    else if (waiting.count === 0) idle.push(client);
    else client.ask(nextKey(), waiting.take());
    if (open === 0) finish();
  };
  const events: ClientEvents = {
    onAnswer: (client, status, body) => {
      const nowMs = performance.now();
      recordMs(latencies, nowMs - client.dueMs);
      if (!byStatus.has(status)) byStatus.set(status, newHistogram());
      recordMs(byStatus.get(status)!, nowMs - client.sentMs);
      if (!isRight(client.key, status, body)) wrong++;
      open--;
      next(client);
    },
    onEnd: (client) => {
      connectionCount--;
      // One that was never open was for the request that has waited longest: where nobody listens, all of them end so.
      const isWaitedFor = !client.wasOpen && waiting.count > 0;
      if (isWaitedFor) waiting.take();
      if (client.isAsking || isWaitedFor) {
        broken++;
        open--;
      }
      if (waiting.count > 0) openMore();
      if (open === 0) finish();
    },
  };
  const findIdle = (): Client | undefined => {
    for (let client = idle.pop(); client; client = idle.pop()) if (!client.isEnded) return client;
    return undefined;
  };
  const clients: Client[] = [];
  const openMore = (): void => {
    if (connectionCount >= connections) return;
    connectionCount++;
    clients.push(new Client(address, path, { ...events, onOpen: next }));
  };

  if (options.opensFirst) {
    while (idle.length < connections && clients.length < 2 * connections) {
      for (let i = 0; i < openedAtOnce; i++) openMore();
      await pause(openingMs);
    }
  }
  const startedMs = performance.now();
  let sent = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const isOver = options.signal?.aborted === true || performance.now() - startedMs >= seconds * 1_000;
      const elapsedMs = Math.min(performance.now() - startedMs, seconds * 1_000);
      const due = Math.floor((elapsedMs * perSecond) / 1_000);
      for (; sent < due; sent++) {
        const dueMs = startedMs + (sent * 1_000) / perSecond;
        open++;
        const client = findIdle();
        if (client) client.ask(nextKey(), dueMs);
        else {
          waiting.add(dueMs);
          openMore();
        }
      }
      if (!isOver) return;
      clearInterval(timer);
      finish = resolve;
      if (open === 0) resolve();
    }, tickMs);
  });
  const tookSeconds = (performance.now() - startedMs) / 1_000;
  for (const client of clients) client.close();
  const { count: _, ...total } = latenciesOf(latencies);
  const answers = Object.fromEntries([...byStatus].map(([status, histogram]) => [status, latenciesOf(histogram)]));
  const statuses = Object.fromEntries([...byStatus].map(([status, { count }]) => [status, count]));
  return { requests: sent, perSecond: sent / tookSeconds, statuses, answers, givenUp, wrong, broken, ...total };
}

export function newHistogram(): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
}

export function recordMs(histogram: RecordableHistogram, ms: number): void {
  histogram.record(Math.max(1, Math.round(ms * 1_000)));
}

export function latenciesOf(histogram: RecordableHistogram): Latencies {
  const ms = (percentile: number): number => histogram.percentile(percentile) / 1_000;
  return { count: histogram.count, p50Ms: ms(50), p99Ms: ms(99), p999Ms: ms(99.9), maxMs: histogram.max / 1_000 };
}

/** A queue of numbers; the oldest first. */
export class DueTimes {
  #times: number[] = [];
  #start = 0;

  get count(): number {
    return this.#times.length - this.#start;
  }

  get first(): number {
    return this.#times[this.#start]!;
  }

  add(dueMs: number): void {
    this.#times.push(dueMs);
  }

  take(): number {
    const dueMs = this.#times[this.#start++]!;
    if (this.#start > 10_000 && 2 * this.#start > this.#times.length) {
      this.#times = this.#times.slice(this.#start);
      this.#start = 0;
    }
    return dueMs;
  }
}

export type ClientEvents = {
  readonly onAnswer: (client: Client, status: number, body: string) => void;
  readonly onEnd: (client: Client) => void;
};

/** One connection, on which one request at a time is under way. */
export class Client {
  readonly address: string;
  readonly #socket: Socket;
  readonly #path: KeyPath;
  #received = '';
  isAsking = false;
  wasOpen = false;
  isEnded = false;
  /** The server has said that it answers no more on it. */
  isLast = false;
  key = '';
  dueMs = 0;
  sentMs = 0;

  constructor(address: string, path: KeyPath, events: ClientEvents & { readonly onOpen: (client: Client) => void }) {
    const { hostname, port } = new URL(`http://${address}`);
    this.address = address;
    this.#path = path;
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket.once('connect', () => {
      this.wasOpen = true;
      events.onOpen(this);
    });
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk, events));
    // What goes wrong with it ends it.
    this.#socket.on('error', () => {});
    this.#socket.once('close', () => {
      this.isEnded = true;
      events.onEnd(this);
    });
  }

  ask(key: string, dueMs: number): void {
    this.key = key;
    this.dueMs = dueMs;
    this.sentMs = performance.now();
    this.isAsking = true;
    this.#socket.write(`GET ${this.#path.prefix}${key}${this.#path.suffix} HTTP/1.1\r\nHost: ${this.address}\r\n\r\n`);
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer, { onAnswer }: ClientEvents): void {
    this.#received += chunk.toString('latin1');
    const headEnd = this.#received.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#received)![1]);
    if (this.#received.length < headEnd + 4 + length) return;
    const status = Number(this.#received.slice(9, 12));
    this.isLast = /\r\nconnection: close\r\n/i.test(this.#received.slice(0, headEnd + 2));
    const body = this.#received.slice(headEnd + 4);
    this.#received = '';
    this.isAsking = false;
    onAnswer(this, status, body);
  }
}
