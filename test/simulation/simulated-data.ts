// DATA as all shards of a simulation see it: what publishers did to it. Versions are cut in different ways, and some cannot be read by anybody,
// or not all of them.

import type { Current } from '../../shared/data-set.ts';
import type { Publication, PublicationAct, Publications } from '../../shared/publications.ts';
import type { PublishedId } from '../../shared/status-report.ts';

export type SimulatedManifest = { readonly id: string; readonly sliceCount: number };

export class SimulatedData {
  readonly versions: SimulatedManifest[] = [];
  /** What nobody can read. */
  readonly unreadable = new Set<string>();
  /** Slices of which there is no good copy anywhere, by the version. */
  readonly damaged = new Map<string, ReadonlySet<number>>();
  /** Versions for which no shard has the memory. */
  readonly tooLarge = new Set<string>();
  current: Current | undefined;
  publications: Publications = { pin: undefined, list: [] };

  /** A version that was not there before, not published yet. */
  add(sliceCount: number): SimulatedManifest {
    const version = { id: (this.versions.length + 1).toString(16).padStart(32, '0'), sliceCount };
    this.versions.push(version);
    return version;
  }

  publish(act: PublicationAct, id: string, nowMs: number): void {
    const sequence = Math.max((this.current?.sequence ?? 0) + 1, Math.round(1_000_000 + nowMs));
    this.#note({ act, id, sequence, atMs: Math.round(nowMs), outcome: 'passed', reasons: [] });
    this.current = { sequence, id, previousId: this.current?.id === id ? this.current.previousId : this.current?.id };
  }

  /** What all should come to serve; undefined when there is nothing that can be whole. */
  get due(): PublishedId | undefined {
    const { current } = this;
    if (!current) return undefined;
    const due = this.unreadable.has(current.id) ? current.previousId : current.id;
    if (due === undefined || !this.isGood(due)) return undefined;
    return { id: due, sequence: due === current.id ? current.sequence : 0 };
  }

  /** It can be read and loaded, all of it. */
  isGood(id: string): boolean {
    return !this.unreadable.has(id) && !this.damaged.has(id) && !this.tooLarge.has(id);
  }

  isDamaged(id: string, sliceIndex: number): boolean {
    return this.damaged.get(id)?.has(sliceIndex) === true;
  }

  /** Whatever was wrong with it is not any more. */
  mend(id: string): void {
    this.unreadable.delete(id);
    this.damaged.delete(id);
    this.tooLarge.delete(id);
  }

  sliceCountOf(id: string): number {
    return this.versions.find((version) => version.id === id)!.sliceCount;
  }

  #note(publication: Publication): void {
    this.publications = { ...this.publications, list: [...this.publications.list, publication] };
  }
}
