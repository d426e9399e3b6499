// Which versions routers use, as this shard hears it: each poll of a router names them, each batch names one. Pure state over a clock.
//
// A router's poll counts for `versionLeaseMs`, or until its next one, which may name others: so a version is free as soon as every router has said
// that it has left it. Of a batch nobody knows who sent it: it counts as long, or until every router that polls has said since what it uses.
//
// What a report shows as kept, a router may go to as soon as it has it, before it polls again. So what is given up is reported as yielding first, until
// every router has said in a poll that it has seen such a report, and names others all the same (`haveSeen`). That a router has polled again
// would not do: that poll may have left before the last answer came.

import { limits } from '../shared/limits.ts';
import type { VersionUse } from '../shared/version-use.ts';

type Poll = { readonly atMs: number; readonly versionIds: readonly string[]; readonly seenCounter: number };

export class Leases {
  readonly #incarnation: string;
  readonly #polls = new Map<string, Poll>();
  readonly #batchMs = new Map<string, number>();

  /** `incarnation`: of the shard, as its reports name it. */
  constructor(incarnation: string) {
    this.#incarnation = incarnation;
  }

  /** A router polled; answers whether it names others than before. */
  polled({ router, versionIds, seen }: VersionUse, nowMs: number): boolean {
    this.#forget(nowMs);
    const before = this.#polls.get(router);
    if (!before && this.#polls.size >= limits.leasingRoutersMax) return false;
    const seenCounter = seen?.incarnation === this.#incarnation ? seen.counter : 0;
    this.#polls.set(router, { atMs: nowMs, versionIds, seenCounter });
    return !before || before.versionIds.join() !== versionIds.join();
  }

  /** A batch asked for the version. For every batch: one that was noted a moment ago costs next to nothing. */
  asked(versionId: string, nowMs: number): void {
    this.#batchMs.set(versionId, nowMs);
  }

  /** Some router uses the version, as far as is known. */
  has(versionId: string, nowMs: number): boolean {
    this.#forget(nowMs);
    for (const { versionIds } of this.#polls.values()) if (versionIds.includes(versionId)) return true;
    const batchMs = this.#batchMs.get(versionId);
    if (batchMs === undefined || nowMs - batchMs >= limits.versionLeaseMs) return false;
    const polls = [...this.#polls.values()];
    return polls.length === 0 || polls.some(({ atMs }) => atMs <= batchMs);
  }

  /** Every router that is known has taken in the report with this counter, or a later one; true when none is known. */
  haveSeen(counter: number, nowMs: number): boolean {
    this.#forget(nowMs);
    for (const { seenCounter } of this.#polls.values()) if (seenCounter < counter) return false;
    return true;
  }

  /** Routers that have polled lately, for `/status`. */
  get routerCount(): number {
    return this.#polls.size;
  }

  #forget(nowMs: number): void {
    for (const [router, { atMs }] of this.#polls) if (nowMs - atMs >= limits.versionLeaseMs) this.#polls.delete(router);
    for (const [id, atMs] of this.#batchMs) if (nowMs - atMs >= limits.versionLeaseMs) this.#batchMs.delete(id);
  }
}
