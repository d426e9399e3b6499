// What member-poller.ts does, in virtual time: it asks all addresses once a second and tells a real member table what came of it.

import { limits } from '../../shared/limits.ts';
import type { MemberTable } from '../../shared/member-table.ts';
import type { StatusReport } from '../../shared/status-report.ts';
import type { VersionUse } from '../../shared/version-use.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';

export type SimulatedPollerOptions = {
  readonly cluster: SimulatedCluster;
  readonly table: MemberTable;
  /** Who asks: it has a view of the names, and of the network, of its own. */
  readonly self: string;
  readonly isGone: () => boolean;
  /** It stands still: what comes meanwhile is lost. */
  readonly isStopped?: () => boolean;
  /** Of a router: what each of its polls says. */
  readonly versionUse?: () => Omit<VersionUse, 'seen'>;
  /** After each answer that changed the table, and after each round. */
  readonly onChange: () => void;
};

export class SimulatedPoller {
  firstRoundDone = false;
  readonly #options: SimulatedPollerOptions;
  readonly #askedMs = new Map<string, number>();
  readonly #askAgain = new Set<string>();
  #listed: readonly string[];
  #revisionTold = -1;

  constructor(options: SimulatedPollerOptions) {
    this.#options = options;
    this.#listed = options.cluster.fixedAddresses;
    options.cluster.clock.after(options.cluster.chance.between(0, 200), () => this.#round());
  }

  /** Asks these members anew, each after the poll that is under way. */
  pollAfresh(names: readonly string[]): void {
    for (const name of names) {
      const address = this.#options.table.find(name)?.address;
      if (address === undefined) continue;
      if (this.#isAsking(address)) this.#askAgain.add(address);
      else this.#ask(address);
    }
  }

  /** One poll at a time, until its deadline. */
  #isAsking(address: string): boolean {
    const askedMs = this.#askedMs.get(address);
    return askedMs !== undefined && this.#options.cluster.clock.nowMs - askedMs < limits.pollDeadlineMs;
  }

  #round(): void {
    const { cluster, table, self, isGone, isStopped, onChange } = this.#options;
    if (isGone()) return;
    if (isStopped?.()) return cluster.clock.after(50, () => this.#round());
    const resolved = cluster.resolve(self);
    if (resolved.length > 0) this.#listed = resolved;
    for (const address of new Set([...this.#listed, ...table.addresses])) {
      if (!this.#isAsking(address)) this.#ask(address);
    }
    cluster.clock.after(limits.pollDeadlineMs, () => {
      if (isGone() || isStopped?.()) return;
      table.listed(this.#listed, cluster.clock.nowMs);
      table.forgetAbsent(cluster.clock.nowMs);
      if (this.#listed.length > 0) this.firstRoundDone = true;
      onChange();
    });
    cluster.clock.after(limits.pollIntervalMs, () => this.#round());
  }

  #ask(address: string): void {
    const { cluster, table, self, isGone, isStopped, versionUse } = this.#options;
    const askedMs = cluster.clock.nowMs;
    this.#askedMs.set(address, askedMs);
    const end = (act: () => void): void => {
      if (isGone()) return;
      if (this.#askedMs.get(address) === askedMs) this.#askedMs.delete(address);
      if (isStopped?.()) return;
      act();
      this.#tell();
      if (this.#askAgain.delete(address)) this.#ask(address);
    };
    cluster.send(self, address, {
      use: versionUse && { ...versionUse(), seen: table.reportFrom(address) },
      onReport: (report: StatusReport) =>
        end(() => {
          const known = table.find(report.name);
          const before = known && { ...known };
          table.answered(address, report, cluster.clock.nowMs, askedMs);
          cluster.hasHeard(self, table, before, report);
        }),
      onSilence: (refused: boolean) => end(() => table.silent(address, cluster.clock.nowMs, refused, askedMs)),
    });
  }

  #tell(): void {
    const { table, onChange } = this.#options;
    if (table.revision === this.#revisionTold) return;
    this.#revisionTold = table.revision;
    onChange();
  }
}
