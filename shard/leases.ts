// Which versions routers use, as this shard hears it: each poll of a router names them, each batch names one. Pure state over a clock.
//
// A router's poll counts for `versionLeaseMs`, or until its next one, which may name others: so a version is free as soon as every router has said
// that it has left it. Of a batch nobody knows who sent it: it counts as long, or until every router that polls has said since what it uses.
// A router that names none has just started, and learns from the answer what there is to choose from: what an answer to a poll shows as kept
// may be asked for until the next poll. So what is given up is reported as yielding first, until all have polled again (`havePolledSince`).

import { limits } from '../shared/limits.ts';
import type { VersionUse } from '../shared/version-use.ts';

type Poll = { readonly atMs: number; readonly versionIds: readonly string[] };

export class Leases {
  readonly #polls = new Map<string, Poll>();
  readonly #batchMs = new Map<string, number>();

  /** A router polled; answers whether it names others than before. */
  polled({ router, versionIds }: VersionUse, nowMs: number): boolean {
    this.#forget(nowMs);
    const before = this.#polls.get(router);
    if (!before && this.#polls.size >= limits.leasingRoutersMax) return false;
    this.#polls.set(router, { atMs: nowMs, versionIds });
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
    return this.#polls.size === 0 || !this.havePolledSince(batchMs, nowMs);
  }

  /** Every router that is known has polled after `sinceMs`; true when none is known. */
  havePolledSince(sinceMs: number, nowMs: number): boolean {
    this.#forget(nowMs);
    for (const { atMs } of this.#polls.values()) if (atMs <= sinceMs) return false;
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
