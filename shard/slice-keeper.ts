// Where the slices of this shard lie: it compares them with the memory that there is, before any of them is loaded, then brings them into memory
// or opens them on disk, one at a time, verified off the main thread. The plan is in memory-plan.ts, what to load in decide.ts.
//
// When memory is short for two versions, slices of the older one are served from disk as far as the newer one needs their memory. Each is read
// and verified once more first: a file that was damaged since must not take the place of a good copy in memory. What could have been
// in memory comes back when it has room again.

import { availableMemory } from '../shared/available-memory.ts';
import { slicePath, versionPath } from '../shared/data-set.ts';
import type { HttpServer } from '../shared/http-server.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { BucketReader } from './bucket-reader.ts';
import { closeDiskSlice, type DiskSlice } from './disk-slice.ts';
import { DiskStore } from './disk-store.ts';
import type { HeldVersion } from './held-version.ts';
import { type HotKeys, hotKeysOfSlice, readHotKeys, saveHotKeys } from './hot-keys.ts';
import { type MemoryPlan, planMemory, type SlicesToPlace, swapCacheSize } from './memory-plan.ts';
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
  readonly onReadFailed: (slice: DiskSlice, reason: string) => void;
};

export class SliceKeeper {
  readonly #options: SliceKeeperOptions;
  readonly #loader = new SliceLoader();
  readonly #reader: BucketReader;
  /** All versions that are held, the newest first. */
  #held: readonly HeldVersion[] = [];
  readonly #plans = new Map<string, MemoryPlan>();
  /** Versions for which there is no memory at all, and why. */
  readonly #short = new Map<string, string>();
  /** What slices, directories and cache may take, by the last plan. */
  #budget = 0;
  #store: DiskStore | undefined;
  /** Slices of which only the copy in memory is good. */
  readonly #memoryOnly = new WeakMap<HeldVersion, Set<SliceIndex>>();
  /** Given up, and to be closed when nobody reads from them any more. */
  #toClose: DiskSlice[] = [];
  /** Undefined: the cache is filled with whatever comes first. */
  #hotKeys: HotKeys | undefined;
  #hotKeysRead = false;
  #closing = false;

  constructor(options: SliceKeeperOptions) {
    this.#options = options;
    this.#reader = new BucketReader(options.onReadFailed);
  }

  planOf(version: HeldVersion): MemoryPlan | undefined {
    return this.#plans.get(version.id);
  }

  /** Why nothing of the version is loaded; undefined: memory suffices. */
  shortageOf(version: HeldVersion): string | undefined {
    return this.#short.get(version.id);
  }

  cacheStatus(): Readonly<Record<string, unknown>> | null {
    return this.#store?.status() ?? null;
  }

  /** Bytes that slices, directories and the record cache take. */
  get bytesTaken(): number {
    return this.#held.reduce((sum, version) => sum + version.bytesInMemory, this.#store?.cache.bytes ?? 0);
  }

  /** These are held from now on; what others were is given back. */
  hold(held: readonly HeldVersion[]): void {
    const dropped = this.#held.filter((version) => !held.includes(version));
    this.#held = held;
    for (const version of dropped) {
      this.#toClose.push(...version.drop());
      this.#plans.delete(version.id);
      this.#short.delete(version.id);
    }
    if (dropped.length === 0) return;
    this.#short.clear();
    for (const version of held) this.#planAnew(version);
    this.closeIdle();
    this.collect();
  }

  /** Compares what is about to be loaded with the memory that there is, once for a version; false when there is too little. */
  planMemory(version: HeldVersion, load: readonly SliceIndex[]): boolean {
    if (this.#plans.has(version.id)) return true;
    const { log } = this.#options;
    try {
      const plan = this.#planFor(version, { slices: slicesOf(version, load), sliceCount: version.sliceCount });
      this.#plans.set(version.id, plan);
      this.#short.delete(version.id);
      log.info(`version ${version.id}: ${plan.reason}`);
      // Also when an older version will give way: what its cache takes counts from the start.
      if (plan.cacheSize > 0) this.#fitStore(version, plan.cacheSize);
      if (plan.kind === 'disk') this.#readHotKeys();
      return true;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#short.get(version.id)) log.error(`version ${version.id}: ${message}`);
      this.#short.set(version.id, message);
      return false;
    }
  }

  /** Has the slice kept, marked as corrupt, or to be decided upon again; never rejects. Only after `planMemory`, and one at a time. */
  async load(version: HeldVersion, sliceIndex: SliceIndex): Promise<void> {
    version.markLoading(sliceIndex);
    const { bytes } = version.manifest.identity.slices[sliceIndex]!;
    try {
      if (this.planOf(version)!.kind === 'memory' && (await this.#makeRoom(bytes, version)))
        await this.#loadIntoMemory(version, sliceIndex);
      // Memory may have become short after the plan: a slice that came later is served from disk, so that nothing waits for memory.
      else await this.#loadFromDisk(version, sliceIndex);
    } catch (error) {
      if (this.#closing || version.isDropped) return;
      await this.#options.onLoadFailed(version, sliceIndex, (error as Error).message);
    }
  }

  /**
   * All that was to be loaded is: brings one slice back into memory that gave way to another version, or came when memory was short. Answers
   * whether there may be more to do; never rejects.
   */
  async bringBack(): Promise<boolean> {
    // They are of use for what was held when they were saved; a copy of them is as large as some slices.
    this.#hotKeys = undefined;
    // Only of the newest: what an older one gave way with, it would have to give again.
    const [version] = this.#held;
    const sliceIndex = version && this.planOf(version)?.kind === 'memory' ? version.slicesKept('disk')[0] : undefined;
    if (!version || sliceIndex === undefined) {
      this.#forgetStore();
      return false;
    }
    if (!this.#hasRoom(version.manifest.identity.slices[sliceIndex]!.bytes)) return false;
    try {
      const slice = await this.#loader.loadIntoMemory(this.#requestFor(version, sliceIndex));
      if (version.isDropped || !version.diskSlices[sliceIndex]) return true;
      this.#toClose.push(version.moveToMemory(sliceIndex, slice)!);
      this.closeIdle();
      return true;
    } catch (error) {
      // It stays where it is, each of its buckets checked when it is read.
      if (!this.#closing)
        this.#options.log.error(`slice ${sliceIndex} of version ${version.id} stays on disk: ${(error as Error).message}`);
      return false;
    }
  }

  /** Gives the memory of dropped slices back. */
  collect(): void {
    collectDroppedSlices();
    this.#loader.collectDroppedSlices();
  }

  /** Closes what was given up and is not read any more. */
  closeIdle(): void {
    this.#toClose = this.#toClose.filter((slice) => {
      if (slice.readers > 0) return true;
      closeDiskSlice(slice);
      return false;
    });
  }

  /** A hint for the next start: without it that one is merely colder. */
  async saveHotKeys(): Promise<void> {
    const { stateDir, log } = this.#options;
    const cache = this.#store?.cache;
    if (stateDir === undefined || !cache) return;
    try {
      log.info(`${await saveHotKeys(stateDir, cache)} hot keys saved for the next start`);
    } catch (error) {
      log.warn(`hot keys are not saved: ${(error as Error).message}`);
    }
  }

  /** What is under way is not awaited. */
  async stopLoading(): Promise<void> {
    this.#closing = true;
    await this.#loader.close();
  }

  /** Drops everything; the server must not ask any more. */
  close(): void {
    for (const version of this.#held) this.#toClose.push(...version.drop());
    for (const slice of this.#toClose) closeDiskSlice(slice);
    this.#toClose = [];
  }

  #planFor(version: HeldVersion, load: SlicesToPlace): MemoryPlan {
    const other = this.#held.find((each) => each !== version);
    const taken = this.#held.reduce((sum, each) => sum + each.bytesInMemory, this.#store?.cache.stats.bytesUsed ?? 0);
    const beside = other && { ...keptSlices(other), onDisk: this.planOf(other)?.kind === 'disk' };
    const plan = planMemory({ ...load, beside, memory: this.#options.memory, available: availableMemory() + taken });
    this.#budget = plan.budget;
    return plan;
  }

  /** It is alone now, or beside another one than before. */
  #planAnew(version: HeldVersion): void {
    if (!this.#plans.has(version.id) || version.slicesKept('disk').length === 0) return;
    try {
      const plan = this.#planFor(version, keptSlices(version));
      this.#plans.set(version.id, plan);
      if (plan.kind === 'disk') return;
      this.#options.log.info(`version ${version.id}: ${plan.reason}`);
      // A large cache would stand in the way of what it is for.
      this.#fitStore(version, swapCacheSize(plan.budget));
    } catch {
      // Nothing is worse than before.
    }
  }

  async #loadIntoMemory(version: HeldVersion, sliceIndex: SliceIndex): Promise<void> {
    const slice = await this.#loader.loadIntoMemory(this.#requestFor(version, sliceIndex));
    if (!version.isDropped) version.keep(sliceIndex, slice);
  }

  async #loadFromDisk(version: HeldVersion, sliceIndex: SliceIndex): Promise<void> {
    const { cache } = this.#storeOf(version);
    // What was in the cache has room in it again; of anything else some room is left for what will be asked for.
    const share = this.#hotKeys ? 1 : limits.preloadShare;
    const sizeMax = Math.max(0, share * cache.bytes - cache.stats.bytesUsed);
    const hotKeys = this.#hotKeys && hotKeysOfSlice(this.#hotKeys, sliceIndex, version.sliceBits);
    const { slice, records } = await this.#loader.loadFromDisk(this.#requestFor(version, sliceIndex), { sizeMax, hashes: hotKeys?.hashes });
    if (version.isDropped) return closeDiskSlice(slice);
    version.keepOnDisk(sliceIndex, slice);
    await preloadRecords(cache, version.cacheLane, records, hotKeys);
  }

  #requestFor(version: HeldVersion, sliceIndex: SliceIndex) {
    const path = slicePath(versionPath(this.#options.dataDir, version.id), sliceIndex);
    const expected = version.manifest.identity.slices[sliceIndex]!;
    return { path, sliceIndex, sliceCount: version.sliceCount, expected };
  }

  #hasRoom(size: number): boolean {
    return this.bytesTaken + size <= this.#budget;
  }

  /** Serves slices of older versions from disk until `size` bytes more fit; false when they do not. */
  async #makeRoom(size: number, version: HeldVersion): Promise<boolean> {
    if (this.#hasRoom(size)) return true;
    const older = this.#held.find((each) => each.sequence < version.sequence && this.#movable(each).length > 0);
    if (!older) return false;
    this.#storeOf(older);
    // Some at a time: after each time the memory of both threads is collected.
    const sizeWanted = Math.max(size, Math.floor(limits.swapStepShare * this.#budget));
    for (const sliceIndex of this.#movable(older)) {
      if (this.#closing || this.#hasRoom(sizeWanted)) break;
      await this.#moveToDisk(older, sliceIndex);
    }
    this.collect();
    return this.#hasRoom(size);
  }

  #movable(version: HeldVersion): readonly SliceIndex[] {
    const memoryOnly = this.#memoryOnly.get(version);
    return version.slicesKept('memory').filter((sliceIndex) => !memoryOnly?.has(sliceIndex));
  }

  async #moveToDisk(version: HeldVersion, sliceIndex: SliceIndex): Promise<void> {
    try {
      const { slice } = await this.#loader.loadFromDisk(this.#requestFor(version, sliceIndex), { sizeMax: 0, hashes: undefined });
      if (version.slices[sliceIndex]) version.moveToDisk(sliceIndex, slice);
      else closeDiskSlice(slice);
    } catch (error) {
      if (this.#closing) return;
      const memoryOnly = this.#memoryOnly.get(version) ?? new Set();
      this.#memoryOnly.set(version, memoryOnly.add(sliceIndex));
      this.#options.log.error(`slice ${sliceIndex} of version ${version.id} stays in memory: ${(error as Error).message}`);
    }
  }

  /** The store of all versions, which `version` has a part of from now on. */
  #storeOf(version: HeldVersion): DiskStore {
    if (!this.#store) this.#replaceStore(version, swapCacheSize(this.#budget));
    if (version.disk !== this.#store) this.#enter(version, this.#store!);
    return this.#store!;
  }

  /** A cache that is too large, or far too small, for what is planned begins anew. `version` says how large records are. */
  #fitStore(version: HeldVersion, cacheSize: number): void {
    const size = this.#store?.cache.bytes ?? 0;
    if (size > cacheSize || 2 * size < cacheSize) this.#replaceStore(version, cacheSize);
  }

  #replaceStore(version: HeldVersion, cacheSize: number): void {
    const { entries, keyBytes, valueBytes } = version.manifest.totals;
    const recordSize = Math.max(1, Math.round((keyBytes + valueBytes) / Math.max(1, entries)));
    const store = new DiskStore({ cacheSize, recordSize, reader: this.#reader });
    this.#store = store;
    for (const each of this.#held) if (each.disk) this.#enter(each, store);
  }

  #enter(version: HeldVersion, store: DiskStore): void {
    version.disk = store;
    version.cacheLane = store.openLane();
  }

  /** Of the last run: for what is loaded at the start. */
  #readHotKeys(): void {
    const { stateDir, log } = this.#options;
    if (this.#hotKeysRead) return;
    this.#hotKeysRead = true;
    this.#hotKeys = stateDir === undefined ? undefined : readHotKeys(stateDir);
    if (this.#hotKeys) log.info(`${this.#hotKeys.hashes.length} hot keys of the last run are loaded first`);
  }

  /** Nothing is on disk any more: what its cache took is free. */
  #forgetStore(): void {
    // A swap that has begun will need it, and has reckoned with it.
    const isSwapping = this.#held.length > 1 && this.#held.some((version) => (this.planOf(version)?.cacheSize ?? 0) > 0);
    if (!this.#store || isSwapping || this.#held.some((version) => version.isOnDisk || this.planOf(version)?.kind === 'disk')) return;
    for (const version of this.#held) version.disk = undefined;
    this.#store = undefined;
    this.collect();
  }
}

function slicesOf(version: HeldVersion, sliceIndices: readonly SliceIndex[]) {
  return sliceIndices.map((sliceIndex) => version.manifest.identity.slices[sliceIndex]!);
}

function keptSlices(version: HeldVersion): SlicesToPlace {
  const kept = [...version.slicesKept('memory'), ...version.slicesKept('disk')];
  return { slices: slicesOf(version, kept), sliceCount: version.sliceCount };
}
