// DATA as all shards of a simulation see it: what publishers did to it. Versions are cut in different ways, and some cannot be read by anybody.

import type { Current } from '../../shared/data-set.ts';
import type { Publication, PublicationAct, Publications } from '../../shared/publications.ts';
import type { PublishedId } from '../../shared/status-report.ts';

export type SimulatedManifest = { readonly id: string; readonly sliceCount: number };

export class SimulatedData {
  readonly versions: SimulatedManifest[] = [];
  /** What nobody can read. */
  readonly unreadable = new Set<string>();
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

  /** What all should come to serve; undefined when there is nothing that can be read. */
  get due(): PublishedId | undefined {
    const { current } = this;
    if (!current) return undefined;
    if (!this.unreadable.has(current.id)) return { id: current.id, sequence: current.sequence };
    const { previousId } = current;
    return previousId === undefined || this.unreadable.has(previousId) ? undefined : { id: previousId, sequence: 0 };
  }

  sliceCountOf(id: string): number {
    return this.versions.find((version) => version.id === id)!.sliceCount;
  }

  #note(publication: Publication): void {
    this.publications = { ...this.publications, list: [...this.publications.list, publication] };
  }
}
