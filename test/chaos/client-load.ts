// Load that never pauses and looks at every answer: some connections, each of a client that knows one router or more, asks for one key after
// the other, or for many at once by `/mget`, and goes to the next router when a connection ends. What is not a right answer is kept, of the rest only how
// long it took, without what this process itself was late by.

import { setTimeout as pause } from 'node:timers/promises';
import { randomFrom } from '../cluster/hostile-input.ts';
import type { Records } from '../data-sets.ts';
import { OwnLoop } from '../own-loop.ts';
import { getRequest, percentEncode, postRequest, RawConnection, type RawResponse } from '../raw-http.ts';

/** Of one `/mget`. */
const mgetKeys = 20;
/** One connection in so many sends them, where there are any. */
const mgetEvery = 4;

export type Failure = {
  /** Of an `/mget`: the one that failed; the first one, when all did. */
  readonly key: string;
  /** 0: the connection ended without an answer. For a key of an `/mget` that of a GET. */
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
  /** A part of the connections sends `/mget`s. */
  readonly mgets?: boolean;
};

type Mget = {
  readonly version: string;
  readonly results: readonly { readonly key: string; readonly status: string; readonly value?: string; readonly code?: string }[];
};

export class ClientLoad {
  /** Answers that are neither right nor an honest failure: wrong values, false 404s. */
  readonly wrong: Failure[] = [];
  readonly failures: Failure[] = [];
  /** What the answers name. */
  readonly versions = new Set<string>();
  readonly #own = new OwnLoop();
  readonly #options: ClientLoadOptions;
  readonly #keys: readonly string[];
  readonly #running: Promise<void>[];
  #tookMs: number[] = [];
  readonly #allTookMs: number[] = [];
  #count = 0;
  #mgetCount = 0;
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

  /** Those of them that are `/mget`s. */
  get mgetCount(): number {
    return this.#mgetCount;
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
    this.#own.close();
  }

  async #run(index: number): Promise<void> {
    const { routers, seed, pauseMs = 5, mgets = false } = this.#options;
    const random = randomFrom(seed + index);
    const anyKey = (): string => this.#keys[random() % this.#keys.length]!;
    // Of both routers: the connections take these in turn.
    const isMget = mgets && Math.floor(index / routers.length) % mgetEvery === mgetEvery - 1;
    const askOnce = async (connection: RawConnection, router: string): Promise<boolean> =>
      isMget
        ? await this.#ask(connection, router, Array.from({ length: mgetKeys }, anyKey))
        : await this.#ask(connection, router, anyKey());
    for (let turn = index; !this.#stopped; turn++) {
      const router = routers[turn % routers.length]!;
      const connection = await RawConnection.open(router).catch(() => undefined);
      if (!connection) {
        // Nobody has lost a request by that: it has not been sent. With one router alone there is nowhere else to go.
        await pause(pauseMs);
        continue;
      }
      while (!this.#stopped && (await askOnce(connection, router))) await pause(pauseMs);
      connection.close();
    }
  }

  /** One key by a GET, or many by an `/mget`. False when the connection has ended. */
  async #ask(connection: RawConnection, router: string, asked: string | readonly string[]): Promise<boolean> {
    const startMs = performance.now();
    this.#count++;
    if (typeof asked !== 'string') this.#mgetCount++;
    const keep = (list: Failure[], key: string, status: number, said: string): void => {
      list.push({ key, status, said: said.slice(0, 200), router, startMs, tookMs: performance.now() - startMs });
    };
    try {
      connection.write(
        typeof asked === 'string'
          ? getRequest(`/get?key=${percentEncode(asked)}`)
          : postRequest('/mget', 'application/json', JSON.stringify({ keys: asked })),
      );
      const response = await connection.next();
      const tookMs = this.#own.answeredSince(startMs);
      this.#tookMs.push(tookMs);
      this.#allTookMs.push(tookMs);
      if (typeof asked === 'string') this.#checkGet(asked, response, keep);
      else this.#checkMget(asked, response, keep);
      return response.headers.get('connection') !== 'close';
    } catch (error) {
      keep(this.failures, typeof asked === 'string' ? asked : asked[0]!, 0, (error as Error).message);
      return false;
    }
  }

  #checkGet(key: string, { status, headers, body }: RawResponse, keep: Keep): void {
    if (status >= 500) return keep(this.failures, key, status, body.toString());
    const value = this.#options.records.get(key);
    if (value ? status !== 200 || !body.equals(value) : status !== 404) return keep(this.wrong, key, status, body.toString());
    this.#noteVersion(key, headers.get('pavostore-version'), keep);
  }

  #checkMget(keys: readonly string[], { status, headers, body }: RawResponse, keep: Keep): void {
    const [first] = keys as [string];
    if (status >= 500) return keep(this.failures, first, status, body.toString());
    if (status !== 200) return keep(this.wrong, first, status, body.toString());
    const { version, results } = JSON.parse(body.toString()) as Mget;
    this.#noteVersion(first, version, keep);
    if (headers.get('pavostore-version') !== version) keep(this.wrong, first, status, `the header names another version than ${version}`);
    if (results.length !== keys.length) keep(this.wrong, first, status, `${results.length} results for ${keys.length} keys`);
    for (const [i, key] of keys.entries()) {
      const result = results[i];
      const value = this.#options.records.get(key)?.toString();
      const said = JSON.stringify(result);
      if (result?.key === key && result.status === 'unavailable')
        keep(this.failures, key, result.code === 'deadline_exceeded' ? 504 : 503, said);
      else if (result?.key !== key || result.status !== (value === undefined ? 'missing' : 'found') || result.value !== value)
        keep(this.wrong, key, status, `/mget: ${said}`);
    }
  }

  #noteVersion(key: string, version: string | undefined, keep: Keep): void {
    if (version === undefined) keep(this.wrong, key, 200, 'the answer names no version');
    else this.versions.add(version);
  }
}

type Keep = (list: Failure[], key: string, status: number, said: string) => void;

export function latenciesOf(tookMs: readonly number[]): Latencies {
  const sorted = [...tookMs].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999), maxMs: at(1) };
}

export function formatLatencies({ count, p50Ms, p99Ms, p999Ms, maxMs }: Latencies): string {
  return `${count} answers, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)}, p99.9 ${p999Ms.toFixed(1)}, slowest ${maxMs.toFixed(0)}`;
}
