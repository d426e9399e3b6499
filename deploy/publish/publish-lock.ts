// DATA/publish.lock: one publisher at a time. The file holds its owner's random token and is touched while the owner lives.
// A stale lock is taken away only by who has made `publish.lock.takeover` and has found it stale since: of two that have seen it, the
// slower one would else take away what the faster one has locked anew. Who died over that leaves a stale takeover, which is taken
// away in the same way. An owner that was stopped for a minute may have lost the lock without knowing: it checks its token right
// before `current` is replaced, the one act that must not be done by two.

import { randomBytes } from 'node:crypto';
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PavostoreError } from '../../shared/errors.ts';
import { fileSystemNow, Heartbeat, isStale } from '../../shared/heartbeat.ts';
import { limits } from '../../shared/limits.ts';
import { formatDuration } from '../../shared/quantities.ts';
import { rethrowWrite, writeError } from '../../shared/write-error.ts';

/** Owns the lock file from `openPublishLock` to `close`. */
export class PublishLock {
  /** Random; nobody else's. */
  readonly token: string;
  readonly #path: string;
  readonly #heartbeat: Heartbeat;

  constructor(path: string, token: string) {
    this.#path = path;
    this.token = token;
    this.#heartbeat = new Heartbeat(path, token);
  }

  /** Throws `publish_locked` when somebody took the lock over. */
  async assertHeld(): Promise<void> {
    if ((await readToken(this.#path)) === this.token) return;
    throw new PavostoreError('publish_locked', `${this.#path}: another process took it over; nothing was published`);
  }

  async close(): Promise<void> {
    this.#heartbeat.stop();
    if ((await readToken(this.#path)) === this.token) await rm(this.#path, { force: true });
  }
}

/** Waits up to `waitMs` for the lock of `dataDir`; says so once when that takes longer than a moment. Throws `publish_locked`. */
export async function openPublishLock(
  dataDir: string,
  options: { waitMs?: number; signal?: AbortSignal | undefined; onWait?: ((message: string) => void) | undefined } = {},
): Promise<PublishLock> {
  const { waitMs = limits.publishLockWaitMs, signal, onWait = () => {} } = options;
  const path = join(dataDir, 'publish.lock');
  const token = randomBytes(16).toString('hex');
  const startedMs = performance.now();
  let isTold = false;
  while (!(await createLock(path, token))) {
    if (await takeAwayStale(dataDir, path)) continue;
    const waitedMs = performance.now() - startedMs;
    if (!isTold && waitedMs >= limits.publishLockTellMs) {
      isTold = true;
      onWait(`${path}: another process is publishing; waiting for it`);
    }
    if (waitedMs >= waitMs) throw new PavostoreError('publish_locked', `${path}: held by another process for ${formatDuration(waitedMs)}`);
    await delay(limits.publishLockRetryMs, undefined, { signal });
  }
  return new PublishLock(path, token);
}

async function createLock(path: string, token: string): Promise<boolean> {
  try {
    await using file = await open(path, 'wx');
    await file.writeFile(token).catch(async (error: unknown) => {
      // On a full disk there is a name, but no room for the token: it would lock out everybody for a minute.
      await rm(path, { force: true });
      throw error;
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw writeError(error, path);
  }
}

/** True when the stale file at `path`, a lock or a takeover, was there and is gone now. */
async function takeAwayStale(dataDir: string, path: string): Promise<boolean> {
  if (!(await isStale(path, await fileSystemNow(dataDir)))) return false;
  const takeover = `${path}.takeover`;
  if (!(await createLock(takeover, ''))) return await takeAwayStale(dataDir, takeover);
  try {
    if (!(await isStale(path, await fileSystemNow(dataDir)))) return false;
    await rm(path, { force: true }).catch(rethrowWrite(path));
    return true;
  } finally {
    await rm(takeover, { force: true });
  }
}

async function readToken(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(() => undefined);
}
