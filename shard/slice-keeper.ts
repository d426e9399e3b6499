// Where the slices of this shard lie: it compares them with the memory that there is, before any of them is loaded, then brings them into memory
// or opens them on disk, one at a time, verified off the main thread. The plan is in memory-plan.ts, what to load in decide.ts.

import { slicePath, versionPath } from '../shared/data-set.ts';
import type { HttpServer } from '../shared/http-server.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import type { DiskSlice } from './disk-slice.ts';
import { DiskStore } from './disk-store.ts';
import type { HeldVersion } from './held-version.ts';
import { type HotKeys, hotKeysOfSlice, readHotKeys, saveHotKeys } from './hot-keys.ts';
import { availableMemory, type MemoryPlan, planMemory } from './memory-plan.ts';
import { preloadRecords } from './preload.ts';
import { SliceLoader } from './slice-loader.ts';
import { collectDroppedSlices } from './slice-memory.ts';

export type SliceKeeperOptions = {
  readonly dataDir: string;
  /** Bytes that slices, directories and cache may take; undefined: decided from the memory that there is. */
  readonly memory: number | undefined;
  /** Where hot keys are kept from one run to the next; undefined: nowhere. */
  readonly stateDir: string | undefined;
  readonly log: HttpServer['log'];
  /** A slice could not be loaded: has it brought, or marked as corrupt. Never rejects. */
  readonly onLoadFailed: (version: HeldVersion, sliceIndex: SliceIndex, reason: string) => Promise<void>;
  /** A bucket of a slice on disk failed its check. */
  readonly onReadFailed: (version: HeldVersion, slice: DiskSlice, reason: string) => void;
};

export class SliceKeeper {
  readonly #options: SliceKeeperOptions;
  readonly #loader = new SliceLoader();
  #plan: MemoryPlan | undefined;
  /** Undefined: the cache is filled with whatever comes first. */
  #hotKeys: HotKeys | undefined;
  #memoryTrouble = '';
  #closing = false;

  constructor(options: SliceKeeperOptions) {
    this.#options = options;
  }

  get plan(): MemoryPlan | undefined {
    return this.#plan;
  }

  /** Compares what is about to be loaded with the memory that there is; false when there is too little. */
  planMemory(version: HeldVersion, load: readonly SliceIndex[]): boolean {
    if (this.#plan) return true;
    const { memory, stateDir, log } = this.#options;
    const { slices, sliceCount } = version.manifest.identity;
    try {
      this.#plan = planMemory({
        slices: load.map((sliceIndex) => slices[sliceIndex]!),
        sliceCount,
        memory,
        available: availableMemory(),
      });
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#memoryTrouble) log.error(message);
      this.#memoryTrouble = message;
      return false;
    }
    log.info(this.#plan.reason);
    if (this.#plan.kind === 'disk') {
      version.disk = this.#openDiskStore(version, this.#plan.cacheSize);
      this.#hotKeys = stateDir === undefined ? undefined : readHotKeys(stateDir);
      if (this.#hotKeys) log.info(`${this.#hotKeys.hashes.length} hot keys of the last run are loaded first`);
    }
    return true;
  }

  /** Has the slice kept, marked as corrupt, or to be decided upon again; never rejects. Only after `planMemory`, and one at a time. */
  async load(version: HeldVersion, sliceIndex: SliceIndex): Promise<void> {
    version.markLoading(sliceIndex);
    const path = slicePath(versionPath(this.#options.dataDir, version.id), sliceIndex);
    const expected = version.manifest.identity.slices[sliceIndex]!;
    const request = { path, sliceIndex, sliceCount: version.sliceCount, expected };
    try {
      if (this.#fitsMemory(version, expected.bytes)) {
        version.keep(sliceIndex, await this.#loader.loadIntoMemory(request));
        return;
      }
      // Memory may have become short after the plan: a slice that came later is served from disk, so that nothing waits for memory.
      version.disk ??= this.#openDiskStore(version, limits.recordCacheMin);
      const { cache } = version.disk;
      // What was in the cache has room in it again; of anything else some room is left for what will be asked for.
      const share = this.#hotKeys ? 1 : limits.preloadShare;
      const sizeMax = Math.max(0, share * cache.bytes - cache.stats.bytesUsed);
      const hotKeys = this.#hotKeys && hotKeysOfSlice(this.#hotKeys, sliceIndex, version.sliceBits);
      const { slice, records } = await this.#loader.loadFromDisk(request, { sizeMax, hashes: hotKeys?.hashes });
      version.keepOnDisk(sliceIndex, slice);
      await preloadRecords(cache, records, hotKeys);
    } catch (error) {
      if (this.#closing) return;
      await this.#options.onLoadFailed(version, sliceIndex, (error as Error).message);
    }
  }

  /** All that was to be loaded is: hot keys are of use for what was held when they were saved, and a copy of them is as large as some slices. */
  allLoaded(): void {
    this.#hotKeys = undefined;
  }

  /** Gives the memory of dropped slices back. */
  collect(): void {
    collectDroppedSlices();
    this.#loader.collectDroppedSlices();
  }

  /** A hint for the next start: without it that one is merely colder. */
  async saveHotKeys(version: HeldVersion | undefined): Promise<void> {
    const { stateDir, log } = this.#options;
    const cache = version?.disk?.cache;
    if (stateDir === undefined || !cache) return;
    try {
      log.info(`${await saveHotKeys(stateDir, cache)} hot keys saved for the next start`);
    } catch (error) {
      log.warn(`hot keys are not saved: ${(error as Error).message}`);
    }
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#loader.close();
  }

  #openDiskStore(version: HeldVersion, cacheSize: number): DiskStore {
    const { entries, keyBytes, valueBytes } = version.manifest.totals;
    return new DiskStore({
      cacheSize,
      recordSize: Math.max(1, Math.round((keyBytes + valueBytes) / Math.max(1, entries))),
      onFailure: (slice, reason) => this.#options.onReadFailed(version, slice, reason),
    });
  }

  #fitsMemory(version: HeldVersion, size: number): boolean {
    return this.#plan!.kind === 'memory' && version.bytesInMemory + size <= this.#plan!.budget;
  }
}
