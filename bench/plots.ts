// Results as the plots of docs/benchmarks.md: pure functions of what the JSON files hold.

import type { CpuPerGetResult } from './cpu-per-get.ts';
import type { MemoryResult } from './memory.ts';
import type { MemoryShardResult } from './memory-shard.ts';
import { type Bar, barChart, lineChart } from './plot.ts';
import type { ScalingResult } from './scaling.ts';
import type { ServingLoad } from './serving.ts';
import type { SoakResult, SoakSeries } from './soak.ts';
import type { SplitBenchResult } from './split.ts';

/** `ending` comes after the result's name in the plot's; `title` stands for it where it is not seen; `draw` gives its SVG. */
type Plot<Result> = { readonly ending: string; readonly title: string; readonly draw: (result: Result) => string };

/** By the name of the benchmark. */
export const plots = {
  'cpu-per-get': [{ ending: '', title: 'CPU per GET', draw: drawCpuPerGet }] satisfies Plot<CpuPerGetResult>[],
  memory: [{ ending: '', title: 'Memory per entry', draw: drawMemory }] satisfies Plot<MemoryResult>[],
  'memory-shard': [{ ending: '', title: 'Hits', draw: drawMemoryShard }] satisfies Plot<MemoryShardResult>[],
  scaling: [
    { ending: '-cpu', title: 'CPU per GET as entries and shards grow', draw: drawScalingCpu },
    { ending: '-rate', title: 'GETs a second as entries and shards grow', draw: drawScalingRate },
  ] satisfies Plot<ScalingResult>[],
  soak: [
    { ending: '-memory', title: 'Resident memory', draw: drawSoakMemory },
    { ending: '-descriptors', title: 'Open descriptors', draw: drawSoakDescriptors },
    { ending: '-loop-delay', title: 'Delay of event loops', draw: drawSoakLoopDelay },
  ] satisfies Plot<SoakResult>[],
  split: [{ ending: '', title: 'Split', draw: drawSplit }] satisfies Plot<SplitBenchResult>[],
} as const;

const isOurs = (label: string): boolean => label.startsWith('Pavostore');

function drawCpuPerGet({ contenders, valueSize }: CpuPerGetResult): string {
  const titles = {
    Pavostore: ['Pavostore, router and shards', 'Pavostore router alone'],
    nginx: ['nginx and the same shards', 'nginx alone'],
    undici: ['fastify with undici and shards', 'fastify with undici alone'],
    webdis: ['webdis and Redis, one node', 'webdis alone'],
  } as const;
  const bars = contenders.flatMap(({ name, us, frontUs }) => [
    { label: titles[name][0], value: us },
    { label: titles[name][1], value: frontUs },
  ]);
  return barChart({ title: `CPU per GET, 64 connections, no cache, values of ${valueSize} bytes`, unit: 'us', bars, isOurs });
}

function drawSplit({ entries, split, sort, cdb, redis, lmdb }: SplitBenchResult): string {
  const bars = [
    { label: 'Pavostore split', value: split.wallSeconds },
    { label: 'sort', value: sort.wallSeconds },
    ...(cdb ? [{ label: 'cdb -c -m', value: cdb.wallSeconds }] : []),
    ...(redis ? [{ label: 'redis-cli --pipe', value: redis.wallSeconds }] : []),
    ...(lmdb ? [{ label: 'sort and mdb_load', value: lmdb.wallSeconds }] : []),
  ];
  return barChart({ title: `From text to served form, ${entries / 1e6} M records of 128 bytes`, unit: 's', bars, isOurs });
}

function drawMemory({ entries, rows }: MemoryResult): string {
  const bars = rows.flatMap(({ name, bytesPerEntry, residentPerEntry }) => [
    { label: name === 'Pavostore' ? 'Pavostore, slices' : name, value: bytesPerEntry },
    ...(residentPerEntry === undefined ? [] : [{ label: `${name}, whole process`, value: residentPerEntry }]),
  ]);
  return barChart({ title: `Bytes an entry above key and value, ${entries / 1e6} M entries`, unit: 'B', bars, isOurs });
}

function drawScalingCpu(result: ScalingResult): string {
  const bars = scalingBars(result, ({ routerUs, shardsUs }) => routerUs + shardsUs);
  return barChart({ title: 'CPU per GET of router and shards, uniform, default settings', unit: 'us', bars, isOurs: () => true });
}

function drawScalingRate(result: ScalingResult): string {
  const bars = scalingBars(result, ({ perSecond }) => perSecond);
  return barChart({ title: 'GETs a second, 64 connections that wait, uniform', unit: 'a second', bars, isOurs: () => true });
}

function scalingBars({ points }: ScalingResult, figureOf: (load: ServingLoad) => number): Bar[] {
  return points.map(({ entries, shards, uniform }) => ({
    label: `${entries / 1e6} M entries, ${shards} ${shards === 1 ? 'shard' : 'shards'}`,
    value: figureOf(uniform),
  }));
}

function drawMemoryShard({ cold, warm }: MemoryShardResult): string {
  const pointsOf = (windows: typeof cold) => windows.map(({ asks, hitRatio }) => [asks / 1e6, 100 * hitRatio] as const);
  return lineChart({
    title: 'A shard with a fifth of the memory, Zipf 0.99',
    xLabel: 'million look-ups',
    yLabel: '% answered from memory',
    series: [
      { label: 'from a cold start', points: pointsOf(cold) },
      { label: 'after a restart', points: pointsOf(warm) },
    ],
  });
}

function drawSoakMemory(result: SoakResult): string {
  return drawSoak(result, 'Resident memory', 'MiB', ({ residentMiB }) => residentMiB);
}

function drawSoakDescriptors(result: SoakResult): string {
  return drawSoak(result, 'Open descriptors', 'descriptors', ({ descriptors }) => descriptors);
}

function drawSoakLoopDelay(result: SoakResult): string {
  return drawSoak(result, 'Delay of event loops', 'ms, the worst', ({ loopDelayMaxMs }) => loopDelayMaxMs);
}

function drawSoak(
  { series, minutes, restartSeconds }: SoakResult,
  title: string,
  yLabel: string,
  valuesOf: (series: SoakSeries) => readonly number[],
): string {
  const lines = Object.entries(series).map(([label, one]) => ({
    label,
    points: one.atSeconds.map((seconds, i) => [seconds / 60, valuesOf(one)[i]!] as const),
  }));
  return lineChart({
    title: `${title}, ${minutes} minutes under load, a restart each ${restartSeconds} s`,
    xLabel: 'minutes',
    yLabel,
    series: lines,
  });
}
