// One fault for each rule of members, placement and versions that the others leave out: what docs/decisions and the protocol say, done in another way.

import { Flights } from '../../router/flights.ts';
import { HotAnswers } from '../../router/hot-answers.ts';
import type { KeyLookup } from '../../router/key-lookup.ts';
import type { DecisionInput } from '../../shard/decide.ts';
import { limits } from '../../shared/limits.ts';
import { type KnownMember, MemberTable } from '../../shared/member-table.ts';
import type { StatusReport } from '../../shared/status-report.ts';
import type { Kind } from './scenario.ts';
import { type Decisions, realDecisions as real } from './simulated-cluster.ts';

const tabling = (newTable: Decisions['newTable']): Decisions => ({ ...real, newTable });
const deciding = (change: (input: DecisionInput) => DecisionInput): Decisions => ({
  ...real,
  decide: (input) => real.decide(change(input)),
});
const choosing = (change: (input: Parameters<Decisions['chooseVersion']>[0]) => typeof input): Decisions => ({
  ...real,
  chooseVersion: (input) => real.chooseVersion(change(input)),
});
const owning = (change: (input: Parameters<Decisions['followOwners']>) => Parameters<Decisions['followOwners']>): Decisions => ({
  ...real,
  followOwners: (...input) => real.followOwners(...change(input)),
});

/** Whatever another process says under the name is newer. */
class TableOfLastHeard extends MemberTable {
  override answered(address: string, report: StatusReport, nowMs: number, askedMs: number): void {
    const known = this.find(report.name)?.report;
    const isAnother = known !== undefined && known.incarnation !== report.incarnation;
    const startedMs = isAnother ? Math.max(report.startedMs, known.startedMs + 1) : report.startedMs;
    super.answered(address, { ...report, startedMs }, nowMs, isAnother ? nowMs : askedMs);
    // What it says itself of its start is what counts for the check.
    const taken = this.find(report.name)?.report;
    if (taken?.incarnation === report.incarnation) Object.assign(taken, { startedMs: report.startedMs });
  }
}

/** A member is an address. */
class TableOfAddresses extends MemberTable {
  override answered(address: string, report: StatusReport, nowMs: number, askedMs: number): void {
    const known = this.find(report.name);
    const isSecond = known?.report?.incarnation === report.incarnation && known.address !== address;
    super.answered(address, isSecond ? { ...report, name: `${report.name} at ${address}` } : report, nowMs, askedMs);
  }
}

class TableThatForgives extends MemberTable {
  override get members(): readonly KnownMember[] {
    return super.members.map((member) => ({ ...member, heldOutUntilMs: 0 }));
  }
}

/** Of whatever version. */
class AnswersByKey extends HotAnswers {
  override find(_versionId: string, key: string) {
    return super.find('', key);
  }

  override meet(_versionId: string, ...answer: [string, number, Buffer | null, number, number]): void {
    super.meet('', ...answer);
  }

  override serve(): void {}
}

class FlightsByKey extends Flights {
  readonly #byKey = new Map<string, KeyLookup>();

  override find({ key }: KeyLookup): KeyLookup | undefined {
    return this.#byKey.get(key);
  }

  override add(lookup: KeyLookup): void {
    this.#byKey.set(lookup.key, lookup);
  }

  override remove(lookup: KeyLookup): void {
    if (this.#byKey.get(lookup.key) === lookup) this.#byKey.delete(lookup.key);
  }
}

const deadOf = ({ members, owners }: DecisionInput): ReadonlySet<string> => {
  const alive = new Set(members.filter((member) => member.alive).map(({ name }) => name));
  return new Set((owners.inForce ?? []).map(({ name }) => name).filter((name) => !alive.has(name)));
};

/** With the kind of trouble that shows it soonest. */
export const plantedRuleFaults: Readonly<Record<string, { readonly kind: Kind; readonly decisions: Decisions }>> = {
  // Rule 1.
  'of two starts of one name the one heard last counts': {
    kind: 'stormy',
    decisions: tabling((addresses) => new TableOfLastHeard(addresses)),
  },
  'one process at two addresses is two members': { kind: 'graceful', decisions: tabling((addresses) => new TableOfAddresses(addresses)) },
  // Rule 2.
  'placement goes on when more than half are silent': {
    kind: 'stormy',
    decisions: tabling((addresses) => {
      const table = new MemberTable(addresses);
      table.isFrozen = () => false;
      return table;
    }),
  },
  'a shard does not count itself': {
    kind: 'graceful',
    decisions: owning(([owners, members, options]) => [owners, members.filter(({ name }) => name !== options.self), options]),
  },
  // Rules 4 to 6.
  'slices are placed anew around the dead': {
    kind: 'graceful',
    decisions: deciding((input) => {
      const dead = deadOf(input);
      const inForce = input.owners.inForce?.filter(({ name }) => !dead.has(name));
      return { ...input, owners: { ...input.owners, inForce, seen: inForce ?? [] } };
    }),
  },
  'each that is dead is made up for with a copy more': {
    kind: 'graceful',
    decisions: deciding((input) => ({ ...input, replicas: input.replicas + deadOf(input).size })),
  },
  // Rule 8.
  'an orphan is taken at once': {
    kind: 'listed',
    decisions: deciding((input) => {
      const { sliceCount } = input.version;
      const orphanedSinceMs = new Map(Array.from({ length: sliceCount }, (_, i) => [i as never, input.nowMs - limits.sliceOrphanedMs]));
      return { ...input, memory: { ...input.memory, orphanedSinceMs } };
    }),
  },
  'slices are loaded in the order of their numbers': {
    kind: 'graceful',
    decisions: {
      ...real,
      decide: (input) => {
        const decision = real.decide(input);
        return { ...decision, load: decision.load.toSorted((a, b) => a - b) };
      },
    },
  },
  // Rule 10.
  'who comes and goes is relied upon': { kind: 'stormy', decisions: tabling((addresses) => new TableThatForgives(addresses)) },
  'what leaves is no owner any more from then on': {
    kind: 'graceful',
    decisions: owning(([owners, members, options]) => [
      owners,
      members.filter(({ name, leavingSinceMs }) => name === options.self || leavingSinceMs === undefined),
      options,
    ]),
  },
  // Rule 16.
  'a router starts before it has asked every member': {
    kind: 'graceful',
    decisions: choosing((input) => ({ ...input, firstRoundDone: true })),
  },
  'a router starts with the newest version, whatever others serve': {
    kind: 'graceful',
    decisions: choosing((input) => ({
      ...input,
      members: input.members.map((member) => {
        const versions = member.report?.versions.map((version) => ({ ...version, inUse: false }));
        return member.report ? { ...member, report: { ...member.report, versions: versions! } } : member;
      }),
    })),
  },
  // Rule 17.
  'answers are kept by key alone': { kind: 'graceful', decisions: { ...real, newAnswers: () => new AnswersByKey(65_536) } },
  'keys on their way are joined by key alone': { kind: 'graceful', decisions: { ...real, newFlights: () => new FlightsByKey() } },
};
