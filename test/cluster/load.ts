// Load on a cluster: connections that ask for one key after the other and keep what was answered and how long it took. Between two
// requests is a short pause: the machine should be busy with the cluster, not with its clients.

import { setTimeout as pause } from 'node:timers/promises';
import { getRequest, percentEncode, RawConnection } from '../raw-http.ts';
import { randomFrom } from './hostile-input.ts';

export type Sample = {
  readonly key: string;
  readonly status: number;
  /** The code of a problem, or the value. */
  readonly said: string;
  readonly startMs: number;
  readonly tookMs: number;
};

export class Load {
  readonly samples: Sample[] = [];
  readonly #running: Promise<void>[];
  #stopped = false;

  constructor(address: string, keys: readonly string[], options: { seed: number; connections: number }) {
    this.#running = Array.from({ length: options.connections }, (_, i) => this.#run(address, keys, randomFrom(options.seed + i)));
  }

  /** Ends the load; rejects when a connection broke. */
  async stop(): Promise<readonly Sample[]> {
    this.#stopped = true;
    await Promise.all(this.#running);
    return this.samples;
  }

  async #run(address: string, keys: readonly string[], random: () => number): Promise<void> {
    const connection = await RawConnection.open(address);
    while (!this.#stopped) {
      const key = keys[random() % keys.length]!;
      const startMs = performance.now();
      connection.write(getRequest(`/get?key=${percentEncode(key)}`));
      const { status, body } = await connection.next();
      const said = status === 200 ? body.toString() : (JSON.parse(body.toString()).code as string);
      this.samples.push({ key, status, said, startMs, tookMs: performance.now() - startMs });
      await pause(2);
    }
    connection.close();
  }
}
