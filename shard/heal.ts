// Heals what was found damaged, while the shard serves on. A corrupt slice is not served: its own file, when that is whole, else another shard that keeps
// it, the backup, the source, in this order, bring it back. A file that is damaged while the slice is served from memory, or is still open, is written
// anew from there. Each copy is verified by its SHA-256 before it counts. Where DATA cannot be written a slice is healed in memory alone, and is
// reported until `verify --repair` has mended the file.
//
//     load, bucket read, scrub ──> HealQueue ──> SliceFetcher ──> file, renamed ──> loaded like any other
//                                                            └──> memory (DATA is read-only)

import { availableMemory } from '../shared/available-memory.ts';
import { slicePath, versionPath } from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import type { HttpServer } from '../shared/http-server.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { fingerprintOf } from '../shared/placed-file.ts';
import { viewSlice } from '../shared/slice-layout.ts';
import { rangesOf, type SliceRanges } from '../shared/slice-ranges.ts';
import { beginReading, endReading } from './disk-slice.ts';
import { type Ailment, HealQueue } from './heal-queue.ts';
import type { HeldVersion } from './held-version.ts';
import { type FetchOutcome, isFileMissing } from './slice-fetch.ts';
import type { SliceFetcher } from './slice-fetcher.ts';
import type { SliceSource, SourceKind, WantedSlice } from './slice-source.ts';

/** How something was found to be damaged, or was brought: for `/status`. Grow only. */
export type HealCounts = {
  readonly corruptFound: { load: number; read: number; memory: number; file: number; manifest: number; current: number };
  /** `own`: from memory, the open file or the file on the disk. */
  readonly healed: { own: number; replica: number; backup: number; source: number };
  /** Slices whose file was not there, and came from others. */
  readonly fetched: { replica: number; backup: number; source: number };
};

export const noHealCounts = (): HealCounts => ({
  corruptFound: { load: 0, read: 0, memory: 0, file: 0, manifest: 0, current: 0 },
  healed: { own: 0, replica: 0, backup: 0, source: 0 },
  fetched: { replica: 0, backup: 0, source: 0 },
});

export type SliceHealerOptions = {
  readonly dataDir: string;
  readonly fetcher: SliceFetcher;
  readonly counts: HealCounts;
  readonly log: HttpServer['log'];
  /** Who may have the slice besides this shard, in the order in which they are asked. Resolves once the members have been asked for the first time. */
  readonly sourcesOf: (version: HeldVersion, sliceIndex: SliceIndex) => Promise<readonly SliceSource[]>;
  readonly isHeld: (version: HeldVersion) => boolean;
  /** Something changed: it is to be decided afresh what to load, and memory may be given back. */
  readonly onChange: () => void;
};

export class SliceHealer {
  readonly #options: SliceHealerOptions;
  readonly #queue = new HealQueue<HeldVersion>();
  /** Slices whose files were missing when they were to be loaded: brought after all that are here. */
  readonly #missing = new WeakMap<HeldVersion, Set<SliceIndex>>();
  /** Healed, but not on the disk. */
  readonly #unmended = new WeakMap<HeldVersion, Set<SliceIndex>>();
  /** How often each slice was healed lately, and when it was last. */
  readonly #healings = new WeakMap<HeldVersion, Map<SliceIndex, { readonly count: number; readonly atMs: number }>>();
  #timer: NodeJS.Timeout | undefined;
  #isHealing = false;
  /** It has been said that the disk cannot be written to: once, since it may be for thousands of slices. */
  #isDiskTold = false;
  #closed = false;

  constructor(options: SliceHealerOptions) {
    this.#options = options;
  }

  /** True when its file was missing at the last try: others are loaded first. */
  isMissing(version: HeldVersion, sliceIndex: SliceIndex): boolean {
    return this.#missing.get(version)?.has(sliceIndex) === true;
  }

  /** The slices whose files are damaged, though they are served. */
  unmendedOf(version: HeldVersion): SliceRanges {
    const unmended = this.#unmended.get(version);
    const ailing = new Set(
      this.#queue.ailments.filter((each) => each.version === version && each.kind === 'file').map((each) => each.sliceIndex),
    );
    return rangesOf(version.sliceCount, (i) => unmended?.has(i as SliceIndex) === true || ailing.has(i as SliceIndex));
  }

  /**
   * A slice that is `loading` could not be loaded. One whose file is missing is brought from others, when all others are loaded; any other one is corrupt.
   * When it resolves, the slice is kept, corrupt, or to be decided upon again. Never rejects.
   */
  async loadFailed(version: HeldVersion, sliceIndex: SliceIndex, reason: string): Promise<void> {
    const { counts, log, sourcesOf } = this.#options;
    const isMissing = await isFileMissing(this.#pathOf(version, sliceIndex)).catch(() => false);
    if (isMissing && (await sourcesOf(version, sliceIndex)).length > 0) {
      const missing = this.#missing.get(version) ?? new Set();
      this.#missing.set(version, missing);
      const isKnown = missing.has(sliceIndex);
      missing.add(sliceIndex);
      if (!isKnown) return version.stateOf(sliceIndex) === 'loading' ? version.letLoad(sliceIndex) : undefined;
      if (await this.#bring(version, sliceIndex)) return;
    }
    if (this.#closed || version.stateOf(sliceIndex) !== 'loading') return;
    version.markCorrupt(sliceIndex);
    counts.corruptFound.load++;
    log.error(`slice ${sliceIndex} is not served: ${reason}`);
    this.#add({ version, sliceIndex, kind: 'slice', reason });
  }

  /** What is served of the slice was found to be damaged: it is not served any more. `where`: reading a bucket, or a check of memory or of the file. */
  serveNoMore(version: HeldVersion, sliceIndex: SliceIndex, where: 'read' | 'memory' | 'file', reason: string): void {
    const state = version.stateOf(sliceIndex);
    if (this.#closed || (state !== 'kept' && state !== 'yielding')) return;
    this.#options.counts.corruptFound[where]++;
    this.#options.log.error(`slice ${sliceIndex} is not served any more: ${reason}`);
    version.markCorrupt(sliceIndex);
    this.#add({ version, sliceIndex, kind: 'slice', reason });
    this.#options.onChange();
  }

  /** The file of a slice is damaged or missing, but what is served of it is right. */
  mendFile(version: HeldVersion, sliceIndex: SliceIndex, reason: string): void {
    if (this.#closed || !this.#add({ version, sliceIndex, kind: 'file', reason })) return;
    this.#options.counts.corruptFound.file++;
    this.#options.log.warn(`slice ${sliceIndex} is served, but its file is damaged: ${reason}`);
  }

  /** The file was found to be whole. */
  fileIsWhole(version: HeldVersion, sliceIndex: SliceIndex): void {
    this.#unmended.get(version)?.delete(sliceIndex);
    const ailment = this.#queue.find(version, sliceIndex);
    if (ailment?.kind === 'file') this.#queue.remove(ailment);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #add(found: Pick<Ailment<HeldVersion>, 'version' | 'sliceIndex' | 'kind' | 'reason'>): boolean {
    const nowMs = performance.now();
    const isNew = this.#queue.add(found, nowMs, found.kind === 'slice' ? this.#relapsesOf(found.version, found.sliceIndex, nowMs) : 0);
    if (isNew) this.#schedule();
    return isNew;
  }

  #relapsesOf(version: HeldVersion, sliceIndex: SliceIndex, nowMs: number): number {
    const healing = this.#healings.get(version)?.get(sliceIndex);
    return healing && nowMs - healing.atMs < limits.healRelapseMs ? healing.count : 0;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const delayMs = this.#queue.delayMs(performance.now());
    if (this.#closed || this.#isHealing || delayMs === undefined) return;
    this.#timer = setTimeout(() => void this.#healNext(), delayMs);
  }

  async #healNext(): Promise<void> {
    const ailment = this.#queue.next(performance.now());
    if (ailment) {
      this.#isHealing = true;
      try {
        await this.#heal(ailment);
      } catch (error) {
        this.#tellFailure(ailment, (error as Error).message);
        this.#queue.failed(ailment, { nowMs: performance.now(), isBusy: false, fileSeen: undefined });
      }
      this.#isHealing = false;
    }
    this.#schedule();
  }

  async #heal(ailment: Ailment<HeldVersion>): Promise<void> {
    const { version, sliceIndex, kind } = ailment;
    if (!this.#ails(ailment)) return void this.#queue.remove(ailment);
    const path = this.#pathOf(version, sliceIndex);
    const fileSeen = (await fingerprintOf(path).catch(() => undefined)) ?? 'missing';
    if (fileSeen !== ailment.fileSeen) {
      // A read that failed once, memory that changed, a file that another shard has mended meanwhile: then the file is whole.
      const fault = await this.#options.fetcher.findFileFault(path, wantedOf(version, sliceIndex));
      if (fault === undefined) return this.#healed(ailment, 'own');
    }
    const fetching = kind === 'slice' ? this.#fetch(version, sliceIndex) : this.#rewrite(version, sliceIndex);
    const outcome = await fetching.catch((error: Error): FetchOutcome => ({ ...nothingFetched, failures: [error.message] }));
    if (outcome.from === undefined) {
      if (!outcome.isBusy) this.#tellFailure(ailment, outcome.failures.join('; ') || 'nobody has a copy');
      this.#queue.failed(ailment, { nowMs: performance.now(), isBusy: outcome.isBusy, fileSeen });
    } else this.#healed(ailment, outcome.from, outcome.slice);
  }

  /** It is still what it was found to be, and of use. */
  #ails({ version, sliceIndex, kind }: Ailment<HeldVersion>): boolean {
    const state = version.stateOf(sliceIndex);
    if (!this.#options.isHeld(version)) return false;
    return kind === 'slice' ? state === 'corrupt' : state === 'kept';
  }

  #healed(ailment: Ailment<HeldVersion>, from: SourceKind | 'own', slice?: FetchOutcome['slice']): void {
    const { counts, log, onChange } = this.#options;
    const { version, sliceIndex, kind } = ailment;
    this.#queue.remove(ailment);
    if (this.#closed || !this.#ails(ailment)) return;
    counts.healed[from === 'memory' || from === 'open' ? 'own' : from]++;
    log.info(`slice ${sliceIndex} is healed from ${describeSource(from)}${slice ? ', in memory only' : ''}`);
    if (kind === 'slice') {
      const nowMs = performance.now();
      const healings = this.#healings.get(version) ?? new Map();
      this.#healings.set(version, healings.set(sliceIndex, { count: 1 + this.#relapsesOf(version, sliceIndex, nowMs), atMs: nowMs }));
      this.#takeIn(version, sliceIndex, slice);
    }
    onChange();
  }

  /** A slice that is corrupt or loading is here now: in its file, from where it is loaded like any other, or in memory alone. */
  #takeIn(version: HeldVersion, sliceIndex: SliceIndex, slice: FetchOutcome['slice']): void {
    this.#missing.get(version)?.delete(sliceIndex);
    if (!slice) return version.letLoad(sliceIndex);
    version.keep(sliceIndex, viewSlice(Buffer.from(slice.bytes), slice.header));
    const unmended = this.#unmended.get(version) ?? new Set();
    this.#unmended.set(version, unmended.add(sliceIndex));
  }

  /** True when it is here now, or is not wanted any more. */
  async #bring(version: HeldVersion, sliceIndex: SliceIndex): Promise<boolean> {
    const { counts, log, isHeld } = this.#options;
    for (;;) {
      let outcome: FetchOutcome;
      try {
        outcome = await this.#fetch(version, sliceIndex);
      } catch (error) {
        if (!this.#closed) log.error(`slice ${sliceIndex} cannot be brought: ${(error as Error).message}`);
        return false;
      }
      if (this.#closed || !isHeld(version) || version.stateOf(sliceIndex) !== 'loading') return true;
      const { from } = outcome;
      if (from === 'replica' || from === 'backup' || from === 'source') {
        counts.fetched[from]++;
        this.#takeIn(version, sliceIndex, outcome.slice);
        return true;
      }
      if (!outcome.isBusy) {
        log.error(`slice ${sliceIndex} cannot be brought: ${outcome.failures.join('; ') || 'nobody has it'}`);
        return false;
      }
      await new Promise((resolve) => setTimeout(resolve, limits.fetchBusyDelayMs));
    }
  }

  /** From others: to its file, or into memory where DATA cannot be written. Rejects when there is no room for it. */
  async #fetch(version: HeldVersion, sliceIndex: SliceIndex): Promise<FetchOutcome> {
    const { dataDir, fetcher, log, sourcesOf } = this.#options;
    const wanted = wantedOf(version, sliceIndex);
    const sources = await sourcesOf(version, sliceIndex);
    try {
      const outcome = await fetcher.fetch(wanted, sources, { kind: 'file', dataDir });
      if (outcome.from !== undefined) this.#isDiskTold = false;
      return outcome;
    } catch (error) {
      if (!(error instanceof PavostoreError) || (error.code !== 'data_unwritable' && error.code !== 'disk_short')) throw error;
      if (!this.#isDiskTold) log.warn(`slices are fetched into memory only: ${error.message}`);
      this.#isDiskTold = true;
      const room = availableMemory() - limits.memoryReserve;
      if (wanted.expected.bytes > room)
        throw new PavostoreError('memory_short', `${error.message}; and memory has no room for it`, { cause: error });
      return await fetcher.fetch(wanted, sources, { kind: 'memory' });
    }
  }

  /** From what this shard serves it from, else from others. */
  async #rewrite(version: HeldVersion, sliceIndex: SliceIndex): Promise<FetchOutcome> {
    const { dataDir, fetcher, sourcesOf } = this.#options;
    const slice = version.sliceOf(sliceIndex);
    const diskSlice = version.diskSliceOf(sliceIndex);
    const own: SliceSource[] = slice ? [{ kind: 'memory', bytes: slice.bytes }] : diskSlice ? [{ kind: 'open', fd: diskSlice.fd }] : [];
    // Before anything is waited for: the number of a file that was closed meanwhile may be that of another one.
    if (diskSlice) beginReading(diskSlice);
    try {
      const sources = [...own, ...(await sourcesOf(version, sliceIndex))];
      const outcome = await fetcher.fetch(wantedOf(version, sliceIndex), sources, { kind: 'file', dataDir });
      // What is served failed the check that the copy of another one passed.
      if (own.length > 0 && outcome.from !== own[0]!.kind) version.suspects.add(sliceIndex);
      return outcome;
    } finally {
      if (diskSlice) endReading(diskSlice);
    }
  }

  /** Once for each reason: it may be tried for hours. */
  #tellFailure({ sliceIndex, kind, failures }: Ailment<HeldVersion>, reason: string): void {
    if (this.#closed || failures > 0) return;
    this.#options.log.error(`${kind === 'slice' ? 'slice' : 'the file of slice'} ${sliceIndex} cannot be healed yet: ${reason}`);
  }

  #pathOf(version: HeldVersion, sliceIndex: SliceIndex): string {
    return slicePath(versionPath(this.#options.dataDir, version.id), sliceIndex);
  }
}

const nothingFetched: FetchOutcome = { from: undefined, isBusy: false, failures: [], slice: undefined };

export function wantedOf(version: HeldVersion, sliceIndex: SliceIndex): WantedSlice {
  const { id: versionId, sliceCount, manifest } = version;
  return { versionId, sliceIndex, sliceCount, expected: manifest.identity.slices[sliceIndex]! };
}

function describeSource(from: SourceKind | 'own'): string {
  if (from === 'own') return 'its own file';
  if (from === 'open') return 'the file that is still open';
  return from === 'memory' ? 'memory' : from === 'replica' ? 'a replica' : `the ${from}`;
}
