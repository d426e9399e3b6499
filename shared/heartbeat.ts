// A file that says "its owner is alive": touched every few seconds, stale when it was not for a minute. Process ids mean
// nothing across containers and clocks differ across machines, so the age is the difference of two times that the same file
// system wrote: the heartbeat's and that of a probe file touched just now.

import { randomBytes } from 'node:crypto';
import { open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from './limits.ts';

/** Touches one file until it is stopped. Never keeps the process alive. */
export class Heartbeat {
  readonly #path: string;
  readonly #text: string;
  #timer: NodeJS.Timeout | undefined;

  /** `text` is what the file holds already: writing it again makes the file system, not this process, say what time it is. */
  constructor(path: string, text: string) {
    this.#path = path;
    this.#text = text;
    // A beat that fails is missed, not fatal: who depends on the file checks it before the act that needs it.
    this.#timer = setInterval(() => this.#beat().catch(() => {}), limits.heartbeatIntervalMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #beat(): Promise<void> {
    // A heartbeat that somebody removed or took over must not come back to life. What is open here is one of the two, whatever becomes of the name.
    await using file = await open(this.#path, 'r+');
    if ((await file.readFile('utf8')) === this.#text) await file.write(this.#text, 0);
  }
}

/** What time the file system of `folder` has now, in milliseconds. */
export async function fileSystemNow(folder: string): Promise<number> {
  const probe = join(folder, `.probe-${randomBytes(6).toString('hex')}`);
  await writeFile(probe, '', { flag: 'wx' });
  try {
    return (await stat(probe)).mtimeMs;
  } finally {
    await rm(probe, { force: true });
  }
}

/** True when the heartbeat at `path` is older than `limits.heartbeatStaleMs` at `nowMs`; undefined when there is none. */
export async function isStale(path: string, nowMs: number): Promise<boolean | undefined> {
  try {
    return nowMs - (await stat(path)).mtimeMs > limits.heartbeatStaleMs;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
