// Load that never pauses and looks at every answer: some connections, each of a client that knows one router or more, asks for one key after
// the other, and goes to the next router when a connection ends. What is not a right answer is kept, of the rest only how long it took.

import { setTimeout as pause } from 'node:timers/promises';
import { randomFrom } from '../cluster/hostile-input.ts';
import type { Records } from '../data-sets.ts';
import { getRequest, percentEncode, RawConnection } from '../raw-http.ts';

export type Failure = {
  readonly key: string;
  /** 0: the connection ended without an answer. */
  readonly status: number;
  readonly said: string;
  readonly router: string;
  readonly startMs: number;
  readonly tookMs: number;
};

export type Latencies = {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
};

export type ClientLoadOptions = {
  readonly routers: readonly string[];
  /** Present keys with their values, as text; what else is asked for is absent. */
  readonly records: Records;
  readonly absent: readonly string[];
  readonly connections: number;
  readonly seed: number;
  /** Between an answer and the next request of a connection: the machine should be busy with the cluster, not with its clients. */
  readonly pauseMs?: number;
};

export class ClientLoad {
  /** Answers that are neither right nor an honest failure: wrong values, false 404s. */
  readonly wrong: Failure[] = [];
  readonly failures: Failure[] = [];
  readonly #options: ClientLoadOptions;
  readonly #keys: readonly string[];
  readonly #running: Promise<void>[];
  #tookMs: number[] = [];
  readonly #allTookMs: number[] = [];
  #count = 0;
  #stopped = false;

  constructor(options: ClientLoadOptions) {
    this.#options = options;
    this.#keys = [...options.records.keys(), ...options.absent];
    this.#running = Array.from({ length: options.connections }, (_, i) => this.#run(i));
  }

  /** Requests so far. */
  get count(): number {
    return this.#count;
  }

  /** Of the answers since the last call. */
  takeLatencies(): Latencies {
    const latencies = latenciesOf(this.#tookMs);
    this.#tookMs = [];
    return latencies;
  }

  /** Of all answers since the start. */
  get latencies(): Latencies {
    return latenciesOf(this.#allTookMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #run(index: number): Promise<void> {
    const { routers, seed, pauseMs = 5 } = this.#options;
    const random = randomFrom(seed + index);
    for (let turn = index; !this.#stopped; turn++) {
      const router = routers[turn % routers.length]!;
      const connection = await RawConnection.open(router).catch(() => undefined);
      if (!connection) {
        // Nobody has lost a request by that: it has not been sent. With one router alone there is nowhere else to go.
        await pause(pauseMs);
        continue;
      }
      while (!this.#stopped && (await this.#ask(connection, router, this.#keys[random() % this.#keys.length]!))) await pause(pauseMs);
      connection.close();
    }
  }

  /** False when the connection has ended. */
  async #ask(connection: RawConnection, router: string, key: string): Promise<boolean> {
    const startMs = performance.now();
    this.#count++;
    const fail = (list: Failure[], status: number, said: string): void => {
      list.push({ key, status, said, router, startMs, tookMs: performance.now() - startMs });
    };
    try {
      connection.write(getRequest(`/get?key=${percentEncode(key)}`));
      const { status, headers, body } = await connection.next();
      const tookMs = performance.now() - startMs;
      this.#tookMs.push(tookMs);
      this.#allTookMs.push(tookMs);
      const value = this.#options.records.get(key);
      if (status >= 500) fail(this.failures, status, body.toString());
      else if (value ? status !== 200 || !body.equals(value) : status !== 404) fail(this.wrong, status, body.toString().slice(0, 200));
      return headers.get('connection') !== 'close';
    } catch (error) {
      fail(this.failures, 0, (error as Error).message);
      return false;
    }
  }
}

export function latenciesOf(tookMs: readonly number[]): Latencies {
  const sorted = [...tookMs].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999), maxMs: at(1) };
}

export function formatLatencies({ count, p50Ms, p99Ms, p999Ms, maxMs }: Latencies): string {
  return `${count} answers, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)}, p99.9 ${p999Ms.toFixed(1)}, slowest ${maxMs.toFixed(0)}`;
}
