// What versions lie in a data folder, and what publishers did with them: for `pavostore versions` and for `prune`.

import { readdir, stat } from 'node:fs/promises';
import { type Current, readCurrent, readManifest, readPublications, versionPath, versionsPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { isVersionId } from '../../shared/manifest.ts';
import { noPublications, type Publications, withoutUnfinished } from '../../shared/publications.ts';

export type VersionState = 'current' | 'previous' | 'pinned' | 'refused' | 'forced' | 'damaged';

export type ListedVersion = {
  readonly id: string;
  readonly states: readonly VersionState[];
  /** Of the last `current` that named it, as far as that is known. */
  readonly sequence: number | undefined;
  /** When it was last published, in milliseconds since 1970; undefined: never, or it is forgotten. */
  readonly publishedMs: number | undefined;
  /** When it last stopped being the published one. */
  readonly replacedMs: number | undefined;
  /** When its folder was put in place, by the file system. */
  readonly placedMs: number;
  /** Undefined when the manifest cannot be read. */
  readonly entries: number | undefined;
  readonly sliceCount: number | undefined;
  readonly sliceBytes: number | undefined;
  /** What the guards said against it the last time, or why its manifest cannot be read. */
  readonly reasons: readonly string[];
};

/** All of a data folder; the versions newest first. */
export type VersionList = {
  readonly current: Current | undefined;
  readonly publications: Publications;
  readonly versions: readonly ListedVersion[];
};

/** Throws `current_malformed`, `publications_malformed`; with `onTrouble` it tells them instead, and lists what it knows. */
export async function listVersions(dataDir: string, onTrouble?: (message: string) => void): Promise<VersionList> {
  const tell = (error: Error): undefined => {
    if (!onTrouble) throw error;
    onTrouble(error.message);
  };
  const current = await readCurrent(dataDir).catch(tell);
  const publications = withoutUnfinished((await readPublications(dataDir).catch(tell)) ?? noPublications, current);
  const ids = await versionIdsIn(dataDir);
  const versions = await Promise.all(ids.map(async (id) => await describeVersion(dataDir, id, current, publications)));
  return { current, publications, versions: versions.sort((a, b) => newestMsOf(b) - newestMsOf(a) || (a.id < b.id ? -1 : 1)) };
}

/** When anything last happened to the version. */
export function newestMsOf({ publishedMs, placedMs }: ListedVersion): number {
  return Math.max(publishedMs ?? 0, placedMs);
}

/** The version whose id begins with `text`. Throws `version_missing` when none does, or more than one. */
export async function findVersionId(dataDir: string, text: string): Promise<string> {
  const isWhole: boolean = isVersionId(text);
  if (isWhole) return text;
  const ids = /^[0-9a-f]{4,31}$/.test(text) ? (await versionIdsIn(dataDir)).filter((id) => id.startsWith(text)) : [];
  if (ids.length === 1) return ids[0]!;
  const what =
    ids.length === 0 ? 'no version there has that id, or an id that begins so' : `${ids.length} versions have an id that begins so`;
  throw new PavostoreError('version_missing', `${dataDir}: ${JSON.stringify(text.slice(0, 80))}: ${what}`);
}

/** Whether there is a folder of versions, be it empty. */
export async function hasVersions(dataDir: string): Promise<boolean> {
  return await stat(versionsPath(dataDir)).then(
    () => true,
    () => false,
  );
}

async function versionIdsIn(dataDir: string): Promise<string[]> {
  const names = await readdir(versionsPath(dataDir)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new PavostoreError('version_missing', `${versionsPath(dataDir)}: ${error.message}`, { cause: error });
  });
  return names.filter(isVersionId);
}

async function describeVersion(
  dataDir: string,
  id: string,
  current: Current | undefined,
  publications: Publications,
): Promise<ListedVersion> {
  const manifest = await readManifest(dataDir, id).catch((error: Error) => error);
  const isReadable = !(manifest instanceof Error);
  const { pin, list } = publications;
  const accepted = list.filter(({ sequence }) => sequence !== undefined);
  const last = list.findLast((publication) => publication.id === id);
  const published = accepted.findLast((publication) => publication.id === id);
  const isCurrent = current?.id === id;
  const states = {
    current: isCurrent,
    previous: current?.previousId === id && !isCurrent,
    pinned: pin?.id === id,
    refused: last?.outcome === 'refused',
    forced: last?.outcome === 'forced',
    damaged: !isReadable,
  } satisfies Record<VersionState, boolean>;
  return {
    id,
    states: (Object.keys(states) as VersionState[]).filter((state) => states[state]),
    sequence: isCurrent ? current.sequence : published?.sequence,
    publishedMs: published?.atMs,
    replacedMs: replacedMsOf(id, accepted),
    placedMs: Math.floor((await stat(versionPath(dataDir, id)).catch(() => undefined))?.mtimeMs ?? 0),
    entries: isReadable ? manifest.totals.entries : undefined,
    sliceCount: isReadable ? manifest.identity.sliceCount : undefined,
    sliceBytes: isReadable ? manifest.totals.sliceBytes : undefined,
    reasons: isReadable ? (last?.reasons ?? []) : [manifest.message],
  };
}

/** The time of the first other version after the last publication of `id`. */
function replacedMsOf(id: string, accepted: Publications['list']): number | undefined {
  const lastIndex = accepted.findLastIndex((publication) => publication.id === id);
  return lastIndex < 0 ? undefined : accepted[lastIndex + 1]?.atMs;
}
