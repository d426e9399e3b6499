// `verify --repair`: what is missing or damaged in a data folder comes back from shards that keep it, a backup, or a source, in this order; each slice verified
// by its SHA-256, each manifest by its id. Nothing is written in place, and what is whole is not touched: a running cluster over the same folder goes on.

import { newestOf, newestServed, replaceCurrent, withPreviousId } from '../../shard/data-copies.ts';
import { fetchManifest } from '../../shard/manifest-source.ts';
import { fetchSlice } from '../../shard/slice-fetch.ts';
import { type PlaceSpec, SourceDoor, sourcesOfSlice } from '../../shard/slice-source.ts';
import { currentPath, manifestPath, readCurrent, readManifest, sliceName, slicePath, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { HttpClient } from '../../shared/http-client.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { formatManifest, type Manifest } from '../../shared/manifest.ts';
import type { Member } from '../../shared/member-table.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { readPlaceCurrent } from '../../shared/place-layout.ts';
import { placeText } from '../../shared/placed-file.ts';
import { withTemporaryFolder } from '../../shared/temporary-folder.ts';
import { pollMembers } from '../tools/polled-members.ts';
import { checkSlices, type VerifyOptions, type VerifyReport, verifyDataSet } from './verify.ts';

export type RepairOptions = VerifyOptions & {
  /** As `--members` lists them. */
  readonly members?: string | undefined;
  readonly backup?: PlaceSpec | undefined;
  readonly source?: PlaceSpec | undefined;
  /** One line for each file that was mended, or could not be. */
  readonly onEvent?: ((message: string) => void) | undefined;
};

/** What is still wrong, and the files that were mended. */
export type RepairReport = VerifyReport & { readonly repaired: readonly string[] };

/** Mends `current` and the version that it names, or the version `id` alone. Throws `version_missing` when nobody knows a version, `data_unwritable`, `disk_short`. */
export async function repairDataSet(dataDir: string, id: string | undefined, options: RepairOptions): Promise<RepairReport> {
  await using repair = await Repair.open(dataDir, options);
  const versionId = id ?? (await repair.mendCurrent());
  const manifest = await repair.mendManifest(versionId);
  await repair.mendSlices(manifest);
  return { ...(await verifyDataSet(dataDir, id, options)), repaired: repair.repaired };
}

/** Owns the connections of one repair. */
class Repair {
  readonly repaired: string[] = [];
  readonly #dataDir: string;
  readonly #options: RepairOptions;
  readonly #members: readonly Member[];
  readonly #client = new HttpClient();
  readonly #door = new SourceDoor();
  readonly #backup: ObjectStore | undefined;
  readonly #source: ObjectStore | undefined;

  private constructor(dataDir: string, options: RepairOptions, members: readonly Member[]) {
    this.#dataDir = dataDir;
    this.#options = options;
    this.#members = members;
    this.#backup = options.backup && this.#door.openPlace(options.backup);
    this.#source = options.source && this.#door.openPlace(options.source);
  }

  static async open(dataDir: string, options: RepairOptions): Promise<Repair> {
    return new Repair(dataDir, options, options.members === undefined ? [] : await pollMembers(options.members));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#client.close(), this.#door.close()]);
  }

  /** The id of the published version. A `current` that is missing or damaged comes from whoever knows the newest. */
  async mendCurrent(): Promise<string> {
    const path = currentPath(this.#dataDir);
    let reason = `${path}: no such file`;
    try {
      const current = await readCurrent(this.#dataDir);
      if (current) return current.id;
    } catch (error) {
      reason = (error as Error).message;
    }
    const places = [this.#backup, this.#source].filter((place) => place !== undefined);
    const ofPlaces = await Promise.all(
      places.map(async (place) => (await readPlaceCurrent(place).catch(this.#failed('current')))?.current),
    );
    const newest = newestOf([newestServed(this.#members), ...ofPlaces]);
    if (!newest) throw new PavostoreError('version_missing', `${reason}; and neither --members, --backup nor --source knows a version`);
    const current = await withPreviousId(newest, this.#dataDir);
    await withTemporaryFolder(this.#dataDir, async (folder) => await replaceCurrent(this.#dataDir, folder, current));
    this.#mended(path, reason);
    return newest.id;
  }

  /** Throws why the manifest cannot be read when nobody has another one. */
  async mendManifest(id: string): Promise<Manifest> {
    try {
      return await readManifest(this.#dataDir, id);
    } catch (error) {
      const path = manifestPath(versionPath(this.#dataDir, id));
      const sources = { client: this.#client, members: this.#members, backup: this.#backup, source: this.#source };
      const found = await fetchManifest(id, sources, (message) => this.#options.onEvent?.(message));
      if (!found) throw error;
      await withTemporaryFolder(this.#dataDir, async (folder) => await placeText(folder, path, formatManifest(found.manifest)));
      this.#mended(path, (error as Error).message);
      return found.manifest;
    }
  }

  async mendSlices(manifest: Manifest): Promise<void> {
    const { id, identity } = manifest;
    const versionDir = versionPath(this.#dataDir, id);
    for (const { sliceIndex, problem } of await checkSlices(versionDir, manifest, this.#options)) {
      if (problem === undefined) continue;
      const { sliceCount, slices } = identity;
      const index = sliceIndex as SliceIndex;
      const wanted = { versionId: id, sliceIndex: index, sliceCount, expected: slices[index]! };
      const { backup, source } = this.#options;
      const sources = sourcesOfSlice({ members: this.#members, backup, source }, id, index);
      const target = { kind: 'file', dataDir: this.#dataDir } as const;
      const { from, failures } = await fetchSlice(this.#door, wanted, sources, target, new AbortController().signal);
      if (from !== undefined) this.#mended(slicePath(versionDir, index), problem, from);
      else this.#options.onEvent?.(`${sliceName(index)} cannot be mended: ${failures.join('; ') || 'nobody has a copy'}`);
    }
  }

  #mended(path: string, reason: string, from?: string): void {
    this.repaired.push(path);
    this.#options.onEvent?.(
      `${reason}: mended${from === undefined ? '' : ` from ${from === 'replica' ? 'another shard' : `the ${from}`}`}`,
    );
  }

  #failed(what: string): (error: unknown) => undefined {
    return (error) => {
      this.#options.onEvent?.(`${what}: ${(error as Error).message}`);
      return undefined;
    };
  }
}
