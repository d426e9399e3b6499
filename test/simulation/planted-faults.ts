// Faults to plant in the decisions, each one that somebody could make by an innocent change: the simulation must find every one of them.
//
// Here: rules 3, 7, 9 to 11, 15 to 17 of the protocol. In planted-rule-faults.ts: 1, 2, 5, 6, 8, 10, 16, 17. In planted-lookup-faults.ts: 19 and 21.
// What is decided where the simulation does not come has a test of its own that fails with it:
//
//     rule  fault                                                  test
//     2     an empty DNS answer empties the list                   test/shared/member-poller.test.ts: are found, and stay when the name has no address
//     4     placement depends on the order of the names            test/shared/placement.test.ts: the order in which they are named changes nothing
//     10    a hold-out does not double                             test/shared/member-table.test.ts: is held out for a time that doubles
//     16    a router waits for ever for those who still load       test/router/version-choice.test.ts: waits for those who still load the newer one
//     17    a batch holds keys of two versions                     test/router/lookup-engine.test.ts: keys of two versions never share a batch
//     18    a shard without a version says that it is ready        test/shard/shard-server.test.ts: that finds nothing published is live but not ready
//     18    a router that serves in part says that it is not       test/router/router.test.ts: from the first request on, also when not every slice has a holder
//     20    a hedge before its time, beyond its budget             test/router/member-health.test.ts, failing-holders.test.ts, stopped-shard.test.ts
//     21    probes do not wait longer each time                    test/router/member-health.test.ts

import { candidatesOf } from '../../router/version-choice.ts';
import type { DecisionInput } from '../../shard/decide.ts';
import { Leases } from '../../shard/leases.ts';
import type { MemberView } from '../../shard/owners.ts';
import { limits } from '../../shared/limits.ts';
import { type Member, MemberTable } from '../../shared/member-table.ts';
import { includesSlice, rangesOf } from '../../shared/slice-ranges.ts';
import type { StatusReport, VersionReport } from '../../shared/status-report.ts';
import { type Decisions, realDecisions as real } from './simulated-cluster.ts';

/** The real decisions over what `change` makes of the other members. */
function seeing(change: (member: MemberView, nowMs: number) => MemberView): Decisions {
  const changed = <T extends { readonly self: string; readonly members: readonly MemberView[]; readonly nowMs: number }>(input: T): T => ({
    ...input,
    members: input.members.map((member) => (member.name === input.self ? member : change(member, input.nowMs))),
  });
  return {
    ...real,
    decide: (input) => real.decide(changed(input)),
    followLeaving: (input) => real.followLeaving(changed(input)),
  };
}

function deciding(change: (input: DecisionInput) => ReturnType<Decisions['decide']>): Decisions {
  return { ...real, decide: change };
}

function planning(change: Decisions['planVersions']): Decisions {
  return { ...real, planVersions: change };
}

function choosing(change: Decisions['chooseVersion']): Decisions {
  return { ...real, chooseVersion: change };
}

/** Whatever it has of a version is all that it should have. */
function settledMember(member: Member): Member {
  if (!member.report) return member;
  const { versions } = member.report;
  const newest = versions.map((version) => ({ ...version, settled: true }));
  return { ...member, report: { ...member.report, versions: newest } };
}

const yieldingAsKept = (version: VersionReport): VersionReport => {
  const { kept, yielding } = version.slices;
  const both = rangesOf(version.sliceCount, (i) => includesSlice(kept, i) || includesSlice(yielding, i));
  return { ...version, slices: { ...version.slices, kept: both } };
};

/** Takes whatever comes for the newest, and for true now. */
class CredulousTable extends MemberTable {
  #counter = 1e9;

  override answered(address: string, report: StatusReport, nowMs: number): void {
    super.answered(address, { ...report, counter: ++this.#counter }, nowMs, nowMs);
  }
}

export const plantedFaults: Readonly<Record<string, Decisions>> = {
  'a slice is freed without having been yielded': deciding((input) => {
    const decision = real.decide(input);
    return { ...decision, yield: [], free: [...decision.free, ...decision.yield] };
  }),
  'a slice is freed without the wait': deciding((input) => {
    const yieldingSinceMs = new Map([...input.memory.yieldingSinceMs].map(([i]) => [i, input.nowMs - limits.sliceYieldMs] as const));
    const version = { ...input.version, lastAskedMs: () => undefined };
    return real.decide({ ...input, version, memory: { ...input.memory, yieldingSinceMs } });
  }),
  'a slice is freed without asking its owners afresh': seeing((member, nowMs) => ({ ...member, askedMs: nowMs })),
  'an old report is taken for a new one': { ...real, newTable: (addresses) => new CredulousTable(addresses) },
  'a slice that is yielding counts as kept': seeing((member) => ({ ...member, versions: member.versions.map(yieldingAsKept) })),
  'members that leave count as if they stayed': seeing((member) => ({ ...member, leavingSinceMs: undefined })),
  // Nor later, as from the dead: that alone would save the slices within the grace.
  'nobody takes over from those that leave': deciding((input) =>
    real.decide({
      ...input,
      memory: { ...input.memory, orphanedSinceMs: new Map() },
      members: input.members.filter(({ name, leavingSinceMs }) => name === input.self || leavingSinceMs === undefined),
    }),
  ),
  'a shard leaves without looking back': {
    ...real,
    followLeaving: (input) => ({ ...real.followLeaving(input), mayLeave: true }),
  },
  'a slice that can no longer be yielded is freed': deciding((input) => {
    const decision = real.decide(input);
    return { ...decision, keep: [], free: [...decision.free, ...decision.keep] };
  }),
  'nothing is ever given up': deciding((input) => ({ ...real.decide(input), yield: [] })),
  'what was yielding stays so': deciding((input) => ({ ...real.decide(input), keep: [] })),
  'nobody takes over from the dead': deciding((input) =>
    real.decide({ ...input, memory: { ...input.memory, orphanedSinceMs: new Map() } }),
  ),
  'a version is dropped that routers use': {
    ...real,
    newLeases: (incarnation) => {
      const leases = new Leases(incarnation);
      leases.has = () => false;
      return leases;
    },
  },
  'a version is dropped that requests under way are bound to': {
    ...real,
    versionsInUse: (versions) => versions.slice(0, 1).map(({ id }) => id),
  },
  'a version is dropped without having been yielded': planning((input) => {
    const plan = real.planVersions(input);
    return { ...plan, end: [], drop: [...plan.drop, ...plan.end] };
  }),
  'a version is dropped before every router has seen that it yields': planning((input) =>
    real.planVersions({ ...input, haveSeen: () => true }),
  ),
  'a version that nobody uses any more is kept': planning((input) => ({ ...real.planVersions(input), drop: [] })),
  'a third version is opened': planning((input) => {
    const plan = real.planVersions(input);
    const isHeld = input.held.some(({ id }) => id === input.wanted?.id);
    return { ...plan, open: isHeld ? undefined : input.wanted };
  }),
  'a version is finished that somebody has overtaken': planning((input) => {
    const alone = input.members.filter(({ name }) => name === input.self);
    const plan = real.planVersions(input);
    const skipped = real.planVersions({ ...input, members: alone }).end;
    return { ...plan, end: plan.end.filter((id) => skipped.includes(id)) };
  }),
  'a version that can never be whole is waited for': planning((input) =>
    real.planVersions({ ...input, memory: { ...input.memory, restingSinceMs: new Map() } }),
  ),
  'a version is loaded that cannot be read': {
    ...real,
    wantedOf: ({ id, sequence }) => ({ version: { id, sequence }, isFallback: false, refused: [] }),
    planVersions: (input) => real.planVersions({ ...input, isUnreadable: () => false }),
  },
  'a batch is answered from the newest version': { ...real, findVersion: (versions) => versions[0] },
  'a router goes back to an older version': choosing((input) =>
    real.chooseVersion({ ...input, serving: input.serving && { id: 'f'.repeat(32), sequence: 0 } }),
  ),
  'a router goes to a version as soon as each slice has one holder': choosing((input) =>
    real.chooseVersion({ ...input, members: input.members.map(settledMember) }),
  ),
  'a router goes to a version that is not complete': choosing((input) => {
    const choice = real.chooseVersion(input);
    const [newest] = candidatesOf(input.members);
    const isNewer = newest && input.serving && newest.sequence > input.serving.sequence;
    return isNewer ? { ...choice, chosen: newest } : choice;
  }),
  'a request whose version is gone fails': { ...real, rebinds: false },
  'members are never forgotten': {
    ...real,
    newTable: (addresses) => {
      const table = new MemberTable(addresses);
      table.forgetAbsent = () => {};
      return table;
    },
  },
};
