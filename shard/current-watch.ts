// What is published, as this shard reads it: `current`, what the guards said of it, and whether the manifest that it names can be read. An
// unreadable `current` changes nothing, nor does one with a lower sequence than was seen; where the version that it names is refused or
// unreadable, the one before it is wanted. Nothing here decides what is held: that is version-plan.ts.

import { access } from 'node:fs/promises';
import { type Current, manifestPath, readCurrent, readManifest, readPublications, versionPath } from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import type { Manifest } from '../shared/manifest.ts';
import { lastRefusal, noPublications, type Publications, refusalOf } from '../shared/publications.ts';
import type { PublishedId, RefusedVersion } from '../shared/status-report.ts';

/** What follows from what is published. */
export type Wanted = {
  /** What should be served; undefined as long as nothing is published that could be. */
  readonly version: PublishedId | undefined;
  /** It is only the version before the published one, which is refused. */
  readonly isFallback: boolean;
  readonly refused: readonly RefusedVersion[];
};

/** `faultOf`: why a version cannot be read; undefined when it can. */
export function wantedOf(current: Current, publications: Publications, faultOf: (id: string) => string | undefined): Wanted {
  const whyNot = (version: PublishedId): string | undefined => refusalOf(publications, version)?.join('; ') ?? faultOf(version.id);
  const published = { id: current.id, sequence: current.sequence };
  const why = whyNot(published);
  const last = lastRefusal(publications);
  const lastRefused = last ? [{ id: last.id, why: last.reasons.join('; ') }] : [];
  if (why === undefined) return { version: published, isFallback: false, refused: lastRefused };
  const before = versionBefore(current, publications);
  const whyNotBefore = before && whyNot(before);
  const refused = [{ ...published, why }, ...(whyNotBefore === undefined ? [] : [{ ...before!, why: whyNotBefore }]), ...lastRefused];
  return { version: whyNotBefore === undefined ? before : undefined, isFallback: true, refused };
}

/** The version before the published one, under the sequence that it had, or the greatest that it can have had. */
function versionBefore({ sequence, previousId }: Current, { list }: Publications): PublishedId | undefined {
  if (previousId === undefined) return undefined;
  const publication = list.findLast((each) => each.id === previousId && (each.sequence ?? sequence) < sequence);
  return { id: previousId, sequence: publication?.sequence ?? sequence - 1 };
}

/** Somebody went back behind the version since it was published. */
export function isTakenBack({ id, sequence }: PublishedId, current: Current, { list }: Publications): boolean {
  return list.some(
    (each) =>
      each.act !== 'publish' &&
      each.id !== id &&
      each.sequence !== undefined &&
      each.sequence > sequence &&
      each.sequence <= current.sequence,
  );
}

const nothingWanted: Wanted = { version: undefined, isFallback: false, refused: [] };

/** Manifests that were read and are not needed any more are a few megabytes at the most. */
const manifestsMax = 4;

/** Where `current` and manifests come from when the folder does not have them. */
export type VersionDoor = {
  /** Undefined when nobody knows of a version. Throws `current_malformed`. */
  readonly findCurrent: () => Promise<Current | undefined>;
  /** Throws why there is none. */
  readonly readManifest: (id: string) => Promise<Manifest>;
  /** Its manifest came from elsewhere, and may not be in the folder. */
  readonly isBrought: (id: string) => boolean;
};

/** What the folder itself says. */
function folderDoor(dataDir: string): VersionDoor {
  return {
    findCurrent: async () => await readCurrent(dataDir),
    readManifest: async (id) => await readManifest(dataDir, id),
    isBrought: () => false,
  };
}

export class CurrentWatch {
  readonly #dataDir: string;
  readonly #door: VersionDoor;
  readonly #manifests = new Map<string, Manifest>();
  readonly #unreadable = new Map<string, string>();
  #gone: ReadonlySet<string> = new Set();
  #publications: Publications = noPublications;
  #current: Current | undefined;
  #wanted: Wanted = nothingWanted;
  /** Why `current` could not be read the last time, or is not followed; empty: all is well. */
  trouble = '';

  constructor(dataDir: string, door: VersionDoor = folderDoor(dataDir)) {
    this.#dataDir = dataDir;
    this.#door = door;
  }

  get current(): Current | undefined {
    return this.#current;
  }

  get wanted(): Wanted {
    return this.#wanted;
  }

  isUnreadable(id: string): boolean {
    return this.#unreadable.has(id);
  }

  /** Somebody went back behind it since it was published, or its files are gone. */
  isWithdrawn(version: PublishedId): boolean {
    return this.#gone.has(version.id) || (this.#current !== undefined && isTakenBack(version, this.#current, this.#publications));
  }

  /** The manifest of a version: whoever takes it keeps it. Throws `version_missing`; the version is unreadable then, until the next look. */
  async takeManifest(id: string): Promise<Manifest> {
    const manifest = await this.#readManifest(id);
    this.#manifests.delete(id);
    if (!manifest) throw new PavostoreError('version_missing', this.#unreadable.get(id) ?? id);
    return manifest;
  }

  /** Looks again; never rejects. `held`: ids of versions whose manifest is not needed any more. */
  async look(held: ReadonlySet<string>): Promise<void> {
    this.#unreadable.clear();
    this.#gone = await this.#goneOf(held);
    try {
      const current = await this.#door.findCurrent();
      if (!current) return;
      const { sequence } = this.#current ?? { sequence: 0 };
      this.trouble =
        current.sequence < sequence ? `current names sequence ${current.sequence} after ${sequence}: an older one is not followed` : '';
      if (this.trouble) return;
      this.#publications = await this.#readPublications();
      await this.#follow(current, held);
    } catch (error) {
      this.trouble = (error as Error).message;
    }
  }

  async #follow(current: Current, held: ReadonlySet<string>): Promise<void> {
    const { id, previousId } = current;
    const wanted = (): Wanted => wantedOf(current, this.#publications, (each) => (held.has(each) ? undefined : this.#unreadable.get(each)));
    if (!held.has(id)) await this.#readManifest(id);
    if (wanted().isFallback && previousId !== undefined && !held.has(previousId)) await this.#readManifest(previousId);
    this.#wanted = wanted();
    this.#current = current;
  }

  /** Without them `current` alone counts. */
  async #readPublications(): Promise<Publications> {
    try {
      return await readPublications(this.#dataDir);
    } catch (error) {
      this.trouble = (error as Error).message;
      return noPublications;
    }
  }

  async #readManifest(id: string): Promise<Manifest | undefined> {
    const known = this.#manifests.get(id);
    if (known) return known;
    try {
      const manifest = await this.#door.readManifest(id);
      if (this.#manifests.size >= manifestsMax) this.#manifests.clear();
      this.#manifests.set(id, manifest);
      return manifest;
    } catch (error) {
      this.#unreadable.set(id, (error as Error).message);
      return undefined;
    }
  }

  async #goneOf(held: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const gone = new Set<string>();
    for (const id of held) {
      if (this.#door.isBrought(id)) continue;
      const path = manifestPath(versionPath(this.#dataDir, id));
      await access(path).catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? gone.add(id) : undefined));
    }
    return gone;
  }
}
