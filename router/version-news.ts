// What a router's `/status` says of versions: what is published and refused, as the shards report it, what is served, and how far the next one is.

import type { Member } from '../shared/member-table.ts';
import type { PublishedId } from '../shared/status-report.ts';
import { candidatesOf } from './version-choice.ts';

export function versionNews(serving: PublishedId | undefined, members: readonly Member[]): Readonly<Record<string, unknown>> {
  const reports = members.flatMap(({ alive, report }) => (alive && report ? report : []));
  const published = reports.flatMap(({ current }) => current ?? []).toSorted((a, b) => b.sequence - a.sequence);
  const next = serving ? candidatesOf(members).find(({ sequence }) => sequence > serving.sequence) : undefined;
  return {
    current: published[0] ?? null,
    serving: serving ? { id: serving.id, sequence: serving.sequence } : null,
    next: next
      ? { id: next.id, sequence: next.sequence, slicesHeld: next.covered, sliceCount: next.sliceCount, settled: next.isSettled }
      : null,
    refused: reports.flatMap(({ name, refused = [] }) => refused.map((version) => ({ member: name, ...version }))),
  };
}
