// Who the members are, as one process knows them: what they reported, when they last answered, when they were last listed.
// Pure state over reports and a clock that comes from outside; the poller feeds it, router and shard read it.
//
// A member is a name; an address is only where to ask. A member of a fixed list is known by its address until it says its
// name, and never goes. Discovery only adds: a discovered member goes when it said `leaving` and stopped answering, or was
// neither listed nor answered for `memberAbsentMs`. An older report never replaces a newer one.

import { limits } from './limits.ts';
import type { StatusReport } from './status-report.ts';

export type Member = {
  readonly name: string;
  readonly zone: string | undefined;
  /** Where it answered last, or where the list says that it is. */
  readonly address: string;
  /** Of a fixed list: never forgotten. */
  readonly fixed: boolean;
  readonly report: StatusReport | undefined;
  readonly lastAnswerMs: number;
  readonly lastListedMs: number;
  /** It answered lately, and the last attempt to reach it was not refused. */
  readonly alive: boolean;
};

type MutableMember = { -readonly [K in keyof Member]: Member[K] };

export class MemberTable {
  readonly #members = new Map<string, MutableMember>();
  /** Grows with each change of who is there, where, in which state, with which slices. */
  #revision = 0;

  /** `fixedAddresses`: the members of a fixed list, known by their addresses until they say their names. */
  constructor(fixedAddresses: readonly string[] = []) {
    for (const address of fixedAddresses) this.#members.set(address, silentMember(address));
  }

  get revision(): number {
    return this.#revision;
  }

  /** All members, absent ones included, in the order of their names. */
  get members(): readonly Member[] {
    return [...this.#members.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  find(name: string): Member | undefined {
    return this.#members.get(name);
  }

  /** The addresses to ask besides those that the source lists now. */
  get addresses(): readonly string[] {
    return [...new Set([...this.#members.values()].map(({ address }) => address))];
  }

  /** The source lists these addresses at `nowMs`. */
  listed(addresses: readonly string[], nowMs: number): void {
    for (const member of this.#members.values()) {
      if (addresses.includes(member.address)) member.lastListedMs = nowMs;
    }
  }

  /** `report` came from `address` at `nowMs`. */
  answered(address: string, report: StatusReport, nowMs: number): void {
    const provisional = this.#members.get(address);
    const known = this.#members.get(report.name);
    if (known?.report && !isNewer(report, known.report)) {
      // A report that was overtaken: alive all the same, if it is no older process.
      if (report.incarnation === known.report.incarnation && address === known.address) this.#touch(known, nowMs);
      return;
    }
    // Beyond the bound nobody new is taken in: placement would be of a part only, and different in each process.
    if (!known && !provisional && this.#members.size >= limits.membersMax) return;
    // A fixed entry that says another name than its address: the entry takes the name.
    if (provisional && provisional.name !== report.name) {
      this.#members.delete(address);
      this.#revision++;
    }
    // One process at a second address stays where it was found as long as it answers there: else it would move with each poll.
    const stays = known?.alive === true && known.report?.incarnation === report.incarnation && known.address !== address;
    this.#members.set(report.name, {
      name: report.name,
      zone: report.zone,
      address: stays ? known.address : address,
      fixed: known?.fixed ?? provisional?.fixed ?? false,
      report,
      lastAnswerMs: stays ? known.lastAnswerMs : nowMs,
      lastListedMs: nowMs,
      alive: true,
    });
    const moved = !stays && known?.address !== address;
    if (!known?.alive || moved || !saysTheSame(report, known.report)) this.#revision++;
  }

  /** Nobody answered at `address`; `refused`: nobody listens there, so that waiting any longer is of no use. */
  silent(address: string, nowMs: number, refused: boolean): void {
    for (const member of this.#members.values()) {
      if (member.address !== address || !member.alive) continue;
      if (refused || nowMs - member.lastAnswerMs > limits.memberSilentMs) {
        member.alive = false;
        this.#revision++;
      }
    }
  }

  /** Forgets the discovered members that are gone. */
  forgetAbsent(nowMs: number): void {
    for (const member of this.#members.values()) {
      if (member.fixed || member.alive) continue;
      const left = member.report?.state === 'leaving';
      const absentMs = nowMs - Math.max(member.lastAnswerMs, member.lastListedMs);
      if (left || absentMs > limits.memberAbsentMs) {
        this.#members.delete(member.name);
        this.#revision++;
      }
    }
  }

  #touch(member: MutableMember, nowMs: number): void {
    member.lastAnswerMs = nowMs;
    if (!member.alive) this.#revision++;
    member.alive = true;
  }
}

function silentMember(address: string): MutableMember {
  return { name: address, zone: undefined, address, fixed: true, report: undefined, lastAnswerMs: 0, lastListedMs: 0, alive: false };
}

/** Of one incarnation the greater counter, of two the later start. */
function isNewer(report: StatusReport, known: StatusReport): boolean {
  if (report.incarnation === known.incarnation) return report.counter > known.counter;
  return report.startedMs > known.startedMs || (report.startedMs === known.startedMs && report.incarnation > known.incarnation);
}

function saysTheSame(report: StatusReport, known: StatusReport | undefined): boolean {
  return known !== undefined && report.state === known.state && JSON.stringify(report.versions) === JSON.stringify(known.versions);
}
