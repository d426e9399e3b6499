// A manifest that the data folder does not have: from another shard that holds the version, the backup, the source, in this order. Wherever it comes from,
// its id is computed again from what it says.
//
// A tool waits until it has one, or knows that nobody has. A shard must not: a store that says nothing is given up after minutes, and until then the shard
// has to follow `current`, and to fall back. So each of the three is asked in the background (`ManifestSeeker`) and waited for a moment only; what
// comes later is there at the next look.

import { PavostoreError } from '../shared/errors.ts';
import type { HttpClient } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { type Manifest, parseManifest } from '../shared/manifest.ts';
import type { Member } from '../shared/member-table.ts';
import type { ObjectStore } from '../shared/object-store.ts';
import { readPlaceManifest } from '../shared/place-layout.ts';
import { manifestTransferPath } from '../shared/slice-transfer.ts';

export type ManifestSources = {
  readonly client: HttpClient;
  readonly members: readonly Member[];
  readonly backup: ObjectStore | undefined;
  readonly source: ObjectStore | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type FetchedManifest = { readonly from: 'replica' | 'backup' | 'source'; readonly manifest: Manifest };

/** Undefined when nobody has it; `onFailure` is told of each that should have had it. */
export async function fetchManifest(
  id: string,
  { client, members, backup, source, signal }: ManifestSources,
  onFailure: (message: string) => void,
): Promise<FetchedManifest | undefined> {
  const holders = members.filter(({ alive, report }) => alive && report?.versions.some((version) => version.id === id));
  const ways: readonly (readonly [FetchedManifest['from'], string, () => Promise<Manifest>])[] = [
    ...holders.map(({ address }) => ['replica', address, async () => await askManifest(client, address, id)] as const),
    ...(backup ? [['backup', backup.place, async () => await readPlaceManifest(backup, id, signal)] as const] : []),
    ...(source ? [['source', source.place, async () => await readPlaceManifest(source, id, signal)] as const] : []),
  ];
  for (const [from, where, read] of ways) {
    try {
      return { from, manifest: await read() };
    } catch (error) {
      onFailure(`the manifest of version ${id} cannot be had from ${where}: ${(error as Error).message}`);
    }
  }
  return undefined;
}

/** One question under way, or that got no answer. */
type Asking = {
  readonly sinceMs: number;
  /** Never rejects. */
  readonly found: Promise<FetchedManifest | undefined>;
  /** When it may be asked again; never, as long as it is under way. */
  againMs: number;
};

export type ManifestSeekerOptions = {
  readonly sources: () => ManifestSources;
  /** See `fetchManifest`; not called any more once the seeker is closed. */
  readonly onFailure: (message: string) => void;
};

/** Owns the questions that are under way, until `close`. */
export class ManifestSeeker {
  readonly #options: ManifestSeekerOptions;
  readonly #askings = new Map<string, Asking>();
  readonly #closing = new AbortController();

  constructor(options: ManifestSeekerOptions) {
    this.#options = options;
  }

  /** What was found by now, or is within `manifestWaitMs` from when each was asked first; undefined: nothing yet. For every look. */
  async find(id: string): Promise<FetchedManifest | undefined> {
    const { members, backup, source } = this.#options.sources();
    const nobody = { members: [], backup: undefined, source: undefined };
    return (
      (await this.#ask('replica', id, { ...nobody, members }, 0)) ??
      (backup && (await this.#ask('backup', id, { ...nobody, backup }, limits.manifestRetryDelayMs))) ??
      (source && (await this.#ask('source', id, { ...nobody, source }, limits.manifestRetryDelayMs)))
    );
  }

  close(): void {
    this.#closing.abort();
  }

  async #ask(
    whom: FetchedManifest['from'],
    id: string,
    sources: Omit<ManifestSources, 'client'>,
    retryDelayMs: number,
  ): Promise<FetchedManifest | undefined> {
    const key = `${whom} ${id}`;
    const known = this.#askings.get(key);
    const asking = known && performance.now() < known.againMs ? known : this.#begin(key, id, sources, retryDelayMs);
    const found = await withinMs(asking.found, asking.sinceMs + limits.manifestWaitMs - performance.now());
    if (found) this.#askings.delete(key);
    return found;
  }

  #begin(key: string, id: string, sources: Omit<ManifestSources, 'client'>, retryDelayMs: number): Asking {
    const { client } = this.#options.sources();
    const { signal } = this.#closing;
    const found = fetchManifest(id, { ...sources, client, signal }, (message) => {
      if (!signal.aborted) this.#options.onFailure(message);
    });
    const asking: Asking = { sinceMs: performance.now(), found, againMs: Number.POSITIVE_INFINITY };
    void found.then((manifest) => {
      if (!manifest) asking.againMs = performance.now() + retryDelayMs;
    });
    this.#askings.delete(key);
    // Of a version that nobody asks for any more.
    const [oldest] = this.#askings.keys();
    if (this.#askings.size >= limits.manifestAskingsMax) this.#askings.delete(oldest!);
    this.#askings.set(key, asking);
    return asking;
  }
}

/** Undefined when it takes longer. */
async function withinMs<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, ms));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function askManifest(client: HttpClient, address: string, id: string): Promise<Manifest> {
  const path = manifestTransferPath(id);
  const reply = await client.fetch(address, path, { deadlineMs: limits.manifestDeadlineMs, sizeMax: limits.manifestSizeMax });
  if (reply.status !== 200) throw new PavostoreError('reply_malformed', `http://${address}${path} answered ${reply.status}`);
  const manifest = parseManifest(reply.body.toString(), `http://${address}${path}`);
  if (manifest.id !== id) throw new PavostoreError('manifest_malformed', `http://${address}${path}: it is version ${manifest.id}`);
  return manifest;
}
