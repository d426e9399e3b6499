// The version that the router serves, as the hot path reads it: for each slice the lanes of its holders, in the order that
// placement prefers. Built afresh from the members' reports whenever these change; a request in flight keeps the one it is bound to.

import type { ErrorCode } from '../shared/errors.ts';
import { type VersionHeaders, versionHeadersOf } from '../shared/get-response.ts';
import { bitsOf, type SliceIndex } from '../shared/key-hash.ts';
import type { Member } from '../shared/member-table.ts';
import { recallPlacement } from '../shared/placement-memo.ts';
import { countSlices, forEachSlice, rangesOf, type SliceRanges } from '../shared/slice-ranges.ts';
import type { VersionReport } from '../shared/status-report.ts';
import type { MemberLane } from './member-lane.ts';

/** What a member is for a slice: one that holds it; or one that gives it up or leaves, and is asked only where nobody holds it. */
const holds = 2;
const answers = 1;

export class RoutedVersion {
  readonly id: string;
  readonly idBytes: Buffer;
  /** Grows when the same content is published again. */
  sequence: number;
  readonly sliceCount: number;
  readonly sliceBits: number;
  readonly headers: VersionHeaders;
  /** Owned by the engine: keys admitted and not settled that are bound to it. */
  pending = 0;
  #holders: readonly (readonly MemberLane[])[] = [];
  #absences: readonly ErrorCode[] = [];
  #lanes: ReadonlySet<MemberLane> = new Set();

  constructor(version: { id: string; sequence: number; sliceCount: number }) {
    this.id = version.id;
    this.idBytes = Buffer.from(version.id, 'hex');
    this.sequence = version.sequence;
    this.sliceCount = version.sliceCount;
    this.sliceBits = bitsOf(version.sliceCount);
    this.headers = versionHeadersOf(version.id);
  }

  /** The lanes of the members that hold the slice, preferred ones first; empty when nobody does. */
  holdersOf(sliceIndex: SliceIndex): readonly MemberLane[] {
    return this.#holders[sliceIndex]!;
  }

  /** Some of its slices may be asked for there. */
  isAskedOf(lane: MemberLane): boolean {
    return this.#lanes.has(lane);
  }

  /** Why a slice without holder has none: one loads it, its copies are corrupt, or nobody alive knows of it. */
  absenceOf(sliceIndex: SliceIndex): ErrorCode {
    return this.#absences[sliceIndex]!;
  }

  /** Reads the members' reports. `laneOf` gives the lane to a member that is alive. */
  follow(members: readonly Member[], laneOf: (member: Member) => MemberLane): void {
    const { sliceCount } = this;
    const lanes = new Map<string, MemberLane>();
    const kept = new Map<string, Uint8Array>();
    const absences = new Array<ErrorCode>(sliceCount).fill('slice_unavailable');
    for (const member of members) {
      const report = member.alive ? reportOf(member, this.id, sliceCount) : undefined;
      if (!report) continue;
      lanes.set(member.name, laneOf(member));
      const has = new Uint8Array(sliceCount);
      const mark = (standing: number) => (sliceIndex: number) => {
        has[sliceIndex] = standing;
      };
      forEachSlice(report.slices.yielding, mark(answers));
      forEachSlice(report.slices.kept, mark(member.report?.state === 'leaving' ? answers : holds));
      kept.set(member.name, has);
      forEachSlice(report.slices.corrupt, (sliceIndex) => {
        if (absences[sliceIndex] === 'slice_unavailable') absences[sliceIndex] = 'slice_corrupt';
      });
      forEachSlice(report.slices.loading, (sliceIndex) => {
        absences[sliceIndex] = 'slice_loading';
      });
    }
    // All holders in their order of preference. Nobody may be alive: then no slice has one.
    const preferences = recallPlacement({
      members: [...lanes.keys()].map((name) => ({ name })),
      sliceCount,
      replicas: Math.max(1, lanes.size),
    });
    this.#holders = preferences.map((names, sliceIndex) => {
      const having = (standing: number): MemberLane[] =>
        names.filter((name) => kept.get(name)![sliceIndex]! >= standing).map((name) => lanes.get(name)!);
      const holders = having(holds);
      return holders.length > 0 ? holders : having(answers);
    });
    this.#absences = absences;
    this.#lanes = new Set(lanes.values());
  }

  /** The slices without holder, by what is the matter with them; for `/status`. */
  absentSlices(): Readonly<Record<string, SliceRanges>> {
    const absent: Record<string, SliceRanges> = {};
    for (const code of ['slice_unavailable', 'slice_loading', 'slice_corrupt'] as const) {
      const ranges = rangesOf(this.sliceCount, (i) => this.#holders[i]!.length === 0 && this.#absences[i] === code);
      if (countSlices(ranges) > 0) absent[code] = ranges;
    }
    return absent;
  }
}

/** What the member reports of the version, when its slice count is the same. */
export function reportOf(member: Member, id: string, sliceCount: number): VersionReport | undefined {
  return member.report?.versions.find((version) => version.id === id && version.sliceCount === sliceCount);
}
