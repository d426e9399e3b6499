// Which versions a shard holds, as a pure function of what is published, what the members report, what routers use, and the clock. At most two.
//
//     opened, once the version served is loaded here          complete, and routers use it
//     ──────────────────────────────────────────────> next ────────────────────────────────> serving
//                                                      │                                         │ a newer one is complete, and no router
//                                  withdrawn, stuck,   │                                         │ uses this one any more
//                                  or skipped by all   └──────────────────> ending <─────────────┘
//                                                                             │ every router has seen that, and uses others
//                                                                             └──> dropped
//
// - *Serving* is the newest version that routers use; where none uses any, the newest complete one. Complete: somebody alive keeps each slice.
// - *Next* is finished before a newer one is opened, or versions that are published faster than they load would never be served. Unless it was
//   taken back; or a member that lacks it has the newer one already, since then it could never be whole: then all skip it; or it is *stuck*, which
//   means that it is not complete, and that nobody alive has had anything of it to load for long: a slice of it is damaged everywhere, or memory is
//   short for it. Whoever publishes a good one then must not wait for it.
// - A version that ends is reported as yielding: whoever uses it goes on, nobody begins. It is dropped when every router has seen such a report, and
//   uses others.
// - A lease counts no more when a newer version has been complete for long, or when the version cannot be whole any more: then whoever uses it is
//   served in part at the most, and is helped by nothing but the next version.
// - A shard that starts opens what members or routers serve, and what is published only when that is loaded.

import { limits } from '../shared/limits.ts';
import { countSlices, forEachSlice } from '../shared/slice-ranges.ts';
import type { PublishedId } from '../shared/status-report.ts';
import { isStaying, type MemberView } from './owners.ts';

export type PlannedVersion = PublishedId & {
  /** The first report that shows it as yielding; undefined: none does. */
  readonly endsFromReport: number | undefined;
  /** A router uses it. */
  readonly isLeased: boolean;
  /** Nothing of it is left to be loaded here. */
  readonly isLoaded: boolean;
};

/** What one plan remembers for the next. */
export type VersionMemory = {
  /** Since when a newer version than each of these is complete. */
  readonly behindSinceMs: ReadonlyMap<string, number>;
  /** Since when each of these is not complete, and can never be any more. */
  readonly lostSinceMs: ReadonlyMap<string, number>;
  /** Since when each of these is not complete, and nobody alive has anything of it to load. */
  readonly restingSinceMs: ReadonlyMap<string, number>;
};

export const noVersionMemory: VersionMemory = { behindSinceMs: new Map(), lostSinceMs: new Map(), restingSinceMs: new Map() };

export type VersionPlanInput = {
  readonly self: string;
  /** This shard among them. */
  readonly members: readonly MemberView[];
  /** Most of the others cannot be reached: that nobody loads something says nothing. */
  readonly isFrozen: boolean;
  readonly held: readonly PlannedVersion[];
  /** What should be served: what is published, or the one before it where that is refused. */
  readonly wanted: PublishedId | undefined;
  /** The wanted one is only the one before. */
  readonly isFallback: boolean;
  /** It was published before somebody rolled back, or its files are gone. */
  readonly isWithdrawn: (version: PublishedId) => boolean;
  /** Its manifest could not be read: it cannot be opened. */
  readonly isUnreadable: (id: string) => boolean;
  /** Every router that is known has seen this report of the shard, or a later one. */
  readonly haveSeen: (reportCounter: number) => boolean;
  readonly memory: VersionMemory;
  readonly nowMs: number;
};

export type VersionPlan = {
  readonly serving: string | undefined;
  /** Published again: the same content, with a greater sequence. Before all else. */
  readonly relabel: readonly PublishedId[];
  readonly open: PublishedId | undefined;
  /** From now on reported as yielding. */
  readonly end: readonly string[];
  /** Ending ones that are wanted after all. */
  readonly resume: readonly string[];
  readonly drop: readonly string[];
  /** Those that cannot be whole, and that a newer one does not wait for. */
  readonly stuck: readonly string[];
  readonly memory: VersionMemory;
};

export function planVersions(input: VersionPlanInput): VersionPlan {
  const { wanted, nowMs } = input;
  const relabel = wanted && !input.isFallback ? input.held.filter((each) => isOlderNaming(each, wanted)).map(() => wanted) : [];
  const held = input.held.map((each) => (relabel.length > 0 && each.id === wanted!.id ? { ...each, sequence: wanted!.sequence } : each));
  const complete = completeVersions(input.members, held);
  const isComplete = ({ id }: PlannedVersion): boolean => complete.some((version) => version.id === id);
  const isBehind = ({ sequence }: PlannedVersion): boolean => complete.some((other) => other.sequence > sequence);
  const forMs = (since: ReadonlyMap<string, number>, { id }: PlannedVersion): number => nowMs - (since.get(id) ?? nowMs);
  const isLong = (since: ReadonlyMap<string, number>, each: PlannedVersion): boolean => forMs(since, each) >= limits.versionStuckMs;
  const isResting = (each: PlannedVersion): boolean => {
    if (isComplete(each)) return false;
    // What ends for that stays so: what is given up of it is taken over by those who see it later, and that would bring it back.
    if (each.endsFromReport !== undefined && isLong(input.memory.restingSinceMs, each)) return true;
    return !input.isFrozen && !isBeingLoaded(input, each);
  };
  const restingSinceMs = sinceMs(held.filter(isResting), input.memory.restingSinceMs, nowMs);
  const isStuck = (each: PlannedVersion): boolean => isInTheWay(input, each) && isLong(restingSinceMs, each);
  const isLost = (each: PlannedVersion): boolean => !isComplete(each) && (isOvertaken(input, each) || isStuck(each));
  const memory: VersionMemory = {
    behindSinceMs: sinceMs(held.filter(isBehind), input.memory.behindSinceMs, nowMs),
    lostSinceMs: sinceMs(held.filter(isLost), input.memory.lostSinceMs, nowMs),
    restingSinceMs,
  };
  const isFarBehind = (each: PlannedVersion): boolean => forMs(memory.behindSinceMs, each) >= limits.versionBehindMaxMs;
  const isLongLost = (each: PlannedVersion): boolean => forMs(memory.lostSinceMs, each) >= limits.versionLostMaxMs;
  const isInUse = (each: PlannedVersion): boolean => each.isLeased && !isFarBehind(each) && !isLongLost(each);
  const newestFirst = held.toSorted((a, b) => b.sequence - a.sequence || (a.id < b.id ? -1 : 1));
  const serving = newestFirst.find(isInUse) ?? newestFirst.find(isComplete) ?? newestFirst.at(-1);

  const isNeeded = (each: PlannedVersion): boolean => {
    if (each === serving || isInUse(each)) return true;
    // What nobody uses makes room where the version that is used can only be whole again as the next one.
    if (each.sequence < serving!.sequence) return !isComplete(serving!) && !isLost(serving!);
    return !isSkipped(input, each) && !isStuck(each);
  };
  const unneeded = held.filter((each) => !isNeeded(each));
  return {
    serving: serving?.id,
    relabel,
    open: versionToOpen(input, newestFirst),
    end: unneeded.filter(({ endsFromReport }) => endsFromReport === undefined).map(({ id }) => id),
    resume: held.filter((each) => each.endsFromReport !== undefined && isNeeded(each)).map(({ id }) => id),
    drop: unneeded
      .filter((each) => each.endsFromReport !== undefined && (input.haveSeen(each.endsFromReport) || isFarBehind(each)))
      .map(({ id }) => id),
    stuck: held.filter(isStuck).map(({ id }) => id),
    memory,
  };
}

/** Since when each of these has been among them, without a break. */
function sinceMs(versions: readonly PublishedId[], before: ReadonlyMap<string, number>, nowMs: number): ReadonlyMap<string, number> {
  return new Map(versions.map(({ id }) => [id, before.get(id) ?? nowMs]));
}

function isOlderNaming(held: PublishedId, wanted: PublishedId): boolean {
  return held.id === wanted.id && held.sequence < wanted.sequence;
}

/** The version that is wanted is newer, and could be opened. */
function isInTheWay({ wanted, held, isUnreadable }: VersionPlanInput, version: PublishedId): boolean {
  if (!wanted || isUnreadable(wanted.id)) return false;
  return wanted.sequence > version.sequence && !held.some(({ id }) => id === wanted.id);
}

function isBeingLoaded({ members }: VersionPlanInput, { id }: PublishedId): boolean {
  const loads = ({ versions }: MemberView): boolean => versions.some((each) => each.id === id && each.slices.loading.length > 0);
  return members.some((member) => member.alive && loads(member));
}

/** A next version that is not worth finishing. */
function isSkipped(input: VersionPlanInput, next: PublishedId): boolean {
  const { wanted, isWithdrawn } = input;
  if (wanted?.id === next.id) return false;
  if (isWithdrawn(next)) return true;
  return isOvertaken(input, next);
}

/** It can never be whole: somebody lacks it, and has the newer one that is wanted, or is about to. */
function isOvertaken({ members, self, wanted }: VersionPlanInput, version: PublishedId): boolean {
  if (!wanted || wanted.sequence <= version.sequence) return false;
  return members.some(
    (member) =>
      member.name !== self &&
      isStaying(member) &&
      member.versions.some(({ sequence }) => sequence > version.sequence) &&
      !member.versions.some(({ id }) => id === version.id),
  );
}

/** One more than is held, when there is room for it and it is its time. */
function versionToOpen(input: VersionPlanInput, newestFirst: readonly PlannedVersion[]): PublishedId | undefined {
  const { wanted, isUnreadable } = input;
  const [held] = newestFirst;
  if (!held) {
    const served = servedVersion(input);
    return served ?? (wanted && !isUnreadable(wanted.id) ? wanted : undefined);
  }
  if (newestFirst.length > 1 || held.endsFromReport !== undefined || !held.isLoaded || !wanted || isUnreadable(wanted.id)) return undefined;
  return wanted.id !== held.id && wanted.sequence > held.sequence ? wanted : undefined;
}

/** What the others serve: the newest version that routers use, else the newest that a member takes for the one served. */
function servedVersion({ members, self, isUnreadable }: VersionPlanInput): PublishedId | undefined {
  const others = members.filter((member) => member.name !== self && isStaying(member));
  const reports = others.flatMap(({ versions }) => versions).filter(({ id }) => !isUnreadable(id));
  const used = reports.filter(({ inUse }) => inUse === true);
  const served = reports.filter(({ id }) => others.some(({ serving }) => serving === id));
  return newestOf(used) ?? newestOf(served);
}

function newestOf(versions: readonly PublishedId[]): PublishedId | undefined {
  const [newest] = versions.toSorted((a, b) => b.sequence - a.sequence);
  return newest && { id: newest.id, sequence: newest.sequence };
}

/** Of all versions that members alive report, those of which each slice is kept; with the greatest sequence that anybody, this shard included, names. */
export function completeVersions(members: readonly MemberView[], held: readonly PublishedId[]): readonly PublishedId[] {
  const found = new Map<string, { sequence: number; has: Uint8Array }>();
  for (const member of members) {
    if (!member.alive) continue;
    for (const { id, sequence, sliceCount, slices } of member.versions) {
      const version = found.get(id) ?? { sequence, has: new Uint8Array(sliceCount) };
      if (version.has.length !== sliceCount) continue;
      version.sequence = Math.max(version.sequence, sequence);
      forEachSlice(slices.kept, (i) => {
        version.has[i] = 1;
      });
      found.set(id, version);
    }
  }
  for (const { id, sequence } of held) {
    const version = found.get(id);
    if (version) version.sequence = Math.max(version.sequence, sequence);
  }
  return [...found].flatMap(([id, { sequence, has }]) => (has.every((one) => one === 1) ? { id, sequence } : []));
}

/** Share of the slices of a version that are kept by somebody alive, for `/status`. */
export function sharesKept(ranges: readonly (readonly [number, number])[], sliceCount: number): number {
  return countSlices(ranges) / sliceCount;
}
