// One shard with less memory than data: `--memory` of a fifth of the bytes of all keys and values, asked by batches straight at the shard,
// by Zipf's law with exponent 0.99. What share of the look-ups the cache answers, what the process takes, and how fast the share is back
// after a restart that loads the hot keys of the last run first. Sampled values are compared with what was generated.

import { join } from 'node:path';
import { recordOf } from '../deploy/generate/records.ts';
import { SupervisedProcess } from '../deploy/serve/supervised-process.ts';
import { type BatchFailure, BatchPool } from '../shared/batch-pool.ts';
import { batchStatus, encodeBatchRequest, isBatchReply, readBatchReply } from '../shared/batch-wire.ts';
import { HttpClient } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { outgoingOf } from '../shared/outgoing.ts';
import { makeData, seed } from './bench-cluster.ts';
import { residentBytesOf } from './process-cpu.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { zipfRanks } from './zipf.ts';

export type MemoryShardOptions = {
  readonly entries: number;
  readonly asks: number;
  /** Of the bytes of keys and values. */
  readonly memoryShare: number;
  /** A published version of exactly these records, as `generate --seed 1 --value-size 90` makes them; by default it is made and removed. */
  readonly dataDir?: string | undefined;
  readonly log: (line: string) => void;
};

/** One window of look-ups: its last one, the hit ratio within it, resident memory at its end in bytes. */
export type MemoryWindow = { readonly asks: number; readonly hitRatio: number; readonly rss: number };

export type MemoryShardResult = {
  readonly entries: number;
  readonly budget: number;
  readonly cold: readonly MemoryWindow[];
  /** Over the last fifth of the look-ups. */
  readonly hitRatio: number;
  readonly rssMax: number;
  readonly perSecond: number;
  readonly valuesChecked: number;
  /** After a restart. */
  readonly warm: readonly MemoryWindow[];
};

const valueSize = 90;
const exponent = 0.99;
const batchKeys = 512;
const batchesAhead = 4;
const windows = 50;
/** Each of so many values is compared. */
const checkEvery = 101;
/** Coprime with round numbers of entries, and small enough for their product: ranks are spread over all records. */
const spreadFactor = 61_803_399;

export function benchMemoryShard(options: MemoryShardOptions): Promise<MemoryShardResult> {
  return inTemporaryFolder(async (folder) => {
    const dataDir = options.dataDir ?? join(folder, 'data');
    if (options.dataDir === undefined) await makeData({ entries: options.entries, valueSize, dataDir });
    return await measure(options, dataDir, join(folder, 'state'));
  });
}

async function measure(options: MemoryShardOptions, dataDir: string, stateDir: string): Promise<MemoryShardResult> {
  const { entries, asks, memoryShare, log } = options;
  const budget = Math.round(memoryShare * entries * (36 + valueSize));
  const startShard = async (askSeed: number): Promise<{ shard: SupervisedProcess; asker: Asker }> => {
    const shard = new SupervisedProcess({
      title: 'shard',
      args: ['shard', '--data', dataDir, '--port', '0', '--memory', String(budget), '--state', stateDir, '--log-level', 'warn'],
      onDeath: (message) => {
        throw new Error(message);
      },
    });
    const address = `127.0.0.1:${await shard.start()}`;
    return { shard, asker: await Asker.open(address, shard.pid!, entries, askSeed) };
  };

  const first = await startShard(1);
  const startedMs = performance.now();
  const cold: MemoryWindow[] = [];
  for (let window = 0; window < windows; window++) {
    cold.push(await first.asker.askWindow(Math.round(asks / windows)));
    const { hitRatio, rss } = cold.at(-1)!;
    if (window % 5 === 4) log(`memory-shard: ${cold.at(-1)!.asks} look-ups: ${percent(hitRatio)} hits, ${Math.round(rss / 2 ** 20)} MiB`);
  }
  const perSecond = (1_000 * asks) / (performance.now() - startedMs);
  await first.asker.close();
  await first.shard.stop();

  // Other keys of the same law: none is asked because it was asked then.
  const second = await startShard(2);
  const warm: MemoryWindow[] = [];
  for (let window = 0; window < windows / 10; window++) warm.push(await second.asker.askWindow(Math.round(asks / windows)));
  log(`memory-shard: after a restart: ${warm.map(({ hitRatio }) => percent(hitRatio)).join(', ')}`);
  await second.asker.close();
  await second.shard.stop();

  const counted = cold.slice(-windows / 5);
  return {
    entries,
    budget,
    cold,
    hitRatio: counted.reduce((sum, { hitRatio }) => sum + hitRatio, 0) / counted.length,
    rssMax: Math.max(...cold.map(({ rss }) => rss)),
    perSecond,
    valuesChecked: first.asker.valuesChecked + second.asker.valuesChecked,
    warm,
  };
}

type CacheStatus = { readonly hits: number; readonly misses: number };
type Report = {
  readonly state: string;
  readonly versions: readonly [{ readonly id: string }];
  readonly cache: CacheStatus;
};

/** Asks one shard by batches, a few ahead, and counts what its cache answers. */
class Asker {
  valuesChecked = 0;
  readonly #address: string;
  readonly #pid: number;
  readonly #entries: number;
  readonly #pool: BatchPool;
  readonly #client: HttpClient;
  readonly #nextRank: () => number;
  readonly #versionId: Buffer;
  #asked = 0;
  #last: CacheStatus;

  private constructor(address: string, pid: number, entries: number, askSeed: number, client: HttpClient, report: Report) {
    this.#address = address;
    this.#pid = pid;
    this.#entries = entries;
    this.#client = client;
    this.#pool = new BatchPool(address);
    this.#nextRank = zipfRanks({ n: entries, exponent, seed: askSeed });
    this.#versionId = Buffer.from(report.versions[0].id, 'hex');
    this.#last = statusOf(report);
  }

  /** Resolves when the shard is ready. */
  static async open(address: string, pid: number, entries: number, askSeed: number): Promise<Asker> {
    const client = new HttpClient();
    for (;;) {
      const report = await reportOf(client, address);
      if (report.state === 'ready') return new Asker(address, pid, entries, askSeed, client, report);
      await new Promise((resolve) => setTimeout(resolve, limits.localStatusIntervalMs));
    }
  }

  async askWindow(count: number): Promise<MemoryWindow> {
    let left = Math.ceil(count / batchKeys);
    const worker = async (): Promise<void> => {
      while (left-- > 0) await this.#askBatch();
    };
    await Promise.all(Array.from({ length: batchesAhead }, worker));
    const status = await this.cacheStatus();
    const hits = status.hits - this.#last.hits;
    const misses = status.misses - this.#last.misses;
    this.#last = status;
    return { asks: this.#asked, hitRatio: hits / (hits + misses), rss: residentBytesOf(this.#pid) };
  }

  async cacheStatus(): Promise<CacheStatus> {
    return statusOf(await reportOf(this.#client, this.#address));
  }

  async close(): Promise<void> {
    this.#pool.close();
    await this.#client.close();
  }

  async #askBatch(): Promise<void> {
    const indices = Array.from({ length: batchKeys }, () => ((this.#nextRank() - 1) * spreadFactor) % this.#entries);
    let waiting = indices.map((index) => ({ index, key: recordOf(seed, index, valueSize).key }));
    // A full reply defers keys: those are asked again.
    while (waiting.length > 0) waiting = await this.#ask(waiting);
    this.#asked += batchKeys;
  }

  #ask(asked: readonly { index: number; key: string }[]): Promise<{ index: number; key: string }[]> {
    return new Promise((resolve, reject) => {
      this.#pool.send(outgoingOf(encodeBatchRequest(this.#versionId, asked)), {
        onFailure: (failure: BatchFailure) => reject(new Error(`a batch failed: ${failure}`)),
        onReply: (reply) => {
          const deferred: { index: number; key: string }[] = [];
          if (!isBatchReply(reply, this.#versionId, asked.length)) return reject(new Error('not an answer'));
          readBatchReply(reply, (i, status, start, end) => {
            const { index, key } = asked[i]!;
            if (status === batchStatus.deferred) deferred.push({ index, key });
            else if (status !== batchStatus.found) reject(new Error(`${key}: status ${status}`));
            else if (index % checkEvery === 0) {
              const value = reply.toString('latin1', start, end);
              if (value !== recordOf(seed, index, valueSize).value) reject(new Error(`${key}: ${value}`));
              this.valuesChecked++;
            }
          });
          resolve(deferred);
        },
      });
    });
  }
}

async function reportOf(client: HttpClient, address: string): Promise<Report> {
  const reply = await client.fetch(address, '/status', { deadlineMs: limits.toolDeadlineMs, sizeMax: limits.statusSizeMax });
  return JSON.parse(reply.body.toString()) as Report;
}

function statusOf({ cache }: Report): CacheStatus {
  return { hits: cache.hits, misses: cache.misses };
}

function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(2)} %`;
}
