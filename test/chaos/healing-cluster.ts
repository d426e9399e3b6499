// A cluster whose shards have a data folder each, or share one: real processes over files that a test damages, and a load that checks every answer.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, vi } from 'vitest';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { expectFullHouse, statusOf } from '../cluster/cluster-harness.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import type { Records } from '../data-sets.ts';
import { ask, getRequest, percentEncode, RawConnection } from '../raw-http.ts';
import '../cluster/compile-cache.ts';
import { randomFrom } from '../cluster/hostile-input.ts';

export const waiting = { timeout: 60_000, interval: 50 } as const;

/** What the tests read of a shard's `/status`. */
export type CareStatus = {
  readonly state: string;
  readonly versions: readonly { readonly id: string; readonly slices: Readonly<Record<string, readonly (readonly [number, number])[]>> }[];
  readonly corruptFound: Readonly<Record<string, number>>;
  readonly healed: Readonly<Record<string, number>>;
  readonly fetched: Readonly<Record<string, number>>;
  readonly unmended: readonly unknown[];
  /** The plan is null as long as nothing is served. */
  readonly memory: { readonly plan: string | null };
  readonly scrubbed: { readonly slices: number; readonly passes: number };
};

export class HealingCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'pavostore-healing-'));
  readonly deaths: string[] = [];
  readonly addresses: string[] = [];
  readonly #shards: SupervisedProcess[] = [];
  #router: SupervisedProcess | undefined;
  #argsOf: (shard: number) => readonly string[] = () => [];
  routerAddress = '';

  /** Where shard `i` has its data. */
  dataDirOf(shard: number): string {
    return join(this.folder, `data-${shard}`);
  }

  /** Resolves when every slice has all its holders: `--replicas` of the shards, which all have the same. */
  async start(options: { shards: number; argsOf: (shard: number) => readonly string[] }): Promise<void> {
    this.#argsOf = options.argsOf;
    const first = nextPorts(options.shards);
    for (let i = 0; i < options.shards; i++) this.addresses.push(`127.0.0.1:${first + i}`);
    await Promise.all(this.addresses.map(async (_, i) => await this.startShard(i)));
    this.#router = this.#child('router', ['router', '--members', this.addresses.join(','), '--port', '0', '--cache-size', '0']);
    this.routerAddress = `127.0.0.1:${await this.#router.start()}`;
    const args = options.argsOf(0);
    const replicas = Number(args[args.indexOf('--replicas') + 1]);
    await vi.waitFor(async () => expectFullHouse(await statusOf(this.routerAddress), Math.min(replicas, options.shards)), waiting);
  }

  async startShard(shard: number): Promise<void> {
    const [, port] = this.addresses[shard]!.split(':');
    const child = this.#child(`shard ${shard}`, [
      ...['shard', '--data', this.dataDirOf(shard), '--port', port!, '--members', this.addresses.join(',')],
      ...['--leave-grace', '0s', ...this.#argsOf(shard)],
    ]);
    this.#shards[shard] = child;
    await child.start();
  }

  pidOf(shard: number): number {
    return this.#shards[shard]!.pid!;
  }

  async stopShard(shard: number): Promise<void> {
    await this.#shards[shard]!.stop();
  }

  async statusOf(shard: number): Promise<CareStatus> {
    return JSON.parse((await ask(this.addresses[shard]!, getRequest('/status'))).body.toString()) as CareStatus;
  }

  /** Waits until every slice has a holder. */
  async untilWhole(): Promise<void> {
    await vi.waitFor(async () => {
      const status = JSON.parse((await ask(this.routerAddress, getRequest('/status'))).body.toString());
      expect([status.version === null, status.slicesAbsent]).toEqual([false, {}]);
    }, waiting);
  }

  async get(key: string): Promise<{ readonly status: number; readonly said: string }> {
    const { status, body } = await ask(this.routerAddress, getRequest(`/get?key=${percentEncode(key)}`));
    return { status, said: status === 200 ? body.toString() : (JSON.parse(body.toString()).code as string) };
  }

  async close(): Promise<void> {
    await this.#router?.stop();
    await Promise.all(this.#shards.map((shard) => shard.stop()));
    rmSync(this.folder, { recursive: true, force: true });
    expect(this.deaths).toEqual([]);
  }

  #child(title: string, args: readonly string[]): SupervisedProcess {
    const logLevel = process.env.CHAOS_LOG ?? 'silent';
    return new SupervisedProcess({ title, args: [...args, '--log-level', logLevel], onDeath: (message) => this.deaths.push(message) });
  }
}

/** Connections that ask for one key after the other; each answer is compared with the records. */
export class CheckedLoad {
  /** Answers by status, and what was wrong with those that were neither true nor 503. */
  readonly counts = new Map<number, number>();
  readonly wrong: string[] = [];
  readonly #running: Promise<void>[];
  #stopped = false;

  constructor(address: string, records: Records, options: { absent: readonly string[]; seed: number; connections: number }) {
    const keys = [...records.keys(), ...options.absent];
    this.#running = Array.from({ length: options.connections }, (_, i) => this.#run(address, records, keys, randomFrom(options.seed + i)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #run(address: string, records: Records, keys: readonly string[], random: () => number): Promise<void> {
    const connection = await RawConnection.open(address);
    while (!this.#stopped) {
      const key = keys[random() % keys.length]!;
      connection.write(getRequest(`/get?key=${percentEncode(key)}`));
      const { status, body } = await connection.next();
      this.counts.set(status, (this.counts.get(status) ?? 0) + 1);
      const value = records.get(key);
      const isTrue = value ? status === 200 && body.equals(value) : status === 404 && JSON.parse(body.toString()).code === 'key_not_found';
      if (!isTrue && status !== 503) this.wrong.push(`${key}: ${status} ${body.toString('latin1', 0, 100)}`);
      await pause(2);
    }
    connection.close();
  }
}
