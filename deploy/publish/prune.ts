// Which old versions may go, and how they go. The plan is pure, over what lies in the folder, what publishers did, what members report and the
// clock; whatever is not known speaks for keeping. Under the publishers' lock a version is renamed to `.trash-*` first, so that no reader ever
// finds half of one, and what a crash leaves is removed by the next command.

import { currentPath, versionPath, versionsPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { fileSystemNow } from '../../shared/heartbeat.ts';
import { limits } from '../../shared/limits.ts';
import { formatDuration } from '../../shared/quantities.ts';
import { moveToTrash, removeFolder, removeStaleFolders } from '../../shared/temporary-folder.ts';
import { type PublisherOptions, withPublisher } from './publish.ts';
import { hasVersions, type ListedVersion, listVersions, newestMsOf, type VersionList } from './version-list.ts';

export type PruneOptions = PublisherOptions & {
  /** How many versions stay at least, the newest ones. */
  readonly keep: number;
  readonly dryRun: boolean;
  /** Names of the members that report a version, by its id. */
  readonly reportedBy: ReadonlyMap<string, readonly string[]>;
};

/** `keptFor` says why it stays; undefined: it goes. */
export type PrunedVersion = { readonly version: ListedVersion; readonly keptFor: string | undefined };

/** Removes old versions; with `dryRun` only says which. Throws `current_malformed`, `publications_malformed`, `publish_locked`, `data_unwritable`. */
export async function pruneVersions(options: PruneOptions): Promise<PrunedVersion[]> {
  const { dataDir, dryRun, signal } = options;
  return await withPublisher(options, async ({ disk, lock }) => {
    const plan = planPrune(await listVersions(dataDir), { ...options, nowMs: await fileSystemNow(dataDir) });
    if (dryRun) return plan;
    const trash: string[] = [];
    for (const { version, keptFor } of plan) {
      if (keptFor !== undefined) continue;
      signal?.throwIfAborted();
      await lock.assertHeld();
      trash.push(await moveToTrash(disk, dataDir, versionPath(dataDir, version.id)));
    }
    if (trash.length > 0) await disk.syncFolder(versionsPath(dataDir));
    for (const folder of trash) await removeFolder(folder);
    await removeStaleFolders(dataDir);
    return plan;
  });
}

/**
 * What a data folder needs the backup of, and why, by the version's id; nothing where there is no such folder, which `onWarning` is told. Throws
 * `current_malformed`, `publications_malformed`, and `version_missing` when versions are there, but nothing says which of them is published.
 */
export async function versionsNeededIn(dataDir: string, onWarning: (message: string) => void): Promise<Map<string, string>> {
  const { current, publications } = await listVersions(dataDir);
  if (!current && (publications.list.length > 0 || (await hasVersions(dataDir)))) {
    const what = `${currentPath(dataDir)}: no such file, so which backups ${dataDir} needs is not known`;
    throw new PavostoreError('version_missing', `${what}: pavostore publish ID, or verify --repair, or another --data`);
  }
  if (!current) onWarning(`${dataDir}: nothing is published there: only what the backup itself says counts`);
  return new Map([
    ...(current?.previousId === undefined ? [] : [[current.previousId, `previous in ${dataDir}`] as const]),
    ...(publications.pin ? [[publications.pin.id, `pinned in ${dataDir}`] as const] : []),
    ...(current ? [[current.id, `published in ${dataDir}`] as const] : []),
  ]);
}

/** What is known when pruning is planned. */
export type PruneFacts = Pick<PruneOptions, 'keep' | 'reportedBy'> & { readonly nowMs: number };

/** The versions, newest first, each with why it stays. */
export function planPrune(list: VersionList, facts: PruneFacts): PrunedVersion[] {
  return list.versions.map((version, index) => ({ version, keptFor: reasonToKeep(version, index, list, facts) }));
}

function reasonToKeep(
  version: ListedVersion,
  index: number,
  { current, publications }: VersionList,
  { keep, reportedBy, nowMs }: PruneFacts,
): string | undefined {
  const { id, states, replacedMs } = version;
  if (!current) return 'nothing is published: any of them may be wanted';
  for (const state of ['current', 'previous', 'pinned'] as const) if (states.includes(state)) return state;
  const reporters = reportedBy.get(id);
  if (reporters && reporters.length > 0) return `held by ${reporters.slice(0, 3).join(', ')}${reporters.length > 3 ? ', …' : ''}`;
  if (index < keep) return `one of the newest ${keep}`;
  const isYoung = (atMs: number): boolean => nowMs - atMs < limits.pruneAgeMs;
  const ago = (atMs: number): string => `${formatDuration(Math.max(0, nowMs - atMs))} ago`;
  if (replacedMs !== undefined && isYoung(replacedMs)) return `replaced ${ago(replacedMs)}`;
  if (isYoung(newestMsOf(version))) return `placed ${ago(newestMsOf(version))}`;
  // One that the list does not name may have been replaced just before the list begins.
  const oldest = publications.list[0];
  if (version.publishedMs === undefined && oldest && isYoung(oldest.atMs)) return 'it is not known when it was replaced';
  return undefined;
}
