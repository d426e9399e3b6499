// How good a backup is: does the place have what is published, since when not, and are its slices there. Reads only; its answer is for a monitor.

import { readdir } from 'node:fs/promises';
import { forEachBounded } from '../../shared/bounded-run.ts';
import { type Current, currentPath, readCurrent, readManifest, readPublications, versionsPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { isVersionId, type Manifest, type ManifestSlice } from '../../shared/manifest.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { placeManifestName, placeSliceName, readPlaceCurrent, readPlaceManifest, verifyPlaceSlice } from '../../shared/place-layout.ts';
import { noPublications, type Publications } from '../../shared/publications.ts';
import { formatDuration } from '../../shared/quantities.ts';
import type { SplitProgress } from '../split/split-options.ts';

export type CheckOptions = {
  readonly dataDir: string;
  readonly store: ObjectStore;
  /** The version whose slices are looked at; by default the place's latest. */
  readonly id?: string | undefined;
  /** True: every slice is read, and its SHA-256 compared. */
  readonly deep?: boolean | undefined;
  /** How long what is published may be without a backup, in milliseconds; none by default. */
  readonly ageMaxMs?: number | undefined;
  readonly parallel?: number | undefined;
  readonly onProgress?: ((progress: SplitProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly nowMs?: number | undefined;
};

/** `problems` is empty when the backup is good. */
export type CheckReport = {
  readonly place: string;
  /** The version that was looked at; undefined when there is none. */
  readonly id: string | undefined;
  /** Of the place's latest, and of what is published here. A sequence is the time of its publication, in milliseconds. */
  readonly sequence: number | undefined;
  readonly publishedId: string | undefined;
  readonly publishedSequence: number | undefined;
  /** Since the publication of the place's latest. */
  readonly ageMs: number | undefined;
  /** For how long there has been something published that the place's latest is not; 0 when it is the same. */
  readonly behindMs: number;
  /** Versions in DATA, younger than the place's latest, that the place does not have. */
  readonly versionsBehind: number;
  readonly sliceCount: number;
  readonly missingSlices: number;
  readonly damagedSlices: number;
  readonly problems: readonly string[];
};

/** Throws an error of the store, `manifest_malformed`, `current_malformed` of DATA, or the signal's reason; all else is a problem in the report. */
export async function checkBackup(options: CheckOptions): Promise<CheckReport> {
  const { dataDir, store, signal, nowMs = Date.now() } = options;
  const published = await readCurrent(dataDir);
  const problems: string[] = [];
  const note = (error: unknown): undefined => void problems.push(damageOf(error));
  const latest = (await readPlaceCurrent(store, signal).catch(note))?.current;
  if (!latest && problems.length === 0) problems.push(`${store.place}: no backup is there`);
  const id = options.id ?? latest?.id;
  const manifest = id === undefined ? undefined : await readPlaceManifest(store, id, signal).catch(note);
  const slices = manifest ? await checkSlices(options, manifest, problems) : { missingSlices: 0, damagedSlices: 0 };
  const publications = (await readPublications(dataDir).catch(() => undefined)) ?? noPublications;
  const behindMs = latest && published ? behindFor(latest, { current: published, publications }, nowMs) : 0;
  const ageMs = latest && Math.max(0, nowMs - latest.sequence);
  const lateMs = published ? behindMs : options.ageMaxMs === undefined ? 0 : (ageMs ?? 0);
  if (latest && lateMs > (options.ageMaxMs ?? 0)) problems.push(lateProblem(store, latest, published, lateMs));
  if (!published && options.ageMaxMs === undefined) {
    const path = currentPath(dataDir);
    problems.push(`${path}: no such file, so whether the backup is stale is not known: give the right --data, or a --max-age`);
  }
  // That of another data folder: ours must be there nevertheless.
  const isAnothers = latest && published && latest.sequence >= published.sequence && latest.id !== published.id;
  const lack = isAnothers ? await findLack(options, published.id).catch(damageOf) : undefined;
  if (lack !== undefined) problems.push(lackProblem(store, latest!, published!, lack));
  return {
    place: store.place,
    id: manifest?.id,
    sequence: latest?.sequence,
    publishedId: published?.id,
    publishedSequence: published?.sequence,
    ageMs,
    behindMs,
    versionsBehind: behindMs === 0 || !manifest ? 0 : await countBehind(options, manifest),
    sliceCount: manifest?.identity.sliceCount ?? 0,
    ...slices,
    problems,
  };
}

/**
 * For how long, in milliseconds, something has been published that is not backed up: since the first publication after the place's latest, where DATA still
 * lists it; since the last one, where that is the only one; else since the place's latest itself, which is the worst that it can be. A sequence is a time.
 */
export function behindFor(
  latest: Current,
  published: { readonly current: Current; readonly publications: Publications },
  nowMs: number,
): number {
  const { current, publications } = published;
  if (latest.sequence >= current.sequence) return 0;
  const done = publications.list.filter(({ sequence }) => sequence !== undefined && sequence <= current.sequence);
  const firstAfter = done.findIndex(({ sequence }) => sequence! > latest.sequence);
  const only = current.previousId === latest.id ? current.sequence : latest.sequence;
  // Before the first one of the list there may have been others.
  const since = firstAfter > 0 ? done[firstAfter]!.atMs : only;
  // Something is missing, however young it is.
  return Math.max(1, nowMs - since);
}

function lateProblem(store: ObjectStore, latest: Current, published: Current | undefined, lateMs: number): string {
  const what = `${store.place}: its latest is version ${latest.id} of sequence ${latest.sequence}`;
  if (!published) return `${what}, ${formatDuration(lateMs)} old`;
  return `${what}; version ${published.id} of sequence ${published.sequence} is published; without a backup for ${formatDuration(lateMs)}`;
}

function lackProblem(store: ObjectStore, latest: Current, published: Current, lack: string): string {
  const what = `${store.place}: its latest is version ${latest.id} of sequence ${latest.sequence}`;
  return `${what}; version ${published.id} of sequence ${published.sequence}, which is published, is not backed up: ${lack}`;
}

/** Why the place does not have a version: the first slice that is not there; undefined when all are. Throws why its manifest cannot be read. */
async function findLack(options: CheckOptions, id: string): Promise<string | undefined> {
  const { identity } = await readPlaceManifest(options.store, id, options.signal);
  const lacks: string[] = [];
  await forEachBounded(identity.slices, limits.storeLooksParallel, async (expected) => {
    const error = await findDamage({ ...options, deep: false }, expected, () => {});
    if (error) lacks.push(error.message);
  });
  return lacks.sort()[0];
}

async function checkSlices(
  options: CheckOptions,
  { identity, totals }: Manifest,
  problems: string[],
): Promise<{ missingSlices: number; damagedSlices: number }> {
  const { deep = false, parallel = limits.storeParallelDefault, onProgress } = options;
  const counts = { missingSlices: 0, damagedSlices: 0 };
  let doneBytes = 0;
  const onBytes = (bytes: number): void => {
    doneBytes += bytes;
    onProgress?.({ phase: 'check', doneBytes, totalBytes: totals.sliceBytes });
  };
  const wanted = new Map(identity.slices.map((expected) => [expected.sha256, expected]));
  await forEachBounded(wanted.values(), deep ? parallel : limits.storeLooksParallel, async (expected) => {
    const error = await findDamage(options, expected, onBytes);
    if (!error) return;
    if (error.code === 'object_missing') counts.missingSlices++;
    else counts.damagedSlices++;
    problems.push(error.message);
  });
  return counts;
}

async function findDamage(
  { store, deep, signal }: CheckOptions,
  expected: ManifestSlice,
  onBytes: (bytes: number) => void,
): Promise<PavostoreError | undefined> {
  const name = placeSliceName(expected.sha256);
  try {
    if (deep) await verifyPlaceSlice(store, expected, { onBytes, signal });
    else {
      const head = await store.findObject(name, signal);
      if (!head) return new PavostoreError('object_missing', `${store.place}/${name}: there is no such slice`);
      if (head.size !== expected.bytes)
        return new PavostoreError('object_corrupt', `${store.place}/${name}: ${head.size} bytes, the manifest says ${expected.bytes}`);
    }
    return undefined;
  } catch (error) {
    if (error instanceof PavostoreError && (error.code === 'object_missing' || error.code === 'object_corrupt')) return error;
    throw error;
  }
}

/** What is wrong with the backup; what is wrong with the way to it is thrown. */
function damageOf(error: unknown): string {
  const codes: readonly string[] = ['current_malformed', 'manifest_malformed', 'version_missing', 'object_corrupt', 'object_missing'];
  if (error instanceof PavostoreError && codes.includes(error.code)) return error.message;
  throw error;
}

async function countBehind({ dataDir, store, signal }: CheckOptions, backedUp: Manifest): Promise<number> {
  let count = 0;
  for (const id of (await readdir(versionsPath(dataDir))).filter(isVersionId)) {
    const manifest = await readManifest(dataDir, id).catch(() => undefined);
    if (manifest && manifest.createdAt > backedUp.createdAt && !(await store.findObject(placeManifestName(id), signal))) count++;
  }
  return count;
}
