// Load at a fixed rate for as long as it is wanted, over connections that go to the next router when theirs ends, every answer compared with what is due.
// Latencies count from the time at which a request should have left (open-loop.ts says why).

import { Client, DueTimes, type Latencies, latenciesOf, newHistogram, recordMs } from './open-loop.ts';
import { getPath } from './tools.ts';

export type SteadyLoadOptions = {
  /** `host:port` of each router; connections begin at one after the other. */
  readonly addresses: readonly string[];
  readonly perSecond: number;
  readonly connections: number;
  /** What is asked for, of characters that need no escape, and what is due: undefined, nothing. One after the other, and again. */
  readonly asked: readonly { readonly key: string; readonly value: string | undefined }[];
};

/** A request without its answer: `status` 0 when its connection ended. Times are those of `performance.now()`. */
export type LostRequest = { readonly status: number; readonly address: string; readonly sentMs: number; readonly said: string };

const tickMs = 1;
/** Answers after which a client opens another connection, so that routers that come back get their share. */
const answersPerConnection = 1_000;
const reopenMs = 20;
/** More of them say nothing new. */
const keptMax = 1_000;
const lastAnswersMs = 5_000;

export class SteadyLoad {
  /** Wrong values, false 404s; the first thousand. */
  readonly wrong: LostRequest[] = [];
  readonly lost: LostRequest[] = [];
  requests = 0;
  answers = 0;
  readonly #options: SteadyLoadOptions;
  readonly #idle: Client[] = [];
  readonly #clients = new Map<Client, { answers: number; due: string | undefined }>();
  readonly #waiting = new DueTimes();
  readonly #all = newHistogram();
  #recent = newHistogram();
  #turn = 0;
  #startedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: SteadyLoadOptions) {
    this.#options = options;
  }

  start(): void {
    for (let i = 0; i < this.#options.connections; i++) this.#open();
    this.#startedMs = performance.now();
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  /** Resolves when what is under way is answered, or nobody answers any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const endMs = performance.now() + lastAnswersMs;
    while (this.#isBusy() && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 10));
    this.#stopped = true;
    for (const client of this.#clients.keys()) client.close();
  }

  /** Of all answers. */
  get latencies(): Latencies {
    return latenciesOf(this.#all);
  }

  /** Of the answers since the last call. */
  takeLatencies(): Latencies {
    const latencies = latenciesOf(this.#recent);
    this.#recent = newHistogram();
    return latencies;
  }

  #isBusy(): boolean {
    return this.#waiting.count > 0 || [...this.#clients.keys()].some(({ isAsking }) => isAsking);
  }

  #tick(): void {
    const { perSecond } = this.#options;
    const due = Math.floor(((performance.now() - this.#startedMs) * perSecond) / 1_000);
    for (; this.requests < due; this.requests++) {
      this.#waiting.add(this.#startedMs + (this.requests * 1_000) / perSecond);
      const client = this.#findIdle();
      if (client) this.#ask(client);
    }
  }

  #findIdle(): Client | undefined {
    for (let client = this.#idle.pop(); client; client = this.#idle.pop()) if (!client.isEnded) return client;
    return undefined;
  }

  #open(): void {
    if (this.#stopped) return;
    const { addresses } = this.#options;
    const client = new Client(addresses[this.#turn++ % addresses.length]!, getPath, {
      onOpen: (opened) => this.#next(opened),
      onAnswer: (answered, status, body) => this.#answered(answered, status, body),
      onEnd: (ended) => this.#ended(ended),
    });
    this.#clients.set(client, { answers: 0, due: undefined });
  }

  #next(client: Client): void {
    if (this.#waiting.count > 0) this.#ask(client);
    else this.#idle.push(client);
  }

  #ask(client: Client): void {
    const { asked } = this.#options;
    const { key, value } = asked[(this.answers + this.lost.length + this.#turn) % asked.length]!;
    this.#clients.get(client)!.due = value;
    client.ask(key, this.#waiting.take());
  }

  #answered(client: Client, status: number, body: string): void {
    this.answers++;
    const tookMs = performance.now() - client.dueMs;
    recordMs(this.#all, tookMs);
    recordMs(this.#recent, tookMs);
    const state = this.#clients.get(client)!;
    if (status >= 500) keep(this.lost, client, status, body);
    else if (state.due === undefined ? status !== 404 : status !== 200 || body !== state.due) keep(this.wrong, client, status, body);
    if (client.isLast || ++state.answers >= answersPerConnection) client.close();
    else this.#next(client);
  }

  #ended(client: Client): void {
    const state = this.#clients.get(client)!;
    this.#clients.delete(client);
    if (client.isAsking && !this.#stopped) keep(this.lost, client, 0, 'the connection ended');
    if (state.answers > 0 || client.isLast) this.#open();
    // Nobody listens there just now, perhaps.
    else setTimeout(() => this.#open(), reopenMs);
  }
}

function keep(list: LostRequest[], { address, sentMs, key }: Client, status: number, body: string): void {
  if (list.length < keptMax) list.push({ status, address, sentMs, said: `${key}: ${body.slice(0, 200)}` });
}
