// The last step of every publication: `current` is replaced, and before it DATA/publications.json, so that whoever sees the new `current`
// finds there what the guards said of it. All of it happens under the publishers' lock:
//
//     publications.json ── write, sync, rename ── DATA sync ── current ── write, sync, rename ── DATA sync
//
// A crash between the two leaves the old `current`, and in the list a publication of a later sequence, which counts for nothing and goes with the
// next one. A version that the guards refuse is written into the list alone.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Current,
  currentPath,
  formatCurrent,
  publicationsPath,
  readCurrent,
  readManifest,
  readPublications,
} from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { fileSystemNow } from '../../shared/heartbeat.ts';
import { entryCountOf } from '../../shared/manifest.ts';
import {
  formatPublications,
  lastPublished,
  noPublications,
  type PublicationAct,
  type Publications,
  withoutUnfinished,
} from '../../shared/publications.ts';
import { type Disk, replaceFile } from './disk.ts';
import type { Verdict } from './guards.ts';
import type { PublishLock } from './publish-lock.ts';

/** Who writes: the one that holds the lock. */
export type Publisher = {
  readonly disk: Disk;
  readonly dataDir: string;
  readonly lock: PublishLock;
  readonly onWarning: (message: string) => void;
};

/** What is published, and what publishers did before. */
export type Standing = {
  /** As the file says, or, where that is lost, the list of publications. */
  readonly current: Current | undefined;
  readonly publications: Publications;
  /** The greatest sequence that is known to have been used. */
  readonly sequenceLast: number;
  /** Why nobody knows what was published; undefined when it is known, or nothing was. */
  readonly trouble: Error | undefined;
};

/**
 * Reads both. What cannot be read is no reason not to publish: it is told. Where `current` is damaged or gone, though something was published, the pin
 * holds, and what the list names last counts as published.
 */
export async function readStanding({ dataDir, onWarning }: Pick<Publisher, 'dataDir' | 'onWarning'>): Promise<Standing> {
  const current = await readCurrent(dataDir).catch((error: Error) => error);
  const found = await readPublications(dataDir).catch((error: Error) => {
    onWarning(`${error.message}: it begins anew, and whether the version was pinned is not known`);
    return error;
  });
  const publications = found instanceof Error ? noPublications : found;
  const sequenceLast = Math.max(0, ...publications.list.map(({ sequence = 0 }) => sequence));
  if (!current || current instanceof Error) {
    const last = lastPublished(publications);
    const lost = current ?? (last && new PavostoreError('current_malformed', `${currentPath(dataDir)}: no such file`));
    const known = last ? `version ${last.id}, which was published last, counts` : 'what was published before is not known';
    if (lost) onWarning(`${lost.message}: it is replaced, and ${known}`);
    const trouble = last ? undefined : (lost ?? (found instanceof Error ? found : undefined));
    return { current: last, publications, sequenceLast, trouble };
  }
  return {
    current,
    publications: withoutUnfinished(publications, current),
    sequenceLast: Math.max(sequenceLast, current.sequence),
    trouble: undefined,
  };
}

/** How many entries the published version has; undefined when there is none, an error when that cannot be known. */
export async function entriesPublished(dataDir: string, { current, trouble }: Standing): Promise<number | Error | undefined> {
  if (!current) return trouble;
  return await readManifest(dataDir, current.id).then(
    ({ identity }) => entryCountOf(identity),
    (error: Error) => error,
  );
}

/** Throws `version_pinned` when `current` must stay where it is. */
export function assertNotPinned({ publications: { pin } }: Standing, dataDir: string, id: string): void {
  if (!pin) return;
  throw new PavostoreError(
    'version_pinned',
    `${dataDir}: version ${pin.id} is pinned, so ${id} is not published: pavostore unpin, then pavostore publish ${id}`,
  );
}

/** What `current` is to say when `id` is published after `last`: a greater sequence, and the version before it. */
export function nextCurrent(last: Current | undefined, id: string, nowMs: number): Current {
  return {
    sequence: Math.max((last?.sequence ?? 0) + 1, nowMs),
    id,
    // The same version once more: what was before it still is.
    previousId: last?.id === id ? last.previousId : last?.id,
  };
}

export type Announcement = {
  readonly act: PublicationAct;
  readonly id: string;
  readonly verdict: Verdict;
  /** A sequence that the new one is to exceed, beside the last one here. */
  readonly sequenceAfter?: number | undefined;
};

/**
 * Makes `id` the published version, or writes down why the guards refuse it. `pin` leaves `current` there from now on. The new
 * sequence is greater than any that is known, and than `sequenceAfter`. Throws `version_refused`, `publish_locked`, `disk_short`, `data_unwritable`.
 */
export async function announce(
  publisher: Publisher,
  standing: Standing,
  { act, id, verdict, sequenceAfter = 0 }: Announcement,
): Promise<Current> {
  const { disk, dataDir, lock } = publisher;
  const { current: last, publications } = standing;
  const atMs = Math.floor(await fileSystemNow(dataDir));
  const { outcome, reasons } = verdict;
  if (outcome === 'refused') {
    const list = [...publications.list, { act, id, sequence: undefined, atMs, outcome, reasons }];
    await writePublications(publisher, { ...publications, list });
    throw refusal(dataDir, id, reasons, last);
  }
  const current = nextCurrent(last, id, Math.max(Date.now(), sequenceAfter + 1, standing.sequenceLast + 1));
  const { sequence } = current;
  if (!Number.isSafeInteger(sequence)) {
    throw new PavostoreError('current_malformed', `${currentPath(dataDir)}: no sequence is left after ${standing.sequenceLast}`);
  }
  const list = [...publications.list, { act, id, sequence, atMs, outcome, reasons }];
  await writePublications(publisher, { pin: act === 'pin' ? { id, sequence } : publications.pin, list });
  await replaceUnderLock({ disk, dataDir, lock, path: currentPath(dataDir), text: formatCurrent(current) });
  return current;
}

/** Replaces the list of publications. Throws `publish_locked`, `disk_short`, `data_unwritable`. */
export async function writePublications({ disk, dataDir, lock }: Publisher, publications: Publications): Promise<void> {
  await replaceUnderLock({ disk, dataDir, lock, path: publicationsPath(dataDir), text: formatPublications(publications) });
}

type Replacement = Pick<Publisher, 'disk' | 'dataDir' | 'lock'> & { readonly path: string; readonly text: string };

async function replaceUnderLock({ disk, dataDir, lock, path, text }: Replacement): Promise<void> {
  const temporaryPath = join(dataDir, `.tmp-${lock.token}`);
  try {
    await replaceFile(disk, path, text, temporaryPath, async () => await lock.assertHeld());
    await disk.syncFolder(dataDir);
  } finally {
    await rm(temporaryPath, { force: true });
  }
}

/** The error that says why a version is not published. */
export function refusal(dataDir: string, id: string, reasons: readonly string[], last: Current | undefined): PavostoreError {
  const stays = last ? (last.id === id ? 'what is published stays as it is' : `${last.id} stays published`) : 'nothing is published';
  return new PavostoreError(
    'version_refused',
    `${dataDir}: version ${id} is refused: ${reasons.join('; ')}. ${stays[0]!.toUpperCase()}${stays.slice(1)}; --force publishes it all the same`,
  );
}
