// Faults to plant in the decisions, each one that somebody could make by an innocent change: the simulation must find every one of them.

import type { DecisionInput } from '../../shard/decide.ts';
import type { MemberView } from '../../shard/owners.ts';
import { limits } from '../../shared/limits.ts';
import { MemberTable } from '../../shared/member-table.ts';
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
  'nobody takes over from those that leave': deciding((input) =>
    real.decide({
      ...input,
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
  'members are never forgotten': {
    ...real,
    newTable: (addresses) => {
      const table = new MemberTable(addresses);
      table.forgetAbsent = () => {};
      return table;
    },
  },
};
