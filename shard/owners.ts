// Which members count for placement, in the eyes of one shard: a pure function of what it knows of them and the clock.
//
// An owner is every member that is known, absent ones included, but for those that flap and those that left and did not come back. The
// shard itself always is one, unless it leaves. Owners are in force only when they have not changed for a while: shards that come
// together are placed together, and a process that starts again under its name moves nothing.

import { limits } from '../shared/limits.ts';
import type { KnownMember } from '../shared/member-table.ts';
import type { PlacementMember } from '../shared/placement.ts';
import type { VersionReport } from '../shared/status-report.ts';

/** A member as the decisions see it; this shard itself is one of them. */
export type MemberView = {
  readonly name: string;
  readonly zone: string | undefined;
  readonly alive: boolean;
  /** Since when it leaves; undefined: it stays. */
  readonly leavingSinceMs: number | undefined;
  readonly heldOut: boolean;
  /** What it reports was true at this time or later. */
  readonly askedMs: number;
  readonly versions: readonly VersionReport[];
  /** The id of the version that it takes for the one that is served. */
  readonly serving?: string | null | undefined;
};

export type Owners = {
  /** Those that placement is of; undefined: not known yet. */
  readonly inForce: readonly PlacementMember[] | undefined;
  /** Those that were seen last, and since when without a change. */
  readonly seen: readonly PlacementMember[];
  readonly seenSinceMs: number;
};

export const noOwners: Owners = { inForce: undefined, seen: [], seenSinceMs: 0 };

/** `settleMs`: how long the members must not change before they are in force. */
export function followOwners(
  owners: Owners,
  members: readonly MemberView[],
  options: { readonly self: string; readonly isFrozen: boolean; readonly settleMs: number; readonly nowMs: number },
): Owners {
  const { self, isFrozen, settleMs, nowMs } = options;
  if (isFrozen && owners.inForce) return { ...owners, seen: owners.inForce, seenSinceMs: nowMs };
  const found = members.filter((member) => isOwner(member, self, nowMs)).map(({ name, zone }) => ({ name, zone }));
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  const sameAsSeen = areSame(found, owners.seen);
  const seen = sameAsSeen ? owners.seen : found;
  const seenSinceMs = sameAsSeen ? owners.seenSinceMs : nowMs;
  return { seen, seenSinceMs, inForce: nowMs - seenSinceMs >= settleMs ? seen : owners.inForce };
}

/** The owners in force are those that are seen now. */
export function areSettled({ inForce, seen }: Owners): boolean {
  return inForce !== undefined && areSame(inForce, seen);
}

export function isLeaving({ leavingSinceMs }: MemberView): boolean {
  return leavingSinceMs !== undefined;
}

/** It is there, and will be. */
export function isStaying(member: MemberView): boolean {
  return member.alive && !isLeaving(member);
}

/** `member` as a shard sees it that knows it from the others. */
export function viewOf(member: KnownMember, nowMs: number): MemberView {
  const { name, zone, alive, leavingSinceMs, heldOutUntilMs, reportAskedMs, report } = member;
  const { versions = [], serving } = report ?? {};
  return { name, zone, alive, leavingSinceMs, heldOut: nowMs < heldOutUntilMs, askedMs: reportAskedMs, versions, serving };
}

function isOwner({ name, leavingSinceMs, heldOut }: MemberView, self: string, nowMs: number): boolean {
  if (name === self) return leavingSinceMs === undefined;
  return !heldOut && (leavingSinceMs === undefined || nowMs - leavingSinceMs < limits.memberReturnMs);
}

function areSame(a: readonly PlacementMember[], b: readonly PlacementMember[]): boolean {
  return a.length === b.length && a.every(({ name, zone }, i) => name === b[i]!.name && zone === b[i]!.zone);
}
