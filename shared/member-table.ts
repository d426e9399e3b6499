// Who the members are, as one process knows them: what they reported, when they last answered, when they were last listed.
// Pure state over reports and a clock that comes from outside; the poller feeds it, router and shard read it.
//
// A member is a name; an address is only where to ask. An older report never replaces a newer one, of two starts of one name the later counts,
// and one process at two addresses is one member. Discovery only adds: a discovered member goes when it said `leaving` and did not come back
// for `memberReturnMs`, or was neither listed nor answered for `memberAbsentMs`. One of a fixed list is known by its address until it
// says its name, and never goes; it gives way only to another name at its own address. When more than half are silent at once, it is
// more likely that this process is cut off than that all of them died: then nobody goes for `placementFrozenMs`.

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

/** What the shards' decisions need to know besides. */
export type KnownMember = Member & {
  /** When its report was asked for: what it says was true then, or later. */
  readonly reportAskedMs: number;
  /** When the first report of its incarnation was asked for. */
  readonly incarnationAskedMs: number;
  /** Since when it is known to leave; undefined: it stays. */
  readonly leavingSinceMs: number | undefined;
  /** It came and went too often: until then it should not be relied upon. */
  readonly heldOutUntilMs: number;
};

type MutableMember = { -readonly [K in keyof KnownMember]: KnownMember[K] };

/** How often a member came back after a death or a long silence, and until when that costs its standing. */
type Returns = { readonly count: number; readonly heldOutUntilMs: number };

export class MemberTable {
  readonly #members = new Map<string, MutableMember>();
  readonly #fixedAddresses: ReadonlySet<string>;
  /** By address: the member whose process answered there last. */
  readonly #lastNames = new Map<string, string>();
  readonly #returns = new Map<string, Returns>();
  #mostSilentSinceMs: number | undefined;
  /** Grows with each change of who is there, where, in which state, with which slices. */
  #revision = 0;

  /** `fixedAddresses`: the members of a fixed list, known by their addresses until they say their names. */
  constructor(fixedAddresses: readonly string[] = []) {
    this.#fixedAddresses = new Set(fixedAddresses);
    for (const address of fixedAddresses) this.#members.set(address, silentMember(address));
  }

  get revision(): number {
    return this.#revision;
  }

  /** All members, absent ones included, in the order of their names. */
  get members(): readonly KnownMember[] {
    return [...this.#members.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  find(name: string): KnownMember | undefined {
    return this.#members.get(name);
  }

  /** The last report of the process that answers at the address. */
  reportFrom(address: string): StatusReport | undefined {
    for (const member of this.#members.values()) if (member.address === address && member.report) return member.report;
    return undefined;
  }

  /** The addresses to ask besides those that the source lists now. */
  get addresses(): readonly string[] {
    return [...new Set([...this.#members.values()].map(({ address }) => address))];
  }

  /** More than half of the members are silent, and were not a short while ago. */
  isFrozen(nowMs: number): boolean {
    return this.#mostSilentSinceMs !== undefined && nowMs - this.#mostSilentSinceMs < limits.placementFrozenMs;
  }

  /** The source lists these addresses at `nowMs`. */
  listed(addresses: readonly string[], nowMs: number): void {
    for (const member of this.#members.values()) {
      // An address where another one answered since, be it a second one of his, is not listed for the one that was there before.
      const isItsOwn = (this.#lastNames.get(member.address) ?? member.name) === member.name;
      if (isItsOwn && addresses.includes(member.address)) member.lastListedMs = nowMs;
    }
  }

  /** `report` came from `address` at `nowMs`, where it was asked for at `askedMs`. */
  answered(address: string, report: StatusReport, nowMs: number, askedMs: number = nowMs): void {
    const known = this.#members.get(report.name);
    if (known?.report && !replaces(report, known as Heard, { address, nowMs, askedMs })) {
      // A report that was overtaken: alive all the same, if it is no older process.
      if (report.incarnation === known.report.incarnation && address === known.address) this.#touch(known, nowMs);
      return;
    }
    const before = [...this.#members.values()].filter((member) => member.address === address && member.name !== report.name);
    // An answer of the process that was at this address before comes late: the one that started later is there now.
    if (before.some((member) => isThere(member, nowMs) && member.report!.startedMs > report.startedMs)) return;
    // Beyond the bound nobody new is taken in: placement would be of a part only, and different in each process.
    const takesPlace = before.some(({ fixed }) => fixed);
    if (!known && !takesPlace && this.#members.size >= limits.membersMax) return;
    for (const member of before) this.#giveWay(member);

    this.#lastNames.set(address, report.name);
    const returns = this.#countReturn(report, known, nowMs);
    // One process at a second address stays where it was found as long as it answers there: else it would move with each poll.
    const stays = known?.alive === true && known.report?.incarnation === report.incarnation && known.address !== address;
    const wasLeaving = known?.report?.incarnation === report.incarnation ? known.leavingSinceMs : undefined;
    this.#members.set(report.name, {
      name: report.name,
      zone: report.zone,
      address: stays ? known.address : address,
      fixed: known?.fixed === true || this.#fixedAddresses.has(address),
      report,
      lastAnswerMs: stays ? known.lastAnswerMs : nowMs,
      lastListedMs: nowMs,
      alive: true,
      reportAskedMs: askedMs,
      incarnationAskedMs: known?.report?.incarnation === report.incarnation ? known.incarnationAskedMs : askedMs,
      leavingSinceMs: report.state === 'leaving' ? (wasLeaving ?? nowMs) : undefined,
      heldOutUntilMs: returns?.heldOutUntilMs ?? 0,
    });
    const moved = !stays && known?.address !== address;
    if (!known?.alive || moved || !saysTheSame(report, known.report)) this.#revision++;
  }

  /**
   * Nobody answered at `address`, which was asked at `askedMs`; `refused`: nobody listens there, so that waiting any longer is of
   * no use.
   */
  silent(address: string, nowMs: number, refused: boolean, askedMs: number = nowMs): void {
    for (const member of this.#members.values()) {
      if (member.address !== address || !member.alive || member.reportAskedMs > askedMs) continue;
      if (refused || nowMs - member.lastAnswerMs > limits.memberSilentMs) {
        member.alive = false;
        this.#revision++;
      }
    }
  }

  /** Forgets the discovered members that are gone. For every round of polls, since it also sees how many are silent. */
  forgetAbsent(nowMs: number): void {
    this.#noteSilent(nowMs);
    if (this.isFrozen(nowMs)) return;
    for (const member of this.#members.values()) {
      if (member.fixed || member.alive) continue;
      const { leavingSinceMs } = member;
      const hasLeft = leavingSinceMs !== undefined && nowMs - leavingSinceMs > limits.memberReturnMs;
      const absentMs = nowMs - Math.max(member.lastAnswerMs, member.lastListedMs);
      if (!hasLeft && absentMs <= limits.memberAbsentMs) continue;
      this.#members.delete(member.name);
      this.#revision++;
      if (leavingSinceMs === undefined && !this.#returns.has(member.name)) {
        this.#returns.set(member.name, { count: 0, heldOutUntilMs: nowMs });
      }
    }
    for (const [address, name] of this.#lastNames) if (!this.#members.has(name)) this.#lastNames.delete(address);
    for (const [name, { heldOutUntilMs }] of this.#returns) {
      if (nowMs - heldOutUntilMs > limits.flapForgiveMs) this.#returns.delete(name);
    }
  }

  /** Somebody else answers at its address. */
  #giveWay(member: MutableMember): void {
    if (member.fixed) this.#members.delete(member.name);
    else if (member.alive) member.alive = false;
    else return;
    this.#revision++;
  }

  /** A process that died and one that was silent for long count; one that said that it leaves does not. */
  #countReturn(report: StatusReport, known: KnownMember | undefined, nowMs: number): Returns | undefined {
    const before = this.#returns.get(report.name);
    const isReturn = known?.report
      ? known.report.incarnation === report.incarnation
        ? !known.alive && nowMs - known.lastAnswerMs >= limits.sliceOrphanedMs
        : known.leavingSinceMs === undefined
      : before !== undefined && !known;
    if (!isReturn) return before;
    const count = 1 + (before && nowMs - before.heldOutUntilMs <= limits.flapForgiveMs ? before.count : 0);
    // The first return is forgiven; from the second on each costs twice as much as the one before.
    const heldOutMs = count === 1 ? 0 : Math.min(limits.flapHoldMaxMs, limits.flapHoldMinMs * 2 ** (count - 2));
    const returns = { count, heldOutUntilMs: nowMs + heldOutMs };
    this.#returns.set(report.name, returns);
    return returns;
  }

  #noteSilent(nowMs: number): void {
    const staying = [...this.#members.values()].filter(({ report, leavingSinceMs }) => report && leavingSinceMs === undefined);
    const silent = staying.filter(({ alive }) => !alive);
    // One that is silent is just that, also where it is the only other.
    if (silent.length < 2 || 2 * silent.length <= staying.length) this.#mostSilentSinceMs = undefined;
    else this.#mostSilentSinceMs ??= nowMs;
  }

  #touch(member: MutableMember, nowMs: number): void {
    member.lastAnswerMs = nowMs;
    if (!member.alive) this.#revision++;
    member.alive = true;
  }
}

function silentMember(address: string): MutableMember {
  return {
    name: address,
    zone: undefined,
    address,
    fixed: true,
    report: undefined,
    lastAnswerMs: 0,
    lastListedMs: 0,
    alive: false,
    reportAskedMs: Number.NEGATIVE_INFINITY,
    incarnationAskedMs: Number.NEGATIVE_INFINITY,
    leavingSinceMs: undefined,
    heldOutUntilMs: 0,
  };
}

/** It answered at its address within the time that a living member may be silent. */
function isThere({ alive, lastAnswerMs }: Member, nowMs: number): boolean {
  return alive && nowMs - lastAnswerMs <= limits.memberSilentMs;
}

type Heard = KnownMember & { readonly report: StatusReport };

/** Whether a report, asked for at `address` at `askedMs`, counts in place of the known one. */
function replaces(
  report: StatusReport,
  known: Heard,
  { address, nowMs, askedMs }: { address: string; nowMs: number; askedMs: number },
): boolean {
  if (report.incarnation === known.report.incarnation) return report.counter > known.report.counter;
  // Of a process that was there before the known one was heard of.
  if (askedMs < known.incarnationAskedMs) return false;
  // Clocks are set back: another process counts, whenever it started by its own, when the known one cannot answer any more. It was asked where that one was, after
  // its last answer; or that one has been silent for long.
  const isAfter = askedMs > known.lastAnswerMs && (address === known.address || nowMs - known.lastAnswerMs > limits.memberSilentMs);
  return isAfter || isLaterStart(report, known.report);
}

function isLaterStart({ startedMs, incarnation }: StatusReport, known: StatusReport): boolean {
  return startedMs > known.startedMs || (startedMs === known.startedMs && incarnation > known.incarnation);
}

function saysTheSame(report: StatusReport, known: StatusReport | undefined): boolean {
  if (!known || report.state !== known.state || report.serving !== known.serving) return false;
  return areAlike(report.versions, known.versions) && areAlike(report.current, known.current) && areAlike(report.refused, known.refused);
}

function areAlike(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
