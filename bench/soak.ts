// A cluster at half of what one router of it can do, for half an hour: every answer is checked, and what each process takes is watched. One process after the other is
// restarted or killed, but for a shard and a router that live through all of it: memory, descriptors or delays that grow show in these two, and nowhere sooner.

import { setTimeout as pause } from 'node:timers/promises';
import { recordOf } from '../deploy/generate/records.ts';
import { LocalCluster } from '../deploy/serve/local-cluster.ts';
import { SupervisedProcess } from '../deploy/serve/supervised-process.ts';
import { makeData, seed } from './bench-cluster.ts';
import { type Latencies, runOpenLoop } from './open-loop.ts';
import { type ProcessSample, ProcessWatch, type WatchedProcess } from './process-watch.ts';
import { type LostRequest, SteadyLoad } from './steady-load.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { freePort, untilServing } from './tools.ts';
import { randomNumbers } from './zipf.ts';

export type SoakOptions = {
  readonly entries: number;
  readonly minutes: number;
  /** Requests a second, through two routers; by default half of what one of them does at most. */
  readonly perSecond: number | undefined;
  /** One process is restarted in each; 0: none ever. */
  readonly restartSeconds: number;
  readonly log: (line: string) => void;
};

/** Of a process from its start to its end. */
export type ProcessLife = {
  readonly process: string;
  readonly fromSeconds: number;
  readonly toSeconds: number;
  readonly residentBytesAtEnd: number;
  /** By least squares, after the first minute; null for lives that are too short to say. */
  readonly residentBytesPerHour: number | null;
  readonly descriptorsAtEnd: number;
  readonly descriptorsMax: number;
  readonly loopDelayMaxMs: number;
};

/** Points over the time; of the resident memory and the descriptors the last of each piece of time, of delays the greatest. */
export type SoakSeries = {
  readonly atSeconds: readonly number[];
  readonly residentMiB: readonly number[];
  readonly descriptors: readonly number[];
  readonly loopDelayMaxMs: readonly number[];
};

export type SoakResult = {
  readonly entries: number;
  readonly minutes: number;
  readonly shards: number;
  readonly replicas: number;
  readonly routers: number;
  readonly perSecond: number;
  /** One process ended in each; 0: none ever. */
  readonly restartSeconds: number;
  readonly requests: number;
  readonly answers: number;
  /** Wrong values and false 404s. */
  readonly wrong: number;
  /** Requests without an answer, or with 5xx, but for the next. */
  readonly failed: number;
  /** Under way in a router when it was killed. */
  readonly lostWithRouters: number;
  readonly latencies: Latencies;
  readonly restarts: readonly {
    readonly atSeconds: number;
    readonly process: string;
    readonly act: string;
    readonly wholeAfterMs: number;
  }[];
  readonly lives: readonly ProcessLife[];
  /** Of each 5 s. */
  readonly p99Ms: readonly number[];
  readonly series: Readonly<Record<string, SoakSeries>>;
};

const shardCount = 3;
const replicas = 2;
const routerCount = 2;
const connections = 64;
const askedCount = 50_000;
const absentShare = 0.1;
const tooManyPerSecond = 80_000;
const warmUpSeconds = 60;
const slopeSecondsMin = 60;
const pointsMax = 200;
const latencySeconds = 5;
const wholeMsMax = 120_000;
/** What was sent so soon after its router was killed was sent before anybody could know. */
const killNoticeMs = 50;

export async function benchSoak(options: SoakOptions): Promise<SoakResult> {
  return await inTemporaryFolder(async (folder) => {
    await makeData({ entries: options.entries, dataDir: folder });
    return await soakCluster(options, folder);
  });
}

async function soakCluster(options: SoakOptions, dataDir: string): Promise<SoakResult> {
  const { entries, minutes, log } = options;
  const cluster = new LocalCluster({
    ...{ dataDir, host: '127.0.0.1', port: 0, shardPort: 0, shards: shardCount, replicas, logLevel: 'warn' },
    routerArgs: ['--cache-size', '0', '--drain', '2s'],
    onEvent: (line) => log(`soak: ${line}`),
  });
  let second: SupervisedProcess | undefined;
  try {
    await cluster.start();
    const port = await freePort();
    const members = cluster.shardAddresses.join(',');
    second = new SupervisedProcess({
      title: 'router 2',
      args: [...['router', '--members', members, '--port', String(port), '--cache-size', '0', '--drain', '2s'], '--log-level', 'warn'],
      onDeath: (line) => log(`soak: ${line}`),
    });
    await second.start();
    const routers = [cluster.routerAddress, `127.0.0.1:${port}`];
    for (const router of routers) await untilServing(router);
    const children = [...cluster.shards, cluster.router, second];
    const processes = children.map((child, i) => ({
      // The last shard and the last router live on.
      isSteady: i === shardCount - 1 || i === children.length - 1,
      name: i < shardCount ? `shard ${i + 1}` : `router ${i + 1 - shardCount}`,
      address: i < shardCount ? cluster.shardAddresses[i]! : routers[i - shardCount]!,
      pid: () => child.pid,
    }));
    const asked = makeAsked(entries);
    const perSecond = options.perSecond ?? Math.round((await measureTopRate(routers[0]!, asked)) / 2);
    log(`soak: ${perSecond} requests a second for ${minutes} minutes`);
    return await soak({ ...options, perSecond, asked, routers, processes });
  } finally {
    await second?.stop();
    await cluster.stop();
  }
}

type Asked = ConstructorParameters<typeof SteadyLoad>[0]['asked'];

function makeAsked(entries: number): Asked {
  const random = randomNumbers(seed);
  return Array.from({ length: askedCount }, (_, i) => {
    if (random() < absentShare) return { key: `nobody-${i}`, value: undefined };
    return recordOf(seed, Math.floor(random() * entries));
  });
}

async function measureTopRate(address: string, asked: Asked): Promise<number> {
  let at = 0;
  const nextKey = (): string => asked[at++ % asked.length]!.key;
  const run = async (seconds: number): Promise<number> => {
    const { requests, perSecond, answers } = await runOpenLoop({ address, perSecond: tooManyPerSecond, seconds, connections, nextKey });
    const answered = (answers[200]?.count ?? 0) + (answers[404]?.count ?? 0);
    return (answered * perSecond) / requests;
  };
  await run(2);
  return await run(3);
}

type SoakProcess = WatchedProcess & { readonly isSteady: boolean };

async function soak(
  options: SoakOptions & { perSecond: number; asked: Asked; routers: readonly string[]; processes: readonly SoakProcess[] },
): Promise<SoakResult> {
  const { entries, minutes, perSecond, restartSeconds, asked, routers, processes, log } = options;
  const load = new SteadyLoad({ addresses: routers, perSecond, connections, asked });
  const watch = new ProcessWatch(processes);
  const restarted = processes.filter(({ isSteady }) => !isSteady);
  const restarts: SoakResult['restarts'][number][] = [];
  const kills: Kill[] = [];
  const p99Ms: number[] = [];
  const startedMs = performance.now();
  const endMs = startedMs + 60_000 * minutes;
  load.start();
  const latencyTimer = setInterval(() => p99Ms.push(Number(load.takeLatencies().p99Ms.toFixed(2))), 1_000 * latencySeconds);
  try {
    for (let turn = 0; ; turn++) {
      const nextMs = restartSeconds === 0 ? endMs : Math.min(endMs, startedMs + 1_000 * restartSeconds * (turn + 1));
      await pause(Math.max(0, nextMs - performance.now()));
      // One that has no time left to come back would be an end, not a restart.
      if (performance.now() >= endMs - 500 * restartSeconds) break;
      const process = restarted[turn % restarted.length]!;
      // Each process gets the one and the other in turn: there is an odd number of them.
      const act = turn % 2 === 0 ? 'SIGTERM' : 'SIGKILL';
      const atMs = performance.now();
      if (act === 'SIGKILL') kills.push({ address: process.address, atMs });
      const wholeAfterMs = await restart(process, act, routers);
      restarts.push({ atSeconds: Math.round((atMs - startedMs) / 1_000), process: process.name, act, wholeAfterMs });
      log(
        `soak: ${act} to ${process.name}, all there again after ${wholeAfterMs} ms; ${load.wrong.length} wrong, ${load.lost.length} lost so far`,
      );
    }
    await pause(Math.max(0, endMs - performance.now()));
  } finally {
    clearInterval(latencyTimer);
    await load.stop();
    await watch.stop();
  }
  const lostWithRouters = load.lost.filter((lost) => wentWithRouter(lost, kills));
  const failures = load.lost.filter((lost) => !lostWithRouters.includes(lost));
  for (const { status, said } of [...load.wrong, ...failures].slice(0, 10)) log(`soak: not as it should be: ${status} ${said}`);
  return {
    ...{ entries, minutes, shards: shardCount, replicas, routers: routerCount, perSecond, restartSeconds },
    requests: load.requests,
    answers: load.answers,
    wrong: load.wrong.length,
    failed: failures.length,
    lostWithRouters: lostWithRouters.length,
    latencies: load.latencies,
    restarts,
    lives: [...watch.samples].flatMap(([name, samples]) => livesOf(name, samples)),
    p99Ms,
    series: Object.fromEntries([...watch.samples].map(([name, samples]) => [name, seriesOf(samples)])),
  };
}

type Kill = { readonly address: string; readonly atMs: number };

function wentWithRouter({ status, address, sentMs }: LostRequest, kills: readonly Kill[]): boolean {
  return status === 0 && kills.some((kill) => kill.address === address && sentMs <= kill.atMs + killNoticeMs && sentMs > kill.atMs - 1_000);
}

/** Ends the process; its supervisor starts it again. Resolves when every router has every shard, to how long that took in milliseconds. */
async function restart(watched: WatchedProcess, signal: NodeJS.Signals, routers: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  const before = watched.pid();
  process.kill(before!, signal);
  const isLate = (): boolean => performance.now() - startedMs > wholeMsMax;
  while (!isLate() && (watched.pid() === undefined || watched.pid() === before)) await pause(10);
  while (!isLate() && !(await areAllThere(routers))) await pause(50);
  if (isLate()) throw new Error(`${watched.name} got ${signal}, and after ${wholeMsMax} ms not all are there again`);
  return Math.round(performance.now() - startedMs);
}

async function areAllThere(routers: readonly string[]): Promise<boolean> {
  for (const router of routers) {
    const status = await fetch(`http://${router}/status`).then(
      async (response) =>
        (await response.json()) as { version: object | null; degraded: boolean; members: { alive: boolean; state: string }[] },
      () => undefined,
    );
    if (!status?.version || status.degraded || !status.members.every(({ alive, state }) => alive && state === 'ready')) return false;
  }
  return true;
}

export function livesOf(name: string, samples: readonly ProcessSample[]): ProcessLife[] {
  const pids = [...new Set(samples.map(({ pid }) => pid))];
  return pids.map((pid) => {
    const life = samples.filter((sample) => sample.pid === pid);
    const [first, last] = [life[0]!, life.at(-1)!];
    const settled = life.filter(({ atSeconds }) => atSeconds >= first.atSeconds + warmUpSeconds);
    const isLong = settled.length > 2 && last.atSeconds - settled[0]!.atSeconds >= slopeSecondsMin;
    return {
      process: name,
      fromSeconds: Math.round(first.atSeconds),
      toSeconds: Math.round(last.atSeconds),
      residentBytesAtEnd: last.residentBytes,
      residentBytesPerHour: isLong ? Math.round(3_600 * slopeOf(settled.map((s) => [s.atSeconds, s.residentBytes] as const))) : null,
      descriptorsAtEnd: last.descriptors,
      descriptorsMax: Math.max(...life.map(({ descriptors }) => descriptors)),
      loopDelayMaxMs: Math.max(0, ...life.map(({ loopDelayMaxMs }) => loopDelayMaxMs ?? 0)),
    };
  });
}

/** Of the straight line with the least squares. */
function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

export function seriesOf(samples: readonly ProcessSample[]): SoakSeries {
  const size = Math.ceil(samples.length / pointsMax);
  const pieces = Array.from({ length: Math.ceil(samples.length / size) }, (_, i) => samples.slice(i * size, (i + 1) * size));
  return {
    atSeconds: pieces.map((piece) => Math.round(piece.at(-1)!.atSeconds)),
    residentMiB: pieces.map((piece) => Number((piece.at(-1)!.residentBytes / 2 ** 20).toFixed(1))),
    descriptors: pieces.map((piece) => piece.at(-1)!.descriptors),
    loopDelayMaxMs: pieces.map((piece) => Math.max(0, ...piece.map(({ loopDelayMaxMs }) => loopDelayMaxMs ?? 0))),
  };
}
