// A disk that is slow for the processes that a test names: the block device below a folder, throttled to so many reads a second by a cgroup (v1 or v2).
// Needs root, and a disk that is one; gone with the test's process at the latest.

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const [v1, v2] = ['/sys/fs/cgroup/blkio', '/sys/fs/cgroup'];

export class SlowDisk {
  readonly #group: string;
  readonly #device: string;
  readonly #isV1 = existsSync(join(v1, 'blkio.throttle.read_iops_device'));
  readonly #pids = new Set<number>();
  readonly #closeOnExit = (): void => this.close();

  /** Throws what the system says when it does not permit it. */
  constructor(folder: string) {
    this.#device = deviceOf(folder);
    if (!this.#isV1 && !readFileSync(join(v2, 'cgroup.subtree_control'), 'utf8').includes('io')) throw new Error('no io controller');
    this.#group = join(this.#isV1 ? v1 : v2, `pavostore-${process.pid}`);
    mkdirSync(this.#group);
    process.on('exit', this.#closeOnExit);
    try {
      this.throttle(1_000_000);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  add(pid: number): void {
    this.#pids.add(pid);
    writeFileSync(join(this.#group, 'cgroup.procs'), String(pid));
  }

  /** Undefined: as fast as it is. */
  throttle(readsPerSecond: number | undefined): void {
    if (this.#isV1) writeFileSync(join(this.#group, 'blkio.throttle.read_iops_device'), `${this.#device} ${readsPerSecond ?? 0}`);
    else writeFileSync(join(this.#group, 'io.max'), `${this.#device} riops=${readsPerSecond ?? 'max'}`);
  }

  /** Reads from the device by those that were added, so far. */
  get readCount(): number {
    const counts = readFileSync(join(this.#group, this.#isV1 ? 'blkio.throttle.io_serviced' : 'io.stat'), 'utf8');
    const count = new RegExp(this.#isV1 ? `^${this.#device} Read (\\d+)` : `^${this.#device} .*rios=(\\d+)`, 'm').exec(counts);
    return Number(count?.[1] ?? 0);
  }

  close(): void {
    process.off('exit', this.#closeOnExit);
    for (const pid of this.#pids) {
      try {
        writeFileSync(join(this.#isV1 ? v1 : v2, 'cgroup.procs'), String(pid));
      } catch {
        // It has ended.
      }
    }
    rmdirSync(this.#group);
  }
}

/** The kernel forgets what it has of the files below the folder: the next reads are from the disk. */
export async function dropFromCache(folder: string): Promise<void> {
  const drop = 'find "$1" -type f -print0 | xargs -0 -I{} dd of={} oflag=nocache conv=notrunc,fdatasync count=0 status=none';
  await promisify(execFile)('sh', ['-c', drop, 'sh', folder]);
}

/** `major:minor` of the whole disk. */
function deviceOf(folder: string): string {
  const { dev } = statSync(folder);
  const [major, minor] = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)];
  const path = realpathSync(`/sys/dev/block/${major}:${minor}`);
  return readFileSync(join(existsSync(join(path, 'partition')) ? join(path, '..') : path, 'dev'), 'utf8').trim();
}

/** Why there can be none below the folder; undefined when there can. */
export function whyNoSlowDisk(folder: string): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'a slow disk needs Linux and root';
  try {
    new SlowDisk(folder).close();
    return undefined;
  } catch (error) {
    return `no slow disks here: ${(error as Error).message.trim()}`;
  }
}
