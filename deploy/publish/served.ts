// Waits until routers serve what was published: each of them is asked for its `/status` again and again. A router that serves a later
// publication serves this one's successor, which is as good. One that lacks slices does not serve it yet, nor one of several workers behind
// a port of which another has not switched.

import { setTimeout as pause } from 'node:timers/promises';
import type { Current } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { HttpClient } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { formatDuration } from '../../shared/quantities.ts';
import { countSlices, type SliceRanges } from '../../shared/slice-ranges.ts';

export type ServedOptions = {
  /** Addresses, `host:port`. */
  readonly routers: readonly string[];
  readonly current: Current;
  readonly waitMs: number;
  /** A line each time that something changed. */
  readonly onProgress: (message: string) => void;
  readonly signal: AbortSignal;
};

/** What one router said last. */
type RouterAnswer = { readonly serves: boolean; readonly text: string };

/** Throws `version_not_served` when one of the routers does not serve it in time, or the signal's reason. */
export async function untilServed({ routers, current, waitMs, onProgress, signal }: ServedOptions): Promise<void> {
  const client = new HttpClient();
  const told = new Map<string, string>();
  const deadlineMs = performance.now() + waitMs;
  try {
    for (;;) {
      const answers = await Promise.all(routers.map(async (address) => await askRouter(client, address, current)));
      for (const [index, address] of routers.entries()) {
        const { text } = answers[index]!;
        if (told.get(address) !== text) onProgress(`router ${address} ${text}`);
        told.set(address, text);
      }
      if (answers.every(({ serves }) => serves)) return;
      if (performance.now() >= deadlineMs) throw notServed(routers, answers, current, waitMs);
      await pause(limits.servedPollMs, undefined, { signal });
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    await client.close();
  }
}

type Served = { readonly id: string; readonly sequence: number };

type RouterStatus = {
  readonly version?: Served | null;
  readonly degraded?: boolean;
  readonly slicesAbsent?: Readonly<Record<string, SliceRanges>>;
  /** All behind the same port, as they were a moment ago. */
  readonly workers?: readonly { readonly worker: number; readonly state: string; readonly version?: Served | null }[];
};

async function askRouter(client: HttpClient, address: string, current: Current): Promise<RouterAnswer> {
  try {
    const { status, body } = await client.fetch(address, '/status', {
      deadlineMs: limits.toolDeadlineMs,
      sizeMax: limits.toolReplySizeMax,
    });
    if (status !== 200) return { serves: false, text: `answers ${status}` };
    return judgeStatus(JSON.parse(body.toString()) as RouterStatus, current);
  } catch (error) {
    const { message, name } = error as Error;
    return { serves: false, text: `does not answer: ${message || name}` };
  }
}

/** What a router's status says of `current`. */
export function judgeStatus({ version, degraded, slicesAbsent = {}, workers = [] }: RouterStatus, current: Current): RouterAnswer {
  if (!version) return { serves: false, text: 'serves no version yet' };
  const text = `serves ${version.id}, sequence ${version.sequence}`;
  if (version.sequence < current.sequence) return { serves: false, text };
  const late = workers.find((worker) => worker.state !== 'ready' || (worker.version && worker.version.sequence < current.sequence));
  if (late)
    return {
      serves: false,
      text: `${text}, but its worker ${late.worker} ${late.version ? `serves ${late.version.id}` : `is ${late.state}`}`,
    };
  if (!degraded) return { serves: true, text };
  const absent = Object.values(slicesAbsent).reduce((sum, ranges) => sum + countSlices(ranges), 0);
  return { serves: false, text: `${text}, without ${absent} of its slices` };
}

function notServed(routers: readonly string[], answers: readonly RouterAnswer[], current: Current, waitMs: number): PavostoreError {
  const late = routers.flatMap((address, index) => (answers[index]!.serves ? [] : [`router ${address} ${answers[index]!.text}`]));
  return new PavostoreError(
    'version_not_served',
    `version ${current.id} is published, sequence ${current.sequence}, but after ${formatDuration(waitMs)} not served: ${late.join('; ')}`,
  );
}
