// A whole cluster on this machine: shards and a router as child processes over one data folder.

import { createServer } from 'node:net';
import { PavostoreError } from '../../shared/errors.ts';
import { HttpClient } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { joinAddress } from '../../shared/member-source.ts';
import { SupervisedProcess } from './supervised-process.ts';

export type LocalClusterOptions = {
  readonly dataDir: string;
  readonly host: string;
  /** Of the router; 0 picks a free one. */
  readonly port: number;
  /** The shards take this port and the next free ones. */
  readonly shardPort: number;
  readonly shards: number;
  readonly replicas: number;
  readonly logLevel: string;
  /** Further flags of the router. */
  readonly routerArgs?: readonly string[];
  /** One line for the operator: a child died. */
  readonly onEvent: (message: string) => void;
};

const shardHost = '127.0.0.1';

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #client = new HttpClient();
  #shards: SupervisedProcess[] = [];
  #router: SupervisedProcess | undefined;
  #shardAddresses: string[] = [];
  #routerPort = 0;
  #stopped = false;

  constructor(options: LocalClusterOptions) {
    this.#options = options;
  }

  get shardAddresses(): readonly string[] {
    return this.#shardAddresses;
  }

  get shards(): readonly SupervisedProcess[] {
    return this.#shards;
  }

  get router(): SupervisedProcess {
    return this.#router!;
  }

  /** Where clients ask: `127.0.0.1:8080`. */
  get routerAddress(): string {
    return joinAddress(this.#options.host === '0.0.0.0' ? shardHost : this.#options.host, this.#routerPort);
  }

  /** Starts all; resolves when the router answers and every slice has a holder. Stops what it started when that fails. */
  async start(): Promise<void> {
    try {
      const { dataDir, host, port, shardPort, shards, replicas, logLevel, routerArgs = [] } = this.#options;
      const ports = await freePorts(shardPort, shards);
      this.#shardAddresses = ports.map((each) => joinAddress(shardHost, each));
      const members = this.#shardAddresses.join(',');
      this.#shards = ports.map((each) =>
        this.#child(`shard ${joinAddress(shardHost, each)}`, [
          'shard',
          // They stop together: nobody would take over what one of them holds.
          ...flags({ data: dataDir, host: shardHost, port: each, members, replicas, 'leave-grace': '0s', 'log-level': logLevel }),
        ]),
      );
      this.#router = this.#child('router', ['router', ...flags({ host, port, members, 'log-level': logLevel }), ...routerArgs]);
      const started = await Promise.all([this.#router.start(), ...this.#shards.map((shard) => shard.start())]);
      this.#routerPort = started[0]!;
      await this.#untilWhole();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** The router first, so that nobody asks for what is going away; then the shards. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.#router?.stop();
    await Promise.all(this.#shards.map((shard) => shard.stop()));
    await this.#client.close();
  }

  /** The router's `/status`; undefined while it does not answer. */
  async status(): Promise<{ degraded: boolean; version: { id: string } | null } | undefined> {
    try {
      const reply = await this.#client.fetch(this.routerAddress, '/status', {
        deadlineMs: limits.pollDeadlineMs,
        sizeMax: limits.statusSizeMax,
      });
      return JSON.parse(reply.body.toString()) as { degraded: boolean; version: { id: string } | null };
    } catch {
      return undefined;
    }
  }

  async #untilWhole(): Promise<void> {
    while (!this.#stopped) {
      const status = await this.status();
      if (status?.version && !status.degraded) return;
      await new Promise((resolve) => setTimeout(resolve, limits.localStatusIntervalMs));
    }
  }

  #child(title: string, args: readonly string[]): SupervisedProcess {
    return new SupervisedProcess({ title, args, onDeath: this.#options.onEvent });
  }
}

/** The first `count` ports from `first` upwards on which nobody listens. Throws `port_in_use`. */
async function freePorts(first: number, count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let port = first; ports.length < count; port++) {
    if (port > Math.min(65_535, first + limits.localPortsTriedMax)) {
      throw new PavostoreError(
        'port_in_use',
        `only ${ports.length} free ports from ${first} to ${port - 1} for ${count} shards; give another --shard-port`,
      );
    }
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host: shardHost, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

function flags(values: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);
}
