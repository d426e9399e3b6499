// Looks at the processes of a cluster while a test disturbs some of them: how late the event loop of each is, as its `/status` says, and how much memory it
// has. On a machine with few cores the one healthy holder of a slice may get none for a second; then its keys are 504 through no fault of anybody's, and the
// next ones 503, since it is gone in the eyes of its router. Such a failure is excused when the loops show it, and never otherwise.
//
//     the loop's windows   |  500 ms  |  500 ms  |  500 ms  |
//     looks                  ^    ^     ^    ^     ^    ^         each tells of the last whole window: of what was at most two windows before it

import { setTimeout as pause } from 'node:timers/promises';
import { limits } from '../../shared/limits.ts';
import { lookDeadline } from '../cluster/cluster-harness.ts';
import { OwnLoop } from '../own-loop.ts';
import { ask, getRequest } from '../raw-http.ts';
import { giveChildrenLimits } from './children-limits.ts';

const windowMs = 500;
const lookEveryMs = windowMs / 2;
/** Of the time that there is for an answer, or until a silent shard is gone: whatever else takes its time does the rest. */
const lateShare = 0.8;

/** The windows of processes that are started from now on are as short as a watch needs them; returns what makes it undone. */
export function shortenLoopWindows(others: Parameters<typeof giveChildrenLimits>[0] = {}): () => void {
  return giveChildrenLimits({ loopDelayWindowMs: windowMs, ...others });
}

/** `said`: a text with the code of the problem. */
export type FailedRequest = {
  readonly status: number;
  readonly said: string;
  readonly startMs: number;
  readonly tookMs: number;
  readonly router: string;
};

type Look = { readonly fromMs: number; readonly toMs: number; readonly lateMs: number };
type Disturbance = { readonly shard: string; readonly fromMs: number; toMs: number };

export class ClusterWatch {
  /** Of each router, in bytes: before, at the most, at last. */
  readonly memory = new Map<string, { readonly first: number; max: number; last: number }>();
  readonly own = new OwnLoop();
  readonly #routers: readonly string[];
  readonly #shards: readonly string[];
  readonly #looks = new Map<string, Look[]>();
  readonly #disturbances: Disturbance[] = [];
  readonly #looking: readonly Promise<void>[];
  #stopped = false;

  constructor({ routers, shards }: { routers: readonly string[]; shards: readonly string[] }) {
    this.#routers = routers;
    this.#shards = shards;
    this.#looking = [...routers, ...shards].map((address) => this.#watch(address));
  }

  /** A test is about to disturb this shard: what its loop says is no excuse until the function that is returned was called. */
  disturbs(shard: string): () => void {
    const disturbance = { shard, fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
    this.#disturbances.push(disturbance);
    return () => {
      disturbance.toMs = performance.now();
    };
  }

  /** The most that a healthy process on the way of a request of this time may have added to it: the router, then a shard that nobody disturbed. */
  lateWithin(router: string, fromMs: number, toMs: number): number {
    return this.#lateOf(router, fromMs, toMs) + this.#shardLateWithin(fromMs, toMs);
  }

  /** By how much a router may have been late to tell that a deadline was over. */
  routerLateIn(router: string, { startMs, tookMs }: { readonly startMs: number; readonly tookMs: number }): number {
    return this.#lateOf(router, startMs, startMs + tookMs);
  }

  /** The failures that no late loop explains, and how many are explained. */
  judge<T extends FailedRequest>(
    failures: readonly T[],
    deadlineMs: number,
  ): { readonly unexcused: readonly T[]; readonly excused: number } {
    const isExcused = ({ status, said, router, startMs, tookMs }: T): boolean => {
      const toMs = startMs + tookMs;
      if (status === 503)
        return said.includes('slice_unavailable') && this.#shardLateWithin(startMs, toMs) >= lateShare * limits.memberGoneMs;
      if (status !== 504) return false;
      const lateMs = Math.max(this.lateWithin(router, startMs, toMs), this.own.worstWithin(startMs, toMs));
      return lateMs >= lateShare * (deadlineMs - this.#waitedWithin(startMs, toMs, deadlineMs));
    };
    const unexcused = failures.filter((failure) => !isExcused(failure));
    const excused = failures.length - unexcused.length;
    if (excused > 0)
      console.log(
        `${excused} of ${failures.length} failures are 504 or 503 for want of a core: a router or a holder got none for as long as there was time`,
      );
    return { unexcused, excused };
  }

  /** Looks on until the last window has been told. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    await pause(2 * windowMs);
    this.#stopped = true;
    await Promise.all(this.#looking);
    this.own.close();
  }

  /**
   * What a request of this time may rightly have waited for a shard that is disturbed: it is found out after so long, and what was sent to it goes to another
   * holder, which has the rest of the deadline. A shorter deadline does not wait for that.
   */
  #waitedWithin(fromMs: number, toMs: number, deadlineMs: number): number {
    const isDisturbed = this.#disturbances.some((each) => each.fromMs < toMs && each.toMs > fromMs);
    return isDisturbed && deadlineMs > limits.ejectSilenceMs ? limits.ejectSilenceMs : 0;
  }

  #shardLateWithin(fromMs: number, toMs: number): number {
    return Math.max(...this.#shards.map((shard) => this.#lateOf(shard, fromMs, toMs)));
  }

  #lateOf(address: string, fromMs: number, toMs: number): number {
    const disturbances = this.#disturbances.filter(({ shard }) => shard === address);
    const isTold = (look: Look): boolean =>
      look.fromMs < toMs && look.toMs > fromMs && !disturbances.some((each) => each.fromMs < look.toMs && each.toMs > look.fromMs);
    return Math.max(0, ...(this.#looks.get(address) ?? []).filter(isTold).map(({ lateMs }) => lateMs));
  }

  async #watch(address: string): Promise<void> {
    while (!this.#stopped) {
      await this.#look(address);
      await pause(lookEveryMs);
    }
  }

  async #look(address: string): Promise<void> {
    let body: Buffer;
    try {
      ({ body } = await ask(address, getRequest('/status'), lookDeadline));
    } catch {
      // It is stopped, or dead.
      return;
    }
    const status = JSON.parse(body.toString()) as { eventLoop: { delayMaxMs: number | null }; memory: { rss?: number } };
    const { delayMaxMs } = status.eventLoop;
    const toMs = performance.now();
    if (delayMaxMs !== null) {
      const looks = this.#looks.get(address) ?? [];
      this.#looks.set(address, looks);
      looks.push({ fromMs: toMs - 2 * windowMs - delayMaxMs, toMs, lateMs: delayMaxMs });
    }
    const { rss } = status.memory;
    if (rss === undefined || !this.#routers.includes(address)) return;
    const { first, max } = this.memory.get(address) ?? { first: rss, max: rss };
    this.memory.set(address, { first, max: Math.max(max, rss), last: rss });
  }
}
