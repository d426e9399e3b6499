// What was measured, in docs/benchmarks/: one JSON file for each benchmark, and the plots that docs/benchmarks.md shows, drawn from them.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CpuPerGetResult } from './cpu-per-get.ts';
import type { MemoryShardResult } from './memory-shard.ts';
import { barChart, lineChart } from './plot.ts';
import type { RedisResult } from './redis.ts';
import type { SoakResult, SoakSeries } from './soak.ts';
import type { SplitBenchResult } from './split.ts';

const folder = fileURLToPath(new URL('../docs/benchmarks/', import.meta.url));

/** Keeps a result with what is needed to judge it. */
export function writeResult(name: string, result: object): void {
  mkdirSync(folder, { recursive: true });
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const machine = `${cpus().length} x ${cpus()[0]!.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`;
  // Where the data lay says nothing to anybody else.
  const command = `npm run bench ${process.argv
    .slice(2)
    .join(' ')
    .replace(/--data \S+/, '--data DIR')}`;
  const about = { machine, commit, date: new Date().toISOString().slice(0, 10), command };
  writeFileSync(join(folder, `${name}.json`), `${formatResult({ about, ...result })}\n`);
}

/** Lists of numbers in one line each. */
function formatResult(result: object): string {
  return JSON.stringify(result, null, 1).replace(/\[\n\s+[-\d.e,\s]+\]/g, (list) => list.replace(/\s+/g, ' '));
}

/** Draws every plot whose results are there. */
export function drawPlots(): void {
  const isOurs = (label: string): boolean => label.startsWith('Pavostore');
  const cpu = readResult<CpuPerGetResult>('cpu-per-get');
  const redis = readResult<RedisResult>('redis');
  if (cpu) {
    const bars = [
      { label: 'Pavostore, router and shards', value: cpu.clusterUs },
      { label: 'nginx and the same shards', value: cpu.nginxClusterUs },
      { label: 'Pavostore router alone', value: cpu.routerUs },
      { label: 'nginx alone', value: cpu.nginxUs },
      ...(redis?.webdis ? [{ label: 'webdis and Redis, one node', value: redis.webdis.cpuUs }] : []),
    ];
    draw('cpu-per-get', barChart({ title: 'CPU per GET, 64 connections, no cache', unit: 'us', bars, isOurs }));
  }
  const split = readResult<SplitBenchResult>('split');
  if (split) {
    const bars = [
      { label: 'Pavostore split', value: split.split.wallSeconds },
      { label: 'sort', value: split.sort.wallSeconds },
      ...(split.cdb ? [{ label: 'cdb -c -m', value: split.cdb.wallSeconds }] : []),
      ...(redis ? [{ label: 'redis-cli --pipe', value: redis.loadSeconds }] : []),
    ];
    draw('split', barChart({ title: `From text to served form, ${split.entries / 1e6} M records of 128 bytes`, unit: 's', bars, isOurs }));
  }
  const memory = readResult<MemoryShardResult>('memory-shard');
  if (memory) {
    const series = [
      { label: 'from a cold start', points: memory.cold.map(({ asks, hitRatio }) => [asks / 1e6, 100 * hitRatio] as const) },
      { label: 'after a restart', points: memory.warm.map(({ asks, hitRatio }) => [asks / 1e6, 100 * hitRatio] as const) },
    ];
    draw(
      'memory-shard',
      lineChart({
        title: 'A shard with a fifth of the memory, Zipf 0.99',
        xLabel: 'million look-ups',
        yLabel: '% answered from memory',
        series,
      }),
    );
  }
  const soak = readResult<SoakResult>('soak');
  if (soak) drawSoak(soak);
}

function drawSoak({ series, minutes }: SoakResult): void {
  const drawOne = (name: string, title: string, yLabel: string, valuesOf: (series: SoakSeries) => readonly number[]): void => {
    const lines = Object.entries(series).map(([label, one]) => ({
      label,
      points: one.atSeconds.map((seconds, i) => [seconds / 60, valuesOf(one)[i]!] as const),
    }));
    draw(
      name,
      lineChart({ title: `${title}, ${minutes} minutes under load, a restart each minute`, xLabel: 'minutes', yLabel, series: lines }),
    );
  };
  drawOne('soak-memory', 'Resident memory', 'MiB', ({ residentMiB }) => residentMiB);
  drawOne('soak-descriptors', 'Open descriptors', 'descriptors', ({ descriptors }) => descriptors);
  drawOne('soak-loop-delay', 'Delay of event loops', 'ms, the worst', ({ loopDelayMaxMs }) => loopDelayMaxMs);
}

function draw(name: string, svg: string): void {
  writeFileSync(join(folder, `${name}.svg`), svg);
}

function readResult<T>(name: string): T | undefined {
  const path = join(folder, `${name}.json`);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as T) : undefined;
}
