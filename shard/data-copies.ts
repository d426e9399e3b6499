// Which version there is and what it consists of, when the data folder alone does not tell: `current` and manifests come from there, else from the other
// shards, the backup, the source. What came from elsewhere is put into the folder where that can be written, so that the next start needs nobody; and what
// somebody deletes or damages there while it is in use is written again. What dead processes have left there is removed.
//
// `current` is never overwritten in place, nor by an older one: whoever replaces it moves what is there aside, looks at it, and gives the name to the new one
// only if nobody else has taken it meanwhile. So a publisher always wins.

import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Current,
  currentPath,
  formatCurrent,
  manifestPath,
  parseCurrent,
  readCurrent,
  readManifest,
  readPublications,
  versionPath,
} from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import { HttpClient } from '../shared/http-client.ts';
import type { HttpServer } from '../shared/http-server.ts';
import { limits } from '../shared/limits.ts';
import { formatManifest, type Manifest } from '../shared/manifest.ts';
import type { Member } from '../shared/member-table.ts';
import type { ObjectStore } from '../shared/object-store.ts';
import { placeManifestName, readPlaceCurrent } from '../shared/place-layout.ts';
import { fingerprintOf, linkUnlessThere, placeText, readTextIfThere } from '../shared/placed-file.ts';
import { noPublications, previousIdOf } from '../shared/publications.ts';
import { countSlices } from '../shared/slice-ranges.ts';
import { removeStaleFolders, withTemporaryFolder } from '../shared/temporary-folder.ts';
import { rethrowWrite } from '../shared/write-error.ts';
import { placeFetchedManifest, removeUnusedVersions } from './cached-versions.ts';
import type { HealCounts } from './heal.ts';
import { type FetchedManifest, ManifestSeeker } from './manifest-source.ts';

export type DataCopiesOptions = {
  readonly dataDir: string;
  /** The other shards. */
  readonly members: () => readonly Member[];
  /** Every member has been asked once. */
  readonly areMembersKnown: () => boolean;
  /** Opened by others, who close them. */
  readonly backup: ObjectStore | undefined;
  readonly source: ObjectStore | undefined;
  readonly counts: HealCounts;
  readonly log: HttpServer['log'];
};

export class DataCopies {
  readonly #options: DataCopiesOptions;
  readonly #client = new HttpClient();
  readonly #seeker: ManifestSeeker;
  readonly #closing = new AbortController();
  readonly #manifests = new Map<string, Manifest>();
  #sourceCurrent: Current | undefined;
  #sourcePolledMs = Number.NEGATIVE_INFINITY;
  #isPollingSource = false;
  #sourceTrouble = '';
  #membersAheadSinceMs: number | undefined;
  /** Since when `current`, and the manifest that is in use, have been gone or damaged. */
  #currentBadSinceMs: number | undefined;
  #manifestBadSinceMs: number | undefined;
  #manifestSeen = '';
  #unusedLookedMs = performance.now();
  #isRemoving = false;
  #leftoversTrouble = '';
  /** The folder has had a readable `current`: its absence is a loss, not how a shard with an empty disk begins. */
  #hadCurrent = false;
  #isGlancing = false;
  #writeTrouble = '';
  #closed = false;

  constructor(options: DataCopiesOptions) {
    const { members, backup, source, log } = options;
    this.#options = options;
    this.#seeker = new ManifestSeeker({
      sources: () => ({ client: this.#client, members: members(), backup, source }),
      onFailure: (message) => log.warn(message),
    });
  }

  /** Its manifest came from elsewhere: where the folder cannot be written, it is not there. */
  readonly isBrought = (id: string): boolean => this.#manifests.has(id);

  /**
   * The newest version that the folder, the source, or, where these say nothing or lag behind, the members tell of; undefined when nobody knows of one.
   * Throws `current_malformed` when the folder's is that, and nobody else knows of one.
   */
  readonly findCurrent = async (): Promise<Current | undefined> => {
    let own: Current | undefined;
    let trouble: unknown;
    try {
      own = await readCurrent(this.#options.dataDir);
      this.#hadCurrent ||= own !== undefined;
    } catch (error) {
      trouble = error;
    }
    this.#pollSource();
    const newest = newestOf([own, this.#sourceCurrent, this.#ofMembers(own)]);
    if (newest) return newest === own ? own : await withPreviousId(newest, this.#options.dataDir);
    if (trouble !== undefined) throw trouble;
    return undefined;
  };

  /**
   * The manifest of a version, verified by its id, from wherever it can be had. Throws why the folder's cannot be read when nobody else has it, or has given
   * it yet: then it is worth asking again.
   */
  readonly readManifest = async (id: string): Promise<Manifest> => {
    try {
      return await readManifest(this.#options.dataDir, id);
    } catch (error) {
      const known = this.#manifests.get(id);
      if (known) return known;
      const found = await this.#seeker.find(id);
      if (!found) throw error;
      await this.#takeIn(found, error as Error);
      return found.manifest;
    }
  };

  /**
   * Looks whether `current` and the manifest that are in use are still in the folder, and writes them again when they are not; removes versions from a cache
   * that nobody uses, and what dead processes have left. `held`: what this shard has open, whenever it is asked. For every second or so.
   */
  async glance(manifest: Manifest, current: Current, held: () => readonly string[]): Promise<void> {
    if (this.#isGlancing) return;
    this.#isGlancing = true;
    try {
      await this.#glanceAtManifest(manifest);
      await this.#glanceAtCurrent(current);
      void this.#removeUnused(current, held);
    } finally {
      this.#isGlancing = false;
    }
  }

  /**
   * Removes what processes that died have left in the folder: a shard that is killed while it fetches leaves up to a whole slice. At the start, and from time to
   * time, since what is left is not known to be so at once. Never rejects.
   */
  async removeLeftovers(): Promise<void> {
    const { dataDir, log } = this.#options;
    try {
      for (const path of await removeStaleFolders(dataDir, { keepRestores: true })) log.info(`${path} is removed: its owner died`);
      this.#leftoversTrouble = '';
    } catch (error) {
      const { message, code = message } = error as NodeJS.ErrnoException;
      // Where it cannot be written, that is for whoever can.
      const isReadOnly = code === 'EROFS' || code === 'EACCES' || code === 'EPERM';
      if (!isReadOnly && code !== this.#leftoversTrouble) log.warn(`what dead processes left stays: ${message}`);
      this.#leftoversTrouble = code;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    this.#seeker.close();
    await this.#client.close();
  }

  /** A manifest that the folder did not have, which `trouble` says. */
  async #takeIn({ manifest, from }: FetchedManifest, trouble: Error): Promise<void> {
    const { dataDir, counts, log } = this.#options;
    const { id } = manifest;
    const isMissing = trouble instanceof PavostoreError && trouble.code === 'version_missing';
    if (!isMissing) {
      counts.corruptFound.manifest++;
      counts.healed[from]++;
    }
    log.info(`the manifest of version ${id} comes from ${from === 'replica' ? 'another shard' : `the ${from}`}: ${trouble.message}`);
    // At most two versions are held, and a few that were are a few megabytes.
    const [oldest] = this.#manifests.keys();
    if (this.#manifests.size >= 4) this.#manifests.delete(oldest!);
    this.#manifests.set(id, manifest);
    await this.#write(async (folder) => await placeFetchedManifest(dataDir, folder, manifest));
  }

  async #glanceAtManifest(manifest: Manifest): Promise<void> {
    const { dataDir, counts, log } = this.#options;
    const path = manifestPath(versionPath(dataDir, manifest.id));
    const fingerprint = await fingerprintOf(path).catch(() => undefined);
    if (fingerprint !== undefined && `${manifest.id} ${fingerprint}` === this.#manifestSeen) return;
    const trouble = await readManifest(dataDir, manifest.id).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (trouble === undefined) {
      this.#manifestBadSinceMs = undefined;
      this.#manifestSeen = `${manifest.id} ${fingerprint}`;
      return;
    }
    this.#manifestBadSinceMs ??= performance.now();
    if (performance.now() - this.#manifestBadSinceMs < limits.missingFileMs) return;
    const isWritten = await this.#write(async (folder) => await placeText(folder, path, formatManifest(manifest)));
    if (!isWritten) return;
    counts.corruptFound.manifest++;
    counts.healed.own++;
    log.warn(`the manifest of version ${manifest.id} is written again: ${trouble}`);
  }

  async #glanceAtCurrent(current: Current): Promise<void> {
    const { dataDir, counts, log, source } = this.#options;
    const path = currentPath(dataDir);
    let trouble: string | undefined;
    let isBehind = false;
    try {
      const found = await readCurrent(dataDir);
      if (!found) trouble = `${path}: no such file`;
      else if (found.sequence >= current.sequence) trouble = undefined;
      else {
        isBehind = true;
        trouble = `${path}: sequence ${found.sequence}, known is ${current.sequence}`;
      }
    } catch (error) {
      trouble = (error as Error).message;
    }
    if (trouble === undefined) {
      this.#currentBadSinceMs = undefined;
      return;
    }
    this.#currentBadSinceMs ??= performance.now();
    // With a source the folder is a cache of it, which follows at once.
    const waitMs = isBehind && source ? 0 : limits.missingFileMs;
    if (performance.now() - this.#currentBadSinceMs < waitMs) return;
    if (!(await this.#write(async (folder) => await replaceCurrent(dataDir, folder, current)))) return;
    this.#currentBadSinceMs = undefined;
    log.warn(`current is written: ${trouble}`);
    if (isBehind || !this.#hadCurrent) return;
    counts.corruptFound.current++;
    counts.healed.own++;
  }

  /** What dead processes left; with a source also versions that nobody uses and the source has. Not waited for, since the source is asked. Never rejects. */
  async #removeUnused(current: Current, held: () => readonly string[]): Promise<void> {
    const { dataDir, source, log } = this.#options;
    const nowMs = performance.now();
    if (this.#isRemoving || nowMs - this.#unusedLookedMs < limits.unusedLookIntervalMs) return;
    this.#unusedLookedMs = nowMs;
    this.#isRemoving = true;
    const isUsed = async (id: string): Promise<boolean> => this.#isUsed(id, [current, await this.findCurrent()], held());
    try {
      await this.removeLeftovers();
      const removed = source ? await removeUnusedVersions(dataDir, (id) => this.#mayGo(id, source, isUsed)) : [];
      for (const id of removed) log.info(`version ${id} is removed from the cache: nobody uses it`);
    } catch (error) {
      if (!this.#closed) log.warn((error as Error).message);
    } finally {
      this.#isRemoving = false;
    }
  }

  /** Nobody uses the version, and the source has it. Throws where it cannot be known who does. */
  async #mayGo(id: string, source: ObjectStore, isUsed: (id: string) => Promise<boolean>): Promise<boolean> {
    if (await isUsed(id)) return false;
    const isInSource = (await source.findObject(placeManifestName(id)).catch(() => undefined)) !== undefined;
    // Somebody may have taken it up, or gone back to it, while the source was asked.
    return isInSource && !(await isUsed(id)) && !this.#closed;
  }

  /** This shard holds it, or anybody reports it, or could go back to it. */
  #isUsed(id: string, currents: readonly (Current | undefined)[], held: readonly string[]): boolean {
    const reported = this.#options.members().flatMap(({ report }) => report?.versions ?? []);
    const published = currents.some((current) => current?.id === id || current?.previousId === id);
    return published || held.includes(id) || reported.some((version) => version.id === id);
  }

  /** What the members serve, when the folder says nothing of it, or has been behind for a while. */
  #ofMembers(own: Current | undefined): Current | undefined {
    const { members, areMembersKnown } = this.#options;
    const newest = areMembersKnown() ? newestServed(members()) : undefined;
    if (!own || !newest) return newest;
    if (newest.sequence <= own.sequence) this.#membersAheadSinceMs = undefined;
    else this.#membersAheadSinceMs ??= performance.now();
    const isAhead = this.#membersAheadSinceMs !== undefined && performance.now() - this.#membersAheadSinceMs >= limits.membersAheadMs;
    return isAhead ? newest : undefined;
  }

  /** Never waited for: a source that is down must not hold up anything. */
  #pollSource(): void {
    const { source, log } = this.#options;
    const nowMs = performance.now();
    if (!source || this.#isPollingSource || nowMs - this.#sourcePolledMs < limits.sourcePollIntervalMs) return;
    this.#sourcePolledMs = nowMs;
    this.#isPollingSource = true;
    readPlaceCurrent(source, this.#closing.signal)
      .then(
        (found) => {
          if (found && found.current.sequence > (this.#sourceCurrent?.sequence ?? -1)) this.#sourceCurrent = found.current;
          this.#sourceTrouble = '';
        },
        (error: Error) => {
          if (!this.#closed && error.message !== this.#sourceTrouble) log.warn(`source: ${error.message}; what is here is served`);
          this.#sourceTrouble = error.message;
        },
      )
      .finally(() => {
        this.#isPollingSource = false;
      });
  }

  /** False where the folder cannot be written: then what was found is held in memory, and that is said once. */
  async #write(act: (folder: string) => Promise<void>): Promise<boolean> {
    if (this.#closed) return false;
    try {
      await withTemporaryFolder(this.#options.dataDir, act);
      return true;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#writeTrouble) this.#options.log.warn(`not written: ${message}`);
      this.#writeTrouble = message;
      return false;
    }
  }
}

/** The one with the greatest sequence; of the same publication one that knows the version before it, else the first. */
export function newestOf(known: readonly (Current | undefined)[]): Current | undefined {
  let newest: Current | undefined;
  for (const each of known) {
    if (!each) continue;
    const isSame = newest?.sequence === each.sequence && newest.id === each.id;
    if (!newest || each.sequence > newest.sequence || (isSame && newest.previousId === undefined)) newest = each;
  }
  return newest;
}

/** One that does not know the version before it, which members do not report, has it from the list of publications, where that names both. */
export async function withPreviousId(current: Current, dataDir: string): Promise<Current> {
  if (current.previousId !== undefined) return current;
  const publications = await readPublications(dataDir).catch(() => noPublications);
  return { ...current, previousId: previousIdOf(publications, current) };
}

/** The newest version of which a member that is there keeps some slice. */
export function newestServed(members: readonly Member[]): Current | undefined {
  let newest: Current | undefined;
  for (const { alive, report } of members) {
    for (const { id, sequence, slices } of alive ? (report?.versions ?? []) : [])
      if (countSlices(slices.kept) > 0 && (!newest || sequence > newest.sequence)) newest = { sequence, id, previousId: undefined };
  }
  return newest;
}

/**
 * Has `current` in the folder, unless what is there is as new or newer. What was there is moved aside, and the name is given to the newest that was seen, only
 * while nobody else has it: so the newest of all is always in place, or in the hands of somebody who is about to put it there.
 *
 * Between the two there is no `current`, for two renames and a small read: whoever is killed just then leaves none, and the other shards, or this one at its
 * next start, write what they know. A rename over it would leave none out, but would silently undo what a publisher has put there since it was
 * read; that one was told that it is published. Exchanging two names in one step, which would do, is not to be had in Node, nor on every disk.
 */
export async function replaceCurrent(dataDir: string, folder: string, current: Current): Promise<void> {
  const path = currentPath(dataDir);
  // Written and synced before: the slow part.
  const written = join(folder, 'current');
  await placeText(folder, written, formatCurrent(current));
  for (let newest = { sequence: current.sequence, at: written }; ; ) {
    const there = parseIfWhole(await readTextIfThere(path), path);
    if (there && there.sequence >= newest.sequence) return;
    const aside = join(folder, randomBytes(8).toString('hex'));
    const isMoved = await moveIfThere(path, aside).catch(rethrowWrite(path));
    const moved = parseIfWhole(isMoved ? await readTextIfThere(aside) : undefined, path);
    if (moved && moved.sequence > newest.sequence) newest = { sequence: moved.sequence, at: aside };
    if (await linkUnlessThere(newest.at, path).catch(rethrowWrite(path))) return;
  }
}

/** False when there is nothing. */
async function moveIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

function parseIfWhole(text: string | undefined, path: string): Current | undefined {
  try {
    return text === undefined ? undefined : parseCurrent(text, path);
  } catch {
    return undefined;
  }
}
