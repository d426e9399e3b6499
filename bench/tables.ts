// Results as the tables of docs/benchmarks.md: pure functions of what the JSON files hold. A number that an older file lacks is an empty cell.

import type { ContenderResult, CpuPerGetResult } from './cpu-per-get.ts';
import type { LoadBenchResult } from './load.ts';
import type { LookUpBenchResult } from './look-up.ts';
import type { MemoryResult, MemoryRow } from './memory.ts';
import type { MemoryShardResult } from './memory-shard.ts';
import type { OverloadResult } from './overload.ts';
import type { RecordCacheBenchResult } from './record-cache.ts';
import type { RedisResult } from './redis.ts';
import type { RunCost } from './run-cost.ts';
import type { ScalingResult } from './scaling.ts';
import type { ServingLoad, ServingResult } from './serving.ts';
import type { ProcessLife, SoakResult } from './soak.ts';
import type { RivalCost, SplitBenchResult } from './split.ts';
import type { Spread } from './statistics.ts';
import type { SwapResult } from './swap.ts';

/** By the name of the benchmark. */
export const tables = {
  'cpu-per-get': cpuPerGetTable,
  load: loadTable,
  'look-up': lookUpTable,
  memory: memoryTable,
  'memory-shard': memoryShardTable,
  'overload-router': overloadTable,
  'overload-shards': overloadTable,
  'record-cache': recordCacheTable,
  redis: redisTable,
  scaling: scalingTable,
  serving: servingTable,
  soak: soakTable,
  split: splitTable,
  swap: swapTable,
} as const;

type Row = readonly string[];

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row): string => `| ${cells.join(' | ')} |`.replaceAll('|  |', '| |').replaceAll('|  |', '| |');
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].map((each) => `${each}\n`).join('');
}

const contenderTitles: Readonly<Record<ContenderResult['name'], string>> = {
  Pavostore: 'Pavostore',
  nginx: 'nginx, consistent hash',
  undici: 'fastify, one undici request a key',
  webdis: 'webdis and Redis',
};

function cpuPerGetTable(result: CpuPerGetResult): string {
  const { contenders, entries, valueSize, pairs, shardGet, shardAloneMs, halfPerSecond } = result;
  const [ours] = contenders;
  const row = (title: string, cell: (contender: ContenderResult) => string): Row => [title, ...contenders.map(cell)];
  const rival = (cell: (contender: ContenderResult) => string) => (contender: ContenderResult) =>
    contender === ours ? '' : cell(contender);
  const ourAddedMs = ours!.aloneMs - shardAloneMs;
  // What is before other data than the shards' adds nothing to them.
  const added = ({ name, aloneMs }: ContenderResult): string =>
    name === 'webdis' ? '' : ifAny(Math.min(ourAddedMs, aloneMs - shardAloneMs), () => ratio(ourAddedMs / (aloneMs - shardAloneMs)));
  const head = [
    `${count(entries)} entries, values of ${valueSize} bytes, medians of ${pairs} rounds`,
    ...contenders.map(({ name }) => contenderTitles[name]),
  ];
  const rows = [
    row('CPU of all serving processes, a request', ({ us }) => micros(us)),
    row(
      'Pavostore over it: median, lowest to highest',
      rival((contender) => spread(contender.ratio)),
    ),
    row('CPU of the process in front, a request', ({ frontUs }) => micros(frontUs)),
    row(
      'the router over it: median, lowest to highest',
      rival((contender) => spread(contender.frontRatio)),
    ),
    row('requests a second, 64 connections that wait', ({ perSecond }) => count(perSecond)),
    row('p50 of one connection that waits', ({ aloneMs }) => millis(aloneMs)),
    row('what the router adds to a shard alone, over what this adds', rival(added)),
    row(`p50, p99, p99.9 at ${count(halfPerSecond)} requests a second, open loop`, ({ half, perSecond }) =>
      half === undefined && perSecond !== undefined ? 'more than it can do' : percentiles(half),
    ),
  ];
  return (
    `${table(
      head,
      rows.filter((cells) => cells.slice(1).some((cell) => cell !== '')),
    )}\n` +
    `One shard's \`/get\`, asked straight: ${micros(shardGet.us)}, ${millis(shardAloneMs)} at one connection. A fastify route that answers every key alike: ` +
    `${micros(shardGet.fastifyUs)}; the shard over it: ${spread(shardGet.ratio)}.\n`
  );
}

function servingTable(result: ServingResult): string {
  const { entries, valueSize, shards, readySeconds, routerBytes, shardBytes, uniform, zipf, misses, openLoop, mget } = result;
  const of = valueSize === undefined ? '' : `, values of ${valueSize} bytes`;
  const load = (title: string, { perSecond, routerUs, shardsUs, ...times }: ServingLoad): Row => [
    ...[title, count(perSecond), millis(times.p50Ms), millis(times.p99Ms), millis(times.p999Ms)],
    `${routerUs.toFixed(1)}, ${micros(shardsUs)}`,
  ];
  return `${table(
    [`${count(entries)} entries${of}, ${shards} shards`, ''],
    [
      ['from the command to every slice held', seconds(readySeconds)],
      ['resident memory of the shards after all load', `${shardBytes.map((bytes) => (bytes / 2 ** 30).toFixed(2)).join(', ')} GiB`],
      ['of the router', `${Math.round(routerBytes / 2 ** 20)} MiB`],
      ['sampled keys, answered to the byte', exactCount(result.answeredExactly)],
      ['absent keys, all missing', exactCount(result.answeredMissing)],
    ],
  )}
${table(
  ['load, default settings', 'a second', 'p50', 'p99', 'p99.9', 'router, shards: CPU a request'],
  [
    load('uniform, 64 connections that wait', uniform),
    load('Zipf 0.99', zipf),
    load('misses', misses),
    [
      ...['uniform at half the rate, open loop, counted from when each request was due', count(openLoop.perSecond)],
      ...[millis(openLoop.p50Ms), millis(openLoop.p99Ms), millis(openLoop.p999Ms), ''],
    ],
    [
      ...['`/mget` of 100 keys, 16 connections', `${count(mget.keysPerSecond)} keys`, millis(mget.p50Ms), millis(mget.p99Ms), ''],
      `${(1e6 / mget.keysPerRouterCpuSecond).toFixed(1)} us of the router a key`,
    ],
  ],
)}`;
}

function scalingTable({ valueSize, points }: ScalingResult): string {
  return table(
    [
      `entries, values of ${valueSize} bytes`,
      'shards',
      'a second',
      'p50',
      'p99',
      'router, shards: CPU a request',
      'ready in',
      'memory of all shards',
      'of the router',
    ],
    points.map(({ entries, shards, uniform, readySeconds, shardBytes, routerBytes }) => [
      ...[count(entries), String(shards), count(uniform.perSecond), millis(uniform.p50Ms), millis(uniform.p99Ms)],
      ...[`${uniform.routerUs.toFixed(1)}, ${micros(uniform.shardsUs)}`, seconds(readySeconds)],
      ...[`${(shardBytes.reduce((sum, bytes) => sum + bytes, 0) / 2 ** 30).toFixed(2)} GiB`, `${Math.round(routerBytes / 2 ** 20)} MiB`],
    ]),
  );
}

const memoryTitles: Readonly<Record<MemoryRow['name'], readonly [title: string, loaded: string]>> = {
  Pavostore: ['Pavostore: slices; one shard that holds all', 'shard and router, from slices'],
  Redis: ['Redis: by its own account; the server', '`redis-cli --pipe`'],
  cdb: ['cdb: its file', ''],
  LMDB: ['LMDB: its file', ''],
  Map: ['a JavaScript `Map` of strings: its heap; the process', 'from the text'],
};

function memoryTable({ entries, valueSize, rows }: MemoryResult): string {
  return table(
    [
      `${count(entries)} entries, values of ${valueSize} bytes`,
      'bytes an entry above key and value',
      'the same of the whole process',
      'until it can be asked',
    ],
    rows.map(({ name, bytesPerEntry, residentPerEntry, loadSeconds }) => {
      const [title, loaded] = memoryTitles[name];
      const load = loadSeconds === undefined ? 'mapped' : `${seconds(loadSeconds)}, ${loaded}`;
      return [title, bytesPerEntry.toFixed(1), residentPerEntry === undefined ? '' : residentPerEntry.toFixed(1), load];
    }),
  );
}

function splitTable({ entries, pairs, split, sort, cdb, redis, lmdb, overheadPerEntry }: SplitBenchResult): string {
  const row = (title: string, cost: RunCost, rival?: RivalCost): Row => [
    ...[title, seconds(cost.wallSeconds), seconds(cost.syncSeconds), seconds(cost.cpuSeconds), `${count(cost.peakMiB)} MiB`],
    rival ? `${ratio(rival.wallRatio)}, ${ratio(rival.cpuRatio)}` : '',
  ];
  const rival = (title: string, cost: RivalCost | undefined): Row[] => (cost ? [row(title, cost, cost)] : []);
  return `${table(
    [
      `${count(entries)} records of 128 bytes, medians of ${pairs} rounds`,
      'wall',
      'sync',
      'CPU',
      'peak memory',
      'the split over it: wall, CPU',
    ],
    [
      row('`pavostore split`', split),
      ...rival('GNU `sort`', sort),
      ...rival('`cdb -c -m`', cdb),
      ...rival('`redis-cli --pipe`, from commands made before', redis),
      ...rival('LMDB: `sort` and `mdb_load`', lmdb),
    ],
  )}
The slices take ${overheadPerEntry.toFixed(2)} bytes an entry above key and value.
`;
}

function redisTable({ entries, loadSeconds, loadCpuSeconds, overheadPerEntry, webdis }: RedisResult): string {
  return table(
    [`Redis, ${count(entries)} entries`, ''],
    [
      ['`redis-cli --pipe`', `${seconds(loadSeconds)}, ${seconds(loadCpuSeconds)} of CPU`],
      ['above key and value', `${overheadPerEntry.toFixed(1)} bytes an entry`],
      ...(webdis
        ? [
            ['webdis before it, 64 connections that wait', `${count(webdis.perSecond)} a second`],
            ['p50, p99, p99.9', percentiles(webdis)],
            ['CPU of both a request', micros(webdis.cpuUs)],
          ]
        : []),
    ],
  );
}

function memoryShardTable({ entries, budget, cold, warm, hitRatio, rssMax, perSecond, valuesChecked }: MemoryShardResult): string {
  const asked = cold.at(-1)!.asks;
  return table(
    [`${count(entries)} entries, a budget of ${gigabytes(budget)}`, ''],
    [
      [`answered from memory, last fifth of ${millions(asked)} M look-ups`, percent(hitRatio)],
      ['resident memory, greatest', gigabytes(rssMax)],
      ['look-ups a second, with everything else that this shard does', count(perSecond)],
      [
        `after a restart: the first ${millions(warm[0]!.asks)} M, up to ${millions(warm.at(-1)!.asks)} M`,
        `${percent(warm[0]!.hitRatio)}, ${percent(warm.at(-1)!.hitRatio)}`,
      ],
      ['values compared', exactCount(valuesChecked)],
    ],
  );
}

function loadTable({ entries, rounds, sliceBytes, cpuSeconds, wallSeconds, digestCpuSeconds }: LoadBenchResult): string {
  const row = (title: string, cpu: number, wall?: number): Row => [
    ...[title, ifAny(cpu, () => `${cpu.toFixed(2)} s`), ifAny(cpu, () => `${(sliceBytes / 1e9 / cpu).toFixed(2)} GB/s`)],
    wall === undefined ? '' : ifAny(wall, () => `${wall.toFixed(2)} s`),
  ];
  return table(
    [
      `${count(entries)} entries, ${(sliceBytes / 1e9).toFixed(2)} GB, medians of ${rounds} rounds`,
      'CPU',
      'a core',
      'until it can be asked',
    ],
    [
      row('a shard, less what an empty one takes', cpuSeconds, wallSeconds),
      ...(digestCpuSeconds === undefined ? [] : [row('`openssl dgst -sha256` of the files', digestCpuSeconds)]),
    ],
  );
}

function lookUpTable({ entries, batchKeys, perSecond, mapPerSecond, valuesChecked }: LookUpBenchResult): string {
  return table(
    [`${count(entries)} entries`, 'look-ups a second of one core'],
    [
      [`a shard's memory, batches of ${batchKeys} keys`, count(perSecond)],
      ...(mapPerSecond === undefined ? [] : [['a JavaScript `Map` of strings', count(mapPerSecond)]]),
      ['values compared', exactCount(valuesChecked)],
    ],
  );
}

function recordCacheTable({ even, uneven, costs }: RecordCacheBenchResult): string {
  const row = (title: string, { hitRatio, lruCacheHitRatio, perfectHitRatio, utilisation }: typeof even): Row => [
    ...[title, percent(hitRatio), lruCacheHitRatio === undefined ? '' : percent(lruCacheHitRatio)],
    ...[percent(perfectHitRatio), percent(utilisation)],
  ];
  return `${table(
    [`${count(even.records)} records, Zipf 0.99, a fifth of the bytes`, 'hits', '`lru-cache`', 'a perfect cache', 'of the budget used'],
    [row('records of one size', even), row('of uneven sizes', uneven)],
  )}
A hit takes ${Math.round(costs.hitNs)} ns (${Math.round(costs.hitPrefetchedNs)} when looked up by the batch), a miss ${Math.round(costs.missNs)}, a put ${Math.round(costs.putNs)}.
`;
}

function overloadTable(result: OverloadResult): string {
  const answered = Object.entries(result.answers).map(
    ([status, { count: times, p50Ms, p99Ms }]): Row => [
      `answers of status ${status}: how many; p50, p99 since they were asked`,
      `${count(times)}; ${millis(p50Ms)}, ${millis(p99Ms)}`,
    ],
  );
  // Results of before 2026-11-29 do not have it all.
  const isWhole = result.connections !== undefined;
  const memory = [result.routerBytesBefore, result.routerBytesMax, ...(isWhole ? [result.routerBytesAfter] : [])];
  const over = isWhole ? `, ${count(result.connections)} connections, deadline ${millis(result.deadlineMs)}` : '';
  return table(
    [`twice as much as can be done${over}`, ''],
    [
      ['requests a second that can be done, that come', `${count(result.capacityPerSecond)}, ${count(result.offeredPerSecond)}`],
      ['right answers a second', `${count(result.goodputPerSecond)}, ${percent(result.ofCapacity)} of what can be done`],
      ...answered,
      ...(isWhole ? [['the generator itself was late by, p99', millis(result.generatorLateP99Ms)]] : []),
      ['given up for want of a connection', count(result.givenUp)],
      ['wrong answers', exactCount(result.wrong)],
      [`memory of the router before, at most${isWhole ? ', after' : ''}`, `${memory.map(mebibytes).join(', ')} MiB`],
      ...(isWhole
        ? [['p99 at half of what can be done before, after', `${millis(result.beforeP99Ms)}, ${millis(result.afterP99Ms)}`]]
        : []),
      ['as before after', seconds(result.recoveredAfterSeconds)],
    ],
  );
}

function soakTable(result: SoakResult): string {
  const { entries, minutes, shards, replicas, routers, perSecond, answers, wrong, failed, lostWithRouters, latencies, restarts, lives } =
    result;
  const wholeMs = restarts.map(({ wholeAfterMs }) => wholeAfterMs);
  const ofRestarted = (process: string): ProcessLife[] => lives.filter((life) => life.process === process);
  const rows = [...new Set(lives.map(({ process }) => process))].map((process): Row => {
    const own = ofRestarted(process);
    const growths = own.flatMap(({ residentBytesPerHour }) => residentBytesPerHour ?? []);
    return [
      ...[process, String(own.length), own.map(({ residentBytesAtEnd }) => mebibytes(residentBytesAtEnd)).join(', ')],
      growths.map(mebibytes).join(', '),
      ...[
        own.map(({ descriptorsAtEnd }) => descriptorsAtEnd).join(', '),
        millis(Math.max(...own.map(({ loopDelayMaxMs }) => loopDelayMaxMs))),
      ],
    ];
  });
  return `${table(
    [`${count(entries)} entries, ${shards} shards, ${replicas} copies, ${routers} routers, ${minutes} minutes`, ''],
    [
      ['requests a second; answers', `${count(perSecond)}; ${exactCount(answers)}`],
      ['wrong, failed', `${exactCount(wrong)}, ${exactCount(failed)}`],
      ['lost with a killed router', exactCount(lostWithRouters)],
      ['p50, p99, p99.9', percentiles(latencies)],
      ['restarts and kills; all there again after, at most', `${restarts.length}; ${millis(Math.max(0, ...wholeMs))}`],
    ],
  )}
${table(['process', 'lives', 'memory at the end of each, MiB', 'growth after a minute, MiB an hour', 'descriptors', 'event loop late by at most'], rows)}`;
}

function swapTable(result: SwapResult): string {
  const { entries, shards, replicas, verifySeconds, servedSeconds, settledSeconds, failed, wrong, before, during, after, memory } = result;
  return `${table(
    [`${count(entries)} entries, ${shards} shards, ${replicas} copies, memory for 1.2 versions`, ''],
    [
      ['`publish` verified the version in', seconds(verifySeconds)],
      ['from `current` replaced until every router served it', seconds(servedSeconds)],
      ['until every shard held it alone, in memory', seconds(settledSeconds)],
      ['requests failed, wrong', `${exactCount(failed)}, ${exactCount(wrong)}`],
      ...Object.entries({ before, during, after }).map(
        ([when, load]): Row => [`p50, p99, p99.9 ${when}, at ${count(load.perSecond)} requests a second`, percentiles(load)],
      ),
    ],
  )}
${table(
  ['memory of a shard, MiB: slices of one version', 'budget', 'before', 'at most', 'after', 'more than before, of its slices'],
  memory.map(({ sliceBytes, budget, residentBefore, residentPeak, residentAfter, peakOverBefore }) => [
    ...[sliceBytes, budget, residentBefore, residentPeak, residentAfter].map(mebibytes),
    percent(peakOverBefore),
  ]),
)}`;
}

/** Three digits: runs differ by more. */
const count = (value: number | undefined): string => (value === undefined ? '' : Number(value.toPrecision(3)).toLocaleString('en-US'));
const exactCount = (value: number): string => value.toLocaleString('en-US');
const micros = (us: number): string => `${us.toFixed(1)} us`;
const millis = (ms: number): string => `${plain(ms)} ms`;
const seconds = (value: number): string => `${value.toFixed(1)} s`;
const ratio = (value: number): string => value.toFixed(2);
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
const mebibytes = (bytes: number): string => String(Math.round(bytes / 2 ** 20));
const millions = (value: number): string => String(Number((value / 1e6).toPrecision(2)));
const plain = (value: number): string => String(Number(value.toPrecision(3)));
/** For what one takes less what another one takes: at a small size nothing may be left of it. */
const ifAny = (difference: number, cell: () => string): string => (difference > 0 ? cell() : 'not measurable');

function spread({ median, lowest, highest }: Spread): string {
  return lowest === undefined ? ratio(median) : `${ratio(median)}, ${ratio(lowest)} to ${ratio(highest)}`;
}

function percentiles(times: { readonly p50Ms: number; readonly p99Ms: number; readonly p999Ms: number } | undefined): string {
  return times === undefined ? '' : `${plain(times.p50Ms)}, ${plain(times.p99Ms)}, ${millis(times.p999Ms)}`;
}
