// A whole cluster on this machine: shards and a router, or several behind one port, as child processes over one data folder.

import { WorkerGroup } from '../../router/worker-group.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { freePorts } from '../../shared/free-ports.ts';
import { HttpClient } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { joinAddress } from '../../shared/member-source.ts';
import type { SupervisedProcess as SupervisedChild } from '../../shared/supervised-process.ts';
import { program, SupervisedProcess, withoutOwnVariables } from './supervised-process.ts';

export type LocalClusterOptions = {
  readonly dataDir: string;
  readonly host: string;
  /** Of the routers; with 0 the first free one above those of the shards. */
  readonly port: number;
  /** Processes that share it; one by default. */
  readonly routers?: number;
  /** The shards take this port and the next free ones; with 0 any that are free. */
  readonly shardPort: number;
  readonly shards: number;
  readonly replicas: number;
  /** So many zones, which the shards take in turn; without, there are none. */
  readonly zones?: number | undefined;
  readonly logLevel: string;
  /** Further flags of the routers. */
  readonly routerArgs?: readonly string[];
  /** Further flags of one of the shards, by its name and those of all. */
  readonly shardArgsOf?: (name: string, names: readonly string[]) => readonly string[];
  /** One line for the operator: a child died. */
  readonly onEvent: (message: string) => void;
};

type RouterProcesses = Pick<WorkerGroup, 'workers' | 'isWhole' | 'start' | 'close'>;

const shardHost = '127.0.0.1';

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #client = new HttpClient();
  #shards: SupervisedProcess[] = [];
  #routers: RouterProcesses | undefined;
  #shardAddresses: string[] = [];
  #routerPort = 0;
  #stopping: Promise<void> | undefined;

  constructor(options: LocalClusterOptions) {
    this.#options = options;
  }

  get shardAddresses(): readonly string[] {
    return this.#shardAddresses;
  }

  get shards(): readonly SupervisedProcess[] {
    return this.#shards;
  }

  /** The first of the routers. */
  get router(): SupervisedChild {
    return this.routers[0]!;
  }

  get routers(): readonly SupervisedChild[] {
    return this.#routers!.workers;
  }

  /** Where clients ask: `127.0.0.1:8080`. */
  get routerAddress(): string {
    return joinAddress(this.#options.host === '0.0.0.0' ? shardHost : this.#options.host, this.#routerPort);
  }

  /**
   * Starts all; resolves when the router answers and every slice has a holder. Stops what it started when that fails. Throws `interrupted` when it is
   * stopped meanwhile: whatever it had not started by then it does not start.
   */
  async start(): Promise<void> {
    try {
      const { dataDir, shardPort, shards, replicas, zones, logLevel, shardArgsOf = () => [] } = this.#options;
      const purpose = `${shards} shards; give another --shard-port`;
      const ports = await freePorts({ host: shardHost, first: shardPort, count: shards, purpose });
      const routersPort = await this.#routersPort(ports.at(-1)! + 1);
      this.#assertNotStopped();
      this.#shardAddresses = ports.map((each) => joinAddress(shardHost, each));
      const members = this.#shardAddresses.join(',');
      this.#shards = ports.map((each, i) =>
        this.#child(`shard ${joinAddress(shardHost, each)}`, [
          'shard',
          // They stop together: nobody would take over what one of them holds.
          ...flags({ data: dataDir, host: shardHost, port: each, members, replicas, 'leave-grace': '0s', 'log-level': logLevel }),
          ...(zones === undefined ? [] : flags({ zone: `zone-${1 + (i % zones)}` })),
          ...shardArgsOf(this.#shardAddresses[i]!, this.#shardAddresses),
        ]),
      );
      this.#routers = this.#makeRouters(members, routersPort);
      const started = await Promise.all([this.#routers.start(), ...this.#shards.map((shard) => shard.start())]);
      this.#routerPort = started[0]!;
      await this.#untilWhole();
      this.#assertNotStopped();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** The routers first, so that nobody asks for what is going away; then the shards. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    await this.#routers?.close();
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

  #assertNotStopped(): void {
    if (this.#stopping) throw new PavostoreError('interrupted', 'the cluster was stopped before it had started');
  }

  async #untilWhole(): Promise<void> {
    while (!this.#stopping) {
      const status = await this.status();
      if (status?.version && !status.degraded && this.#routers!.isWhole) return;
      await new Promise((resolve) => setTimeout(resolve, limits.localStatusIntervalMs));
    }
  }

  /** Chosen here: one that a router picked itself would be another one after its death. */
  async #routersPort(first: number): Promise<number> {
    const { host, port } = this.#options;
    return port === 0 ? (await freePorts({ host, first, count: 1, purpose: 'the routers; give a --port' }))[0]! : port;
  }

  /** They drain for nobody: with them the cluster goes. */
  #makeRouters(members: string, port: number): RouterProcesses {
    const { host, routers = 1, logLevel, routerArgs = [], onEvent } = this.#options;
    const argsFor = (shared: number): string[] => [
      'router',
      ...flags({ host, port: shared, members, 'log-level': logLevel }),
      ...(routerArgs.includes('--drain') ? [] : flags({ drain: '0s' })),
      ...routerArgs,
    ];
    if (routers > 1)
      return new WorkerGroup({
        ...{ program, argsFor, count: routers, host, port },
        env: withoutOwnVariables(),
        stopGraceMs: limits.stopGraceMs,
        onDeath: onEvent,
      });
    const router = this.#child('router', argsFor(port));
    return { workers: [router], isWhole: true, start: () => router.start(), close: () => router.stop() };
  }

  #child(title: string, args: readonly string[]): SupervisedProcess {
    return new SupervisedProcess({ title, args, onDeath: this.#options.onEvent });
  }
}

function flags(values: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);
}
