// A local cluster under test: real processes over a folder of its own. Closing it checks that nothing is left: no key pending
// in a router, no process, no temporary file, no death that the test did not cause.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { LocalCluster } from '../../deploy/serve/local-cluster.ts';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { bitsOf, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import { joinAddress } from '../../shared/member-source.ts';
import { placeSlices } from '../../shared/placement.ts';
import { forEachSlice } from '../../shared/slice-ranges.ts';
import { parseStatusReport } from '../../shared/status-report.ts';
import { publishRecords, type Records } from '../data-sets.ts';
import { ask, getRequest } from '../raw-http.ts';
import { nextPorts } from './test-ports.ts';
import './compile-cache.ts';

export type TestClusterOptions = {
  readonly shards?: number;
  readonly replicas?: number;
  readonly routerArgs?: readonly string[];
  /** Further flags of a shard, by its number. */
  readonly shardArgsOf?: (shard: number) => readonly string[];
  /** What is published before the start; without it `prepare` fills the data folder. */
  readonly records?: Records;
  readonly sliceCount?: number;
  readonly prepare?: (dataDir: string) => void | Promise<void>;
};

export type RouterStatus = {
  readonly state: string;
  readonly degraded: boolean;
  readonly version: { readonly id: string; readonly sliceCount: number } | null;
  readonly slicesAbsent: Readonly<Record<string, readonly (readonly [number, number])[]>>;
  readonly members: readonly {
    readonly name: string;
    readonly alive: boolean;
    readonly state: string;
    readonly slicesKept: number;
    readonly keysWaiting: number;
    readonly batchesInFlight: number;
  }[];
  readonly keys: { readonly pending: number; readonly retries: number; readonly overloaded: number; readonly expired: number };
};

export class TestCluster {
  readonly cluster: LocalCluster;
  readonly folder = mkdtempSync(join(tmpdir(), 'pavostore-test-'));
  readonly dataDir = join(this.folder, 'data');
  /** What the supervisor said: the deaths of children. */
  readonly events: string[] = [];
  readonly sliceCount: number;
  readonly #options: TestClusterOptions;
  readonly #children: SupervisedProcess[] = [];
  readonly #routerAddresses: string[] = [];
  #holders: readonly (readonly number[])[] | undefined;
  #closed = false;

  private constructor(options: TestClusterOptions) {
    this.#options = options;
    this.sliceCount = options.sliceCount ?? 16;
    this.cluster = new LocalCluster({
      dataDir: this.dataDir,
      host: '127.0.0.1',
      // The one after those of the shards.
      port: 0,
      shardPort: nextPorts((options.shards ?? 3) + 1),
      shards: options.shards ?? 3,
      replicas: options.replicas ?? 1,
      logLevel: 'silent',
      routerArgs: options.routerArgs ?? [],
      shardArgsOf: (name, names) => options.shardArgsOf?.(names.indexOf(name)) ?? [],
      onEvent: (message) => this.events.push(message),
    });
  }

  /** Resolves when every slice has all its holders: one that still loads could not stand in for the other one, which a test may kill at once. */
  static async start(options: TestClusterOptions): Promise<TestCluster> {
    const test = new TestCluster(options);
    try {
      await options.prepare?.(test.dataDir);
      if (options.records) publishRecords(test.dataDir, options.records, { sliceCount: test.sliceCount });
      await test.cluster.start();
      await vi.waitFor(async () => expectFullHouse(await test.status(), test.copies), waiting);
      return test;
    } catch (error) {
      await test.cluster.stop();
      rmSync(test.folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Of the router. */
  get address(): string {
    return this.cluster.routerAddress;
  }

  /** The shards that should hold a key, by their numbers in `cluster.shards`; preferred ones first. */
  holdersOf(key: string): readonly number[] {
    this.#holders ??= placeSlices({
      members: this.cluster.shardAddresses.map((name) => ({ name })),
      sliceCount: this.sliceCount,
      replicas: this.#options.replicas ?? 1,
    }).map((names) => names.map((name) => this.cluster.shardAddresses.indexOf(name)));
    return this.#holders[this.sliceOf(key)]!;
  }

  sliceOf(key: string): number {
    return sliceIndexOf(keyHash32OfLatin1(key), bitsOf(this.sliceCount));
  }

  /** Holders of each slice, as far as there are shards for them. */
  get copies(): number {
    return Math.min(this.#options.replicas ?? 1, this.#options.shards ?? 3);
  }

  /** How many shards keep each slice, as they say themselves. */
  async countHolders(): Promise<number[]> {
    const reports = await Promise.all(this.cluster.shardAddresses.map((shard) => ask(shard, getRequest('/status'), lookDeadline)));
    const versions = reports.map(({ body }, i) => parseStatusReport(body.toString(), `shard ${i}`).versions[0]);
    const counts = new Array<number>(Math.max(0, ...versions.map((version) => version?.sliceCount ?? 0))).fill(0);
    for (const version of versions) {
      forEachSlice(version?.slices.kept ?? [], (slice) => {
        counts[slice]!++;
      });
    }
    return counts;
  }

  /** Another router over the same shards; resolves when it knows of all that they keep. */
  async startRouter(args: readonly string[]): Promise<string> {
    const address = await this.#startChild(['router', '--members', this.cluster.shardAddresses.join(','), ...args]);
    this.#routerAddresses.push(address);
    await vi.waitFor(async () => expectFullHouse(await statusOf(address), this.copies), waiting);
    return address;
  }

  /** A shard of its own over the same data, with all slices. */
  async startShard(args: readonly string[]): Promise<string> {
    const address = await this.#startChild(['shard', '--data', this.dataDir, ...args]);
    await vi.waitFor(async () => expect((await ask(address, getRequest('/health/ready'))).status).toBe(200), waiting);
    return address;
  }

  async status(): Promise<RouterStatus> {
    return await statusOf(this.address);
  }

  /** Waits until all shards are there and every slice has its holders again: whoever keeps it, since shards that flap are held out. */
  async untilWhole(): Promise<void> {
    await vi.waitFor(async () => {
      expectAllReady(await this.status());
      expect(Math.min(...(await this.countHolders()))).toBeGreaterThanOrEqual(this.copies);
    }, waiting);
  }

  /** Stops everything and checks that nothing is left. `deaths`: how many children the test has killed. */
  async close({ deaths = 0 }: { deaths?: number } = {}): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      for (const address of [this.address, ...this.#routerAddresses]) await expectNothingPending(address);
    } finally {
      await Promise.all(this.#children.map((child) => child.stop()));
      await this.cluster.stop();
      const files = filesBelow(this.dataDir);
      rmSync(this.folder, { recursive: true, force: true });
      expect(this.events, 'deaths of children').toHaveLength(deaths);
      expect(processesWith(this.folder, `--members ${this.cluster.shardAddresses.join(',')}`), 'stray processes').toEqual([]);
      expect(
        files.filter((path) => !isOfDataSet(path)),
        'stray files',
      ).toEqual([]);
    }
  }

  async #startChild(args: readonly string[]): Promise<string> {
    const child = new SupervisedProcess({
      title: `another ${args[0]}`,
      args: [...args, '--port', '0', '--log-level', 'silent', ...(args[0] === 'router' ? ['--drain', '0s'] : [])],
      onDeath: (message) => this.events.push(message),
    });
    this.#children.push(child);
    return joinAddress('127.0.0.1', await child.start());
  }
}

/** For `vi.waitFor`: longer than anything takes that is not broken. */
export const waiting = { timeout: 45_000, interval: 25 } as const;

/** For looks at a `/status`: whoever takes longer is not well, and is looked at again. */
export const lookDeadline = { deadlineMs: 2_000 } as const;

/** All members are ready, and nothing is without a holder. */
export function expectAllReady({ version, slicesAbsent, members }: RouterStatus): void {
  const states = members.map(({ name, alive, state }) => ({ name, alive, state }));
  expect({ hasVersion: version !== null, absent: slicesAbsent, states }).toEqual({
    hasVersion: true,
    absent: {},
    states: members.map(({ name }) => ({ name, alive: true, state: 'ready' })),
  });
}

/** As it is before anything has gone wrong: every slice is kept by so many, as placement has it, and by nobody else. */
export function expectFullHouse(status: RouterStatus, copies: number): void {
  expectAllReady(status);
  expect(status.members.reduce((sum, { slicesKept }) => sum + slicesKept, 0)).toBe(copies * status.version!.sliceCount);
}

export async function statusOf(address: string): Promise<RouterStatus> {
  const { body } = await ask(address, getRequest('/status'), lookDeadline);
  return JSON.parse(body.toString()) as RouterStatus;
}

async function expectNothingPending(address: string): Promise<void> {
  await vi.waitFor(async () => {
    const { keys, members } = await statusOf(address);
    expect(keys.pending).toBe(0);
    expect(members.map(({ keysWaiting, batchesInFlight }) => keysWaiting + batchesInFlight)).toEqual(members.map(() => 0));
  }, waiting);
}

/** The command lines of all running processes that contain one of the texts. */
function processesWith(...texts: readonly string[]): string[] {
  const commandLines = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    });
  return commandLines.filter((commandLine) => texts.some((text) => commandLine.includes(text)));
}

function filesBelow(dir: string): string[] {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1));
}

function isOfDataSet(path: string): boolean {
  return (
    /^(current|publications\.json)$/.test(path) || /^versions\/[0-9a-f]{32}\/(manifest\.json|fetched|slices\/\d{4}\.slice)$/.test(path)
  );
}
