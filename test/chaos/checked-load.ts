// Load that checks every answer against the version that it names: GETs and /mgets, on connections of their own to one router, one request after
// the other. An answer may be of any version that was published, but of none that is older than what this router had answered before
// the request was sent.

import { setTimeout as pause } from 'node:timers/promises';
import { randomFrom } from '../cluster/hostile-input.ts';
import { getRequest, percentEncode, RawConnection } from '../raw-http.ts';
import type { PublishedData } from './published-data.ts';

const mgetKeys = 40;

type FaultKind = 'failed' | 'wrong' | 'mixed' | 'older';

export class CheckedLoad {
  readonly counts = { gets: 0, mgets: 0, mgetKeys: 0 };
  /** Not answered; a value or a 404 that the version named does not give; two versions named by one answer; older than what this router had answered. */
  readonly faultCounts: Record<FaultKind, number> = { failed: 0, wrong: 0, mixed: 0, older: 0 };
  /** What was wrong; the first ones only. */
  readonly faults: string[] = [];
  /** The slowest answer, in milliseconds. */
  slowestMs = 0;
  /** Publications of which something was answered. */
  readonly seen = new Set<number>();
  readonly #address: string;
  readonly #data: PublishedData;
  readonly #running: Promise<void>[];
  /** No answer may be of a publication before this one. */
  #floor = 0;
  #stopped = false;

  constructor(address: string, data: PublishedData, options: { seed: number; connections: number }) {
    this.#address = address;
    this.#data = data;
    this.#running = Array.from({ length: options.connections }, (_, i) => this.#run(randomFrom(options.seed + i), i % 4 === 3));
  }

  /** Rejects when a connection broke. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #run(random: () => number, isMget: boolean): Promise<void> {
    const connection = await RawConnection.open(this.#address);
    const anyKey = (): number => random() % this.#data.keys.length;
    while (!this.#stopped) {
      const startMs = performance.now();
      if (isMget) await this.#mget(connection, Array.from({ length: mgetKeys }, anyKey));
      else await this.#get(connection, anyKey());
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
      await pause(2);
    }
    connection.close();
  }

  async #get(connection: RawConnection, keyIndex: number): Promise<void> {
    const floor = this.#floor;
    connection.write(getRequest(`/get?key=${percentEncode(this.#data.keys[keyIndex]!)}`));
    const { status, headers, body } = await connection.next();
    this.counts.gets++;
    const id = headers.get('pavostore-version');
    if (id === undefined) return this.#fault('failed', `GET ${keyIndex}: ${status} ${body}`);
    const said = status === 200 ? body.toString() : status === 404 ? null : undefined;
    this.#check(`GET ${keyIndex}: ${status} ${body}`, { id, keyIndex, said });
    this.#raise(id, floor);
  }

  async #mget(connection: RawConnection, keyIndices: readonly number[]): Promise<void> {
    const floor = this.#floor;
    const request = JSON.stringify({ keys: keyIndices.map((i) => this.#data.keys[i]!) });
    connection.write(
      `POST /mget HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: ${request.length}\r\n\r\n${request}`,
    );
    const { status, headers, body } = await connection.next();
    this.counts.mgets++;
    if (status !== 200) return this.#fault('failed', `/mget: ${status} ${body}`);
    const { version: id, results } = JSON.parse(body.toString()) as { version: string; results: { status: string; value?: string }[] };
    if (headers.get('pavostore-version') !== id) this.#fault('mixed', `/mget: the header names another version than ${id}`);
    for (const [at, result] of results.entries()) {
      const said = result.status === 'found' ? result.value! : result.status === 'missing' ? null : undefined;
      this.#check(`/mget of ${id}: ${JSON.stringify(result)}`, { id, keyIndex: keyIndices[at]!, said });
      this.counts.mgetKeys++;
    }
    this.#raise(id, floor);
  }

  /** `said`: the value, null for a missing key, undefined for no answer. */
  #check(what: string, { id, keyIndex, said }: { id: string; keyIndex: number; said: string | null | undefined }): void {
    const due = this.#data.answerOf(id, keyIndex);
    if (due === undefined) this.#fault('wrong', `${what}: version ${id} was never published`);
    else if (said !== due) this.#fault(said === undefined ? 'failed' : 'wrong', `${what}: due ${JSON.stringify(due)} in version ${id}`);
  }

  #raise(id: string, floor: number): void {
    const publication = this.#data.publicationFrom(id, floor);
    if (publication === undefined)
      return this.#fault('older', `version ${id} is older than publication ${floor}, of which there were answers before`);
    this.seen.add(publication);
    this.#floor = Math.max(this.#floor, publication);
  }

  #fault(kind: FaultKind, what: string): void {
    this.faultCounts[kind]++;
    if (this.faults.length < 20) this.faults.push(what.length > 500 ? `${what.slice(0, 300)} … ${what.slice(-150)}` : what);
  }
}
