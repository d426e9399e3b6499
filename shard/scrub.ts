// Checks what a shard serves, again and again, at a low rate and when there is little else to do: memory can flip a bit, a disk can change its mind, a person
// can delete a file. What it finds it hands to the healer.
//
//     glance   once a second, some files: still there, and as they were? A file that changed is checked at once.
//     scrub    all slices, one after the other: each byte in memory, each byte of the file.
//
// A slice in memory is checked there first: then a bad file is only a file to be written anew. One on disk is checked through the file that is
// open, which is what its look-ups read, and by the directory and bucket CRCs that it keeps in memory; and what the record cache has of it is compared
// with the file at the same time.

import { fstatSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { manifestPath, openFile, slicePath, versionPath } from '../shared/data-set.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import { fingerprintOf } from '../shared/placed-file.ts';
import { Throttle } from '../shared/throttle.ts';
import { CacheScan } from './cache-scan.ts';
import { beginReading, type DiskSlice, endReading, piecesOfOpenFile } from './disk-slice.ts';
import { type SliceHealer, wantedOf } from './heal.ts';
import type { HeldVersion } from './held-version.ts';
import type { LoadGauge } from './load-gauge.ts';
import { findIndexFault, SliceScan } from './slice-scan.ts';

export type ScrubberOptions = {
  readonly dataDir: string;
  /** Newest first. */
  readonly versions: () => readonly HeldVersion[];
  /** Bytes a second; 0: only glances. */
  readonly rate: number;
  readonly gauge: LoadGauge;
  readonly healer: SliceHealer;
};

/** What a file was when it was last seen, and since when it has been missing. */
type FileSeen = { fingerprint: string | undefined; missingSinceMs: number | undefined };

/** The slice is not what it was when the check began: given up, or loaded anew. */
class SliceGone extends Error {}

export class Scrubber {
  /** Since the start: for `/status`. */
  readonly counts = { slices: 0, bytes: 0, passes: 0 };
  readonly #options: ScrubberOptions;
  readonly #closing = new AbortController();
  readonly #seen = new WeakMap<HeldVersion, Map<SliceIndex, FileSeen>>();
  /** Where the next glance at the files of a version begins. */
  readonly #glanceAt = new WeakMap<HeldVersion, number>();
  #running: Promise<unknown>[] = [];

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = [this.#untilClosed(() => this.#glanceRound())];
    if (this.#options.rate > 0) this.#running.push(this.#untilClosed(() => this.#scrubRound()));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#running);
  }

  async #untilClosed(round: () => Promise<void>): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await round().catch(() => {});
      await pause(limits.glanceIntervalMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Suspects first, then the next files of each version in turn: as long as a swap takes, or does not end, the older one is served. */
  async #glanceRound(): Promise<void> {
    const throttle = new Throttle(limits.suspectCheckRate);
    const versions = this.#options.versions();
    for (const version of versions) {
      for (const sliceIndex of version.suspects) {
        version.suspects.delete(sliceIndex);
        await this.#check(version, sliceIndex, throttle);
      }
    }
    for (const version of versions) await this.#glanceAtSome(version, Math.floor(limits.glanceFilesMax / versions.length), throttle);
  }

  async #glanceAtSome(version: HeldVersion, filesMax: number, throttle: Throttle): Promise<void> {
    const { sliceCount } = version;
    let at = this.#glanceAt.get(version) ?? 0;
    for (let i = 0, looked = 0; i < sliceCount && looked < filesMax && !this.#closing.signal.aborted; i++) {
      const sliceIndex = (at++ % sliceCount) as SliceIndex;
      if (version.stateOf(sliceIndex) !== 'kept') continue;
      looked++;
      await this.#glance(version, sliceIndex, throttle);
    }
    this.#glanceAt.set(version, at);
  }

  async #glance(version: HeldVersion, sliceIndex: SliceIndex, throttle: Throttle): Promise<void> {
    const seen = this.#seenOf(version, sliceIndex);
    const fingerprint = await fingerprintOf(this.#pathOf(version, sliceIndex));
    if (fingerprint !== undefined) {
      seen.missingSinceMs = undefined;
      const isFirst = seen.fingerprint === undefined;
      const isSame = seen.fingerprint === fingerprint;
      seen.fingerprint = fingerprint;
      if (!isFirst && !isSame) await this.#check(version, sliceIndex, throttle);
      return;
    }
    const nowMs = performance.now();
    seen.missingSinceMs ??= nowMs;
    if (nowMs - seen.missingSinceMs < limits.missingFileMs || !(await this.#isForMending(version, sliceIndex))) return;
    // What comes in its place is checked before it is written; but it is to be seen that it has come.
    seen.fingerprint = 'missing';
    this.#options.healer.mendFile(version, sliceIndex, `${this.#pathOf(version, sliceIndex)}: no such file`);
  }

  /** One pass over all that is kept. */
  async #scrubRound(): Promise<void> {
    const throttle = new Throttle(this.#options.rate);
    for (const version of this.#options.versions()) {
      for (let i = 0; i < version.sliceCount; i++) {
        if (version.stateOf(i as SliceIndex) !== 'kept') continue;
        await this.#options.gauge.untilCalm(this.#closing.signal);
        if (await this.#check(version, i as SliceIndex, throttle)) this.counts.slices++;
        // Opening and asking costs something too, however small the slice is.
        await throttle.take(limits.transferPieceSize, this.#closing.signal);
      }
    }
    if (this.#options.versions().length > 0) this.counts.passes++;
  }

  /** All of a slice: what is served of it, and its file. False when it went away meanwhile. Throws when the scrubber closes. */
  async #check(version: HeldVersion, sliceIndex: SliceIndex, throttle: Throttle): Promise<boolean> {
    const { healer } = this.#options;
    const diskSlice = version.diskSlices[sliceIndex];
    try {
      const memoryFault = diskSlice ? findIndexFault(diskSlice) : await this.#scanMemory(version, sliceIndex, throttle);
      if (memoryFault !== undefined) {
        healer.serveNoMore(version, sliceIndex, 'memory', memoryFault);
        return true;
      }
      const openFault = diskSlice && (await this.#scanOpenFile(version, sliceIndex, diskSlice, throttle));
      if (version.diskSlices[sliceIndex] !== diskSlice) throw new SliceGone();
      if (openFault !== undefined) healer.serveNoMore(version, sliceIndex, 'file', openFault);
      else if (!diskSlice || !(await isSameFile(diskSlice, this.#pathOf(version, sliceIndex))))
        await this.#checkFile(version, sliceIndex, throttle);
      else healer.fileIsWhole(version, sliceIndex);
      return true;
    } catch (error) {
      if (error instanceof SliceGone) return false;
      throw error;
    }
  }

  async #scanMemory(version: HeldVersion, sliceIndex: SliceIndex, throttle: Throttle): Promise<string | undefined> {
    const slice = version.slices[sliceIndex];
    if (!slice) throw new SliceGone();
    const { bytes } = slice;
    const scan = new SliceScan(wantedOf(version, sliceIndex));
    for (let at = 0; at < bytes.length; at += limits.scrubPieceSize) {
      const piece = bytes.subarray(at, at + limits.scrubPieceSize);
      scan.feed(piece);
      await this.#account(piece, throttle);
      // Also after the last piece: a fault of what is not served any more is no news.
      if (version.slices[sliceIndex] !== slice) throw new SliceGone();
    }
    return scan.findFault();
  }

  async #scanOpenFile(version: HeldVersion, sliceIndex: SliceIndex, slice: DiskSlice, throttle: Throttle): Promise<string | undefined> {
    const wanted = wantedOf(version, sliceIndex);
    const scan = new SliceScan(wanted);
    const cacheScan = new CacheScan(version, slice);
    const scratch = Buffer.allocUnsafe(limits.scrubPieceSize);
    beginReading(slice);
    let isReading = true;
    try {
      for await (const piece of piecesOfOpenFile(slice.fd, wanted.expected.bytes, limits.scrubPieceSize, scratch)) {
        isReading = false;
        if (version.diskSlices[sliceIndex] !== slice) throw new SliceGone();
        scan.feed(piece);
        cacheScan.feed(piece);
        await this.#account(piece, throttle);
        isReading = true;
      }
    } catch (error) {
      if (!isReading || this.#closing.signal.aborted) throw error;
      return (error as Error).message;
    } finally {
      endReading(slice);
    }
    return scan.findFault();
  }

  /** The file that has the slice's name; what is served is known to be right. */
  async #checkFile(version: HeldVersion, sliceIndex: SliceIndex, throttle: Throttle): Promise<void> {
    const { healer } = this.#options;
    const path = this.#pathOf(version, sliceIndex);
    const fingerprint = await fingerprintOf(path);
    // Files that are gone are the glance's affair, which waits a moment.
    if (fingerprint === undefined) return;
    const seen = this.#seenOf(version, sliceIndex);
    // A glance that comes by for the first time must see that it changed since.
    seen.fingerprint ??= fingerprint;
    const fault = await this.#scanFile(version, sliceIndex, path, throttle);
    const isForMending = fault !== undefined && (await this.#isForMending(version, sliceIndex));
    // Damaged, or mended already, while it was read: what is there now is for the glance, which sees that it changed.
    const isSame = (await fingerprintOf(path)) === fingerprint;
    if (!isSame || version.stateOf(sliceIndex) !== 'kept') throw new SliceGone();
    seen.fingerprint = fingerprint;
    if (fault === undefined) healer.fileIsWhole(version, sliceIndex);
    else if (isForMending) healer.mendFile(version, sliceIndex, `${path}: ${fault}`);
  }

  /** Still served; and not of an older version that somebody has removed as a whole, which should not come back by its slices. */
  async #isForMending(version: HeldVersion, sliceIndex: SliceIndex): Promise<boolean> {
    const { dataDir, versions } = this.#options;
    const isNewest = versions()[0] === version;
    const isThere = isNewest || (await fingerprintOf(manifestPath(versionPath(dataDir, version.id)))) !== undefined;
    return isThere && versions().includes(version) && version.stateOf(sliceIndex) === 'kept';
  }

  async #scanFile(version: HeldVersion, sliceIndex: SliceIndex, path: string, throttle: Throttle): Promise<string | undefined> {
    const scan = new SliceScan(wantedOf(version, sliceIndex));
    const scratch = Buffer.allocUnsafe(limits.scrubPieceSize);
    try {
      await using file = await openFile(path);
      const { size } = await file.stat();
      for await (const piece of piecesOfOpenFile(file.fd, size, limits.scrubPieceSize, scratch)) {
        scan.feed(piece);
        await this.#account(piece, throttle);
      }
    } catch (error) {
      if (this.#closing.signal.aborted) throw error;
      return (error as Error).message;
    }
    return scan.findFault();
  }

  async #account(piece: Buffer, throttle: Throttle): Promise<void> {
    this.counts.bytes += piece.length;
    await throttle.take(piece.length, this.#closing.signal);
    await nextTurn();
  }

  #seenOf(version: HeldVersion, sliceIndex: SliceIndex): FileSeen {
    const files = this.#seen.get(version) ?? new Map<SliceIndex, FileSeen>();
    this.#seen.set(version, files);
    const seen = files.get(sliceIndex) ?? { fingerprint: undefined, missingSinceMs: undefined };
    files.set(sliceIndex, seen);
    return seen;
  }

  #pathOf(version: HeldVersion, sliceIndex: SliceIndex): string {
    return slicePath(versionPath(this.#options.dataDir, version.id), sliceIndex);
  }
}

/** The open file is the one that has the name. */
async function isSameFile({ fd }: DiskSlice, path: string): Promise<boolean> {
  const open = fstatSync(fd);
  const named = await stat(path).catch(() => undefined);
  return named !== undefined && open.ino === named.ino && open.dev === named.dev;
}
