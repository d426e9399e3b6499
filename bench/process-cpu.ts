// CPU time as the kernel accounts it to processes: what a benchmark compares, since it does not depend on how busy the rest of the machine
// is. Linux only: from /proc.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time of the processes so far, all their threads included, in seconds. */
export function cpuSecondsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuSecondsOfOne(pid), 0);
}

/** What `run` gave, and the CPU seconds of each group of processes meanwhile. */
export function measureCpu<T>(run: () => T, ...groups: readonly (readonly number[])[]): { result: T; cpuSeconds: number[] } {
  const before = groups.map(cpuSecondsOf);
  const result = run();
  return { result, cpuSeconds: groups.map((pids, i) => cpuSecondsOf(pids) - before[i]!) };
}

function cpuSecondsOfOne(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // Fields after the command's name, which may itself hold spaces; utime and stime are the 14th and 15th of all.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** The processes whose parent is `pid`. */
export function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
}

/** How many files and sockets a process may have open: ours, and what our children inherit. */
export function openFilesMax(): number {
  return Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
}

/** Resident memory of a process in bytes. */
export function residentBytesOf(pid: number): number {
  return statusBytesOf(pid, 'VmRSS');
}

/** The most that it was since the process started, or since `forgetPeakOf`. */
export function peakResidentBytesOf(pid: number): number {
  return statusBytesOf(pid, 'VmHWM');
}

/** The peak begins anew with what is resident now (proc(5), `clear_refs`). */
export function forgetPeakOf(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

function statusBytesOf(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line![1]) * 1024;
}
