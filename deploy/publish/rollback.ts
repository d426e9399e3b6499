// Back to a version that was published before, and the pin that keeps `current` where it is. Both are publications of a version
// that lies in versions/ already: verified first, with a sequence of its own. That it may have far less entries than what it replaces is the
// point of it: the guard against shrinking does not look.

import { type Current, readCurrent } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { type Pin, publicationOf } from '../../shared/publications.ts';
import type { VerifyOptions } from '../verify/verify.ts';
import { announce, readStanding, writePublications } from './announcement.ts';
import type { Verdict } from './guards.ts';
import { type PublisherOptions, publishPlaced, withPublisher } from './publish.ts';

export type RollbackOptions = PublisherOptions & {
  /** The version; by default the one before the published one; for a pin the published one. */
  readonly id?: string | undefined;
  /** Publish it though it does not verify. */
  readonly force: boolean;
  readonly verify?: VerifyOptions | undefined;
};

/** Throws `version_missing`, `current_malformed`, and what `publishPlaced` throws. */
export async function rollbackVersion(options: RollbackOptions): Promise<Current> {
  const { dataDir, force } = options;
  const last = options.id === undefined ? await publishedNow(dataDir) : undefined;
  const id = options.id ?? last?.previousId;
  if (id === undefined) throw new PavostoreError('version_missing', `${dataDir}: nothing was published before version ${last!.id}`);
  return (await publishPlaced({ ...options, act: 'rollback', id, guards: { maxShrink: undefined, force }, replaces: last?.id }))!;
}

/** Makes the version the published one, if it is not, and keeps it there. Throws as `rollbackVersion`. */
export async function pinVersion(options: RollbackOptions): Promise<Current> {
  const { dataDir, force } = options;
  const last = await readCurrent(dataDir).catch((error: unknown) => {
    if (options.id === undefined) throw error;
    return undefined;
  });
  const id = options.id ?? (await publishedNow(dataDir)).id;
  if (id !== last?.id) return (await publishPlaced({ ...options, act: 'pin', id, guards: { maxShrink: undefined, force } }))!;
  return await withPublisher(options, async (publisher) => {
    const standing = await readStanding(publisher);
    if (standing.current?.id !== id)
      throw new PavostoreError('version_refused', `${dataDir}: another version than ${id} was published meanwhile`);
    return await announce(publisher, standing, {
      act: 'pin',
      id,
      verdict: verdictOf(publicationOf(standing.publications, standing.current)),
    });
  });
}

/** Takes the pin away; `current` stays until something is published. Returns the pin that there was. */
export async function unpinVersion(options: PublisherOptions): Promise<Pin | undefined> {
  return await withPublisher(options, async (publisher) => {
    const { publications } = await readStanding(publisher);
    if (publications.pin) await writePublications(publisher, { ...publications, pin: undefined });
    return publications.pin;
  });
}

/** Of the version that stays published: it was judged when it came. */
function verdictOf(publication: Verdict | undefined): Verdict {
  return publication ? { outcome: publication.outcome, reasons: publication.reasons } : { outcome: 'passed', reasons: [] };
}

async function publishedNow(dataDir: string): Promise<Current> {
  const current = await readCurrent(dataDir);
  if (!current) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there`);
  return current;
}
