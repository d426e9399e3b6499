// What a shard does for its slices beside serving them, in one place: gives them to others, brings those that are missing, checks, heals. The parts know
// nothing of each other; what they need of the shard comes through `CareOptions`.

import type { Current } from '../shared/data-set.ts';
import type { HttpServer } from '../shared/http-server.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import type { Manifest } from '../shared/manifest.ts';
import type { Member } from '../shared/member-table.ts';
import type { ObjectStore } from '../shared/object-store.ts';
import type { VersionDoor } from './current-watch.ts';
import { DataCopies } from './data-copies.ts';
import type { DiskSlice } from './disk-slice.ts';
import { noHealCounts, SliceHealer } from './heal.ts';
import type { HeldVersion } from './held-version.ts';
import { LoadGauge } from './load-gauge.ts';
import { Scrubber } from './scrub.ts';
import { SliceFetcher } from './slice-fetcher.ts';
import { SliceServer } from './slice-server.ts';
import { type PlaceSpec, type SliceSource, SourceDoor, sourcesOfSlice } from './slice-source.ts';

/** What of it the command line says. */
export type CareSettings = {
  /** Bytes a second to other shards, and from places. */
  readonly fetchRate: number;
  /** Bytes a second that are checked in the background; 0: none. */
  readonly scrubRate: number;
  readonly backup: PlaceSpec | undefined;
  readonly source: PlaceSpec | undefined;
};

export const usualCare: CareSettings = {
  fetchRate: limits.fetchRateDefault,
  scrubRate: limits.scrubRateDefault,
  backup: undefined,
  source: undefined,
};

export type CareOptions = CareSettings & {
  readonly dataDir: string;
  readonly log: HttpServer['log'];
  /** Newest first. */
  readonly versions: () => readonly HeldVersion[];
  /** The other shards. */
  readonly members: () => readonly Member[];
  readonly areMembersKnown: () => boolean;
  /** It is to be decided afresh what to load, and memory may be given back. */
  readonly onChange: () => void;
};

export class SliceCare {
  readonly server: SliceServer;
  readonly #options: CareOptions;
  readonly #counts = noHealCounts();
  readonly #gauge = new LoadGauge();
  readonly #fetcher = new SliceFetcher();
  readonly #door = new SourceDoor();
  readonly #healer: SliceHealer;
  readonly #scrubber: Scrubber;
  readonly #copies: DataCopies;

  constructor(options: CareOptions) {
    this.#options = options;
    const { dataDir, log, versions, fetchRate, scrubRate, backup, source, onChange, members, areMembersKnown } = options;
    this.server = new SliceServer({ versions, rate: fetchRate, isBusy: () => this.#gauge.isBusy });
    this.#healer = new SliceHealer({
      dataDir,
      fetcher: this.#fetcher,
      counts: this.#counts,
      log,
      sourcesOf: async (version, sliceIndex) => await this.#sourcesOf(version, sliceIndex),
      isHeld: (version) => versions().includes(version),
      onChange,
    });
    this.#scrubber = new Scrubber({ dataDir, versions, rate: scrubRate, gauge: this.#gauge, healer: this.#healer });
    const open = (place: PlaceSpec | undefined): ObjectStore | undefined => place && this.#door.openPlace(place);
    this.#copies = new DataCopies({
      dataDir,
      members,
      areMembersKnown,
      backup: open(backup),
      source: open(source),
      counts: this.#counts,
      log,
    });
  }

  start(): void {
    void this.#copies.removeLeftovers();
    this.#scrubber.start();
  }

  /** See `DataCopies`. */
  get versionDoor(): VersionDoor {
    return this.#copies;
  }

  /** `current` and manifest that are in use are looked after. Never rejects. */
  async glance(manifest: Manifest, current: Current): Promise<void> {
    const held = (): string[] => this.#options.versions().map(({ id }) => id);
    await this.#copies.glance(manifest, current, held).catch((error: Error) => this.#options.log.warn(error.message));
  }

  /** Its file was not here when it was to be loaded: it is brought when all others are loaded. */
  isMissing(version: HeldVersion, sliceIndex: SliceIndex): boolean {
    return this.#healer.isMissing(version, sliceIndex);
  }

  /** A slice could not be loaded. When it resolves, it is kept, corrupt, or to be decided upon again. Never rejects. */
  async loadFailed(version: HeldVersion, sliceIndex: SliceIndex, reason: string): Promise<void> {
    await this.#healer.loadFailed(version, sliceIndex, reason);
  }

  /** A bucket of a slice on disk failed its check. */
  readFailed(slice: DiskSlice, reason: string): void {
    const { sliceIndex } = slice.header;
    // One that failed twice at once, or was loaded anew meanwhile, is no news.
    const version = this.#options.versions().find((each) => each.diskSliceOf(sliceIndex) === slice);
    if (version) this.#healer.serveNoMore(version, sliceIndex, 'read', reason);
  }

  /** For `/status`. */
  status(): Readonly<Record<string, unknown>> {
    const unmended = this.#options
      .versions()
      .map((version) => ({ id: version.id, slices: this.#healer.unmendedOf(version) }))
      .filter(({ slices }) => slices.length > 0);
    return {
      corruptFound: this.#counts.corruptFound,
      healed: this.#counts.healed,
      fetched: this.#counts.fetched,
      unmended,
      scrubbed: this.#scrubber.counts,
      sent: this.server.counts,
    };
  }

  async close(): Promise<void> {
    this.#healer.close();
    this.server.close();
    await Promise.all([this.#scrubber.close(), this.#fetcher.close(), this.#copies.close()]);
    await this.#door.close();
  }

  async #sourcesOf(version: HeldVersion, sliceIndex: SliceIndex): Promise<readonly SliceSource[]> {
    await this.#untilMembersKnown();
    const { members, backup, source } = this.#options;
    return sourcesOfSlice({ members: members(), backup, source }, version.id, sliceIndex);
  }

  /** They are asked within moments; who does not answer by then is not waited for. */
  async #untilMembersKnown(): Promise<void> {
    const untilMs = performance.now() + 2 * limits.pollDeadlineMs;
    while (!this.#options.areMembersKnown() && performance.now() < untilMs) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
