// A disk as small as a test wants it: a tmpfs at a folder. Needs root; gone with the test's process at the latest.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class SmallDisk {
  readonly folder: string;
  readonly #closeOnExit = (): void => this.close();

  /** Throws what the system says when it does not permit it. */
  constructor(folder: string, sizeBytes: number) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'pavostore-test', folder], { stdio: 'pipe' });
    process.on('exit', this.#closeOnExit);
  }

  /** Leaves `freeBytes`, to a page. */
  fill(freeBytes = 0): void {
    const file = openSync(join(this.folder, filler), 'w');
    const page = Buffer.alloc(4_096);
    let size = 0;
    try {
      for (;;) size += writeSync(file, page);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
    execFileSync('truncate', ['-s', String(Math.max(0, Math.floor(size - freeBytes))), join(this.folder, filler)]);
  }

  /** Gives back what `fill` took. */
  makeRoom(): void {
    rmSync(join(this.folder, filler), { force: true });
  }

  close(): void {
    process.off('exit', this.#closeOnExit);
    // Lazily: a process that dies just now may still have a file open.
    execFileSync('umount', ['-l', this.folder], { stdio: 'pipe' });
  }
}

/** Taken for what anybody may have put there. */
export const filler = 'filler';

/** Why there can be none here; undefined when there can. */
export function whyNoSmallDisk(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'a small disk needs Linux and root';
  const folder = mkdtempSync(join(tmpdir(), 'pavostore-disk-'));
  try {
    new SmallDisk(folder, 65_536).close();
    return undefined;
  } catch (error) {
    return `no small disks here: ${(error as Error).message.trim()}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
