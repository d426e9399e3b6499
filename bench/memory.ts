// What an entry takes above the bytes of its key and value: in slices of ours and in the shard that holds them all, in Redis, in the files of cdb and
// LMDB, in a JavaScript `Map`. All of the same text, in one run; the split, `cdb` and LMDB are checked, Redis and the `Map` counted.

import { execFileSync } from 'node:child_process';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateLines } from '../deploy/generate/records.ts';
import { splitFiles } from '../deploy/split/split.ts';
import { seed, startCluster } from './bench-cluster.ts';
import type { MapMemory } from './map-memory.ts';
import { residentBytesOf } from './process-cpu.ts';
import { missingForRedis, RedisServer, writeRedisCommands } from './redis-server.ts';
import { gnuTime } from './run-cost.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { writePieces } from './text-lines.ts';
import { loadCdb, loadLmdb, type TextInput } from './text-loaders.ts';
import { isInstalled } from './tools.ts';

export type MemoryBenchOptions = {
  readonly entries: number;
  /** Mean, in bytes. */
  readonly valueSize: number;
  readonly log: (line: string) => void;
};

/** Bytes an entry are those above the bytes of key and value. */
export type MemoryRow = {
  readonly name: 'Pavostore' | 'Redis' | 'cdb' | 'LMDB' | 'Map';
  /** By files, or by its own account of its memory. */
  readonly bytesPerEntry: number;
  /** By the resident memory of the whole process that holds all; undefined for files that a program maps. */
  readonly residentPerEntry: number | undefined;
  /** Until it can be asked: from slices, from commands, from the text. */
  readonly loadSeconds: number | undefined;
};

export type MemoryResult = {
  readonly entries: number;
  readonly valueSize: number;
  /** Of all keys and values. */
  readonly recordBytes: number;
  readonly rows: readonly MemoryRow[];
};

/** More than a `Map` takes. */
const mapEntriesMax = 2 ** 24;

export function benchMemory(options: MemoryBenchOptions): Promise<MemoryResult> {
  const { entries, valueSize, log } = options;
  return inTemporaryFolder(async (folder) => {
    const input: TextInput = { path: join(folder, 'input.data'), entries, valueSize, folder };
    await writePieces(input.path, generateLines({ entries, seed, valueSize }));
    const { recordBytes, row } = await measureShard(input, log);
    const rows = [row];
    const add = (next: MemoryRow): void => {
      rows.push(next);
      log(`memory: ${next.name}: ${next.bytesPerEntry.toFixed(1)} bytes an entry above key and value`);
    };
    const ofFile = (name: 'cdb' | 'LMDB', fileBytes: number): MemoryRow => ({
      ...{ name, bytesPerEntry: (fileBytes - recordBytes) / entries, residentPerEntry: undefined, loadSeconds: undefined },
    });
    if (missingForRedis().length === 0 && isInstalled(gnuTime)) add(await measureRedis(input));
    else log('memory: Redis is not installed, left out');
    if (isInstalled('cdb') && isInstalled(gnuTime)) add(ofFile('cdb', loadCdb(input).fileBytes));
    else log('memory: tinycdb (cdb) is not installed, left out');
    if (isInstalled('mdb_load') && isInstalled(gnuTime)) add(ofFile('LMDB', loadLmdb(input).fileBytes));
    else log('memory: LMDB (mdb_load) is not installed, left out');
    if (entries <= mapEntriesMax) add(measureMap(input, recordBytes));
    else log(`memory: a Map ends at ${mapEntriesMax} entries, left out`);
    return { entries, valueSize, recordBytes, rows };
  });
}

/** One shard that holds all. */
async function measureShard(
  { path, entries, folder }: TextInput,
  log: (line: string) => void,
): Promise<{ recordBytes: number; row: MemoryRow }> {
  const dataDir = join(folder, 'data');
  const { totals } = await splitFiles({ files: [path], dataDir });
  const recordBytes = totals.keyBytes + totals.valueBytes;
  const startedMs = performance.now();
  const cluster = await startCluster({ dataDir, shards: 1, replicas: 1, hasCache: false, log });
  try {
    const loadSeconds = (performance.now() - startedMs) / 1_000;
    const residentPerEntry = (residentBytesOf(cluster.shards[0]!.pid!) - recordBytes) / entries;
    const bytesPerEntry = (totals.sliceBytes - recordBytes) / entries;
    log(`memory: Pavostore: ${bytesPerEntry.toFixed(1)} bytes an entry above key and value, ready in ${loadSeconds.toFixed(1)} s`);
    return { recordBytes, row: { name: 'Pavostore', bytesPerEntry, residentPerEntry, loadSeconds } };
  } finally {
    await cluster.stop();
  }
}

async function measureRedis({ entries, valueSize, folder }: TextInput): Promise<MemoryRow> {
  const commands = join(folder, 'commands');
  const { recordBytes } = await writeRedisCommands(commands, entries, valueSize);
  const redis = await RedisServer.start(folder);
  try {
    const before = redis.usedBytes;
    const { wallSeconds } = redis.load(commands);
    if (redis.entries !== entries) throw new Error(`Redis holds ${redis.entries} of ${entries} entries`);
    const bytesPerEntry = (redis.usedBytes - before - recordBytes) / entries;
    return { name: 'Redis', bytesPerEntry, residentPerEntry: (redis.residentBytes - recordBytes) / entries, loadSeconds: wallSeconds };
  } finally {
    await redis.stop();
  }
}

/** In a process of its own, with most of the machine's memory as its heap. */
function measureMap({ path, entries }: TextInput, recordBytes: number): MemoryRow {
  const program = fileURLToPath(new URL('./map-memory.ts', import.meta.url));
  const heapMiB = Math.floor((0.7 * totalmem()) / 2 ** 20);
  const output = execFileSync(process.execPath, ['--expose-gc', `--max-old-space-size=${heapMiB}`, program, path], { encoding: 'utf8' });
  const map = JSON.parse(output) as MapMemory;
  if (map.entries !== entries) throw new Error(`the Map holds ${map.entries} of ${entries} entries`);
  return {
    name: 'Map',
    bytesPerEntry: (map.heapBytes - recordBytes) / entries,
    residentPerEntry: (map.residentBytes - recordBytes) / entries,
    loadSeconds: map.loadSeconds,
  };
}
