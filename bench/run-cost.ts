// What a program takes from its start to its end: the kernel's account of a child process, by GNU time.

import { execFileSync, spawnSync } from 'node:child_process';
import { median } from './statistics.ts';

export const gnuTime = '/usr/bin/time';

/** One run of a program, or medians of several. `syncSeconds` is apart from `wallSeconds`. */
export type RunCost = {
  readonly wallSeconds: number;
  readonly syncSeconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
};

/** Runs a command to its end and syncs what it wrote. Throws when it fails. `stdin` is a file descriptor. */
export function runCommand(
  command: readonly string[],
  { env = {}, stdin = 'ignore' }: { env?: NodeJS.ProcessEnv; stdin?: number | 'ignore' } = {},
): { cost: RunCost; stdout: string } {
  const { status, stdout, stderr } = spawnSync(gnuTime, ['-f', 'TIME %e %U %S %M', ...command], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    stdio: [stdin, 'pipe', 'pipe'],
  });
  const [, wall, user, system, peakKiB] = /TIME ([\d.]+) ([\d.]+) ([\d.]+) (\d+)\n$/.exec(stderr) ?? [];
  if (status !== 0 || wall === undefined) throw new Error(`${command.join(' ')} ended with exit code ${status}: ${stderr}`);
  const startedMs = performance.now();
  execFileSync('sync');
  const syncSeconds = (performance.now() - startedMs) / 1_000;
  const cost = { wallSeconds: Number(wall), syncSeconds, cpuSeconds: Number(user) + Number(system), peakMiB: Number(peakKiB) / 1_024 };
  return { cost, stdout };
}

export function mediansOf(costs: readonly RunCost[]): RunCost {
  return {
    wallSeconds: median(costs.map(({ wallSeconds }) => wallSeconds)),
    syncSeconds: median(costs.map(({ syncSeconds }) => syncSeconds)),
    cpuSeconds: median(costs.map(({ cpuSeconds }) => cpuSeconds)),
    peakMiB: median(costs.map(({ peakMiB }) => peakMiB)),
  };
}
