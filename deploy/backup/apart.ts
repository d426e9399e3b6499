// A backup in the data folder itself would be none, and would go with it.

import { realpath } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { PavostoreError } from '../../shared/errors.ts';
import type { ObjectStore } from '../../shared/object-store.ts';

/** Throws `usage` when the place is a folder in the data folder, or the other way about. */
export async function assertApart({ folder }: ObjectStore, dataDir: string): Promise<void> {
  if (folder === undefined) return;
  const [place, data] = await Promise.all([realPathOf(folder), realPathOf(dataDir)]);
  if (!isWithin(place, data) && !isWithin(data, place)) return;
  throw new PavostoreError('usage', `the place ${folder} and the data folder ${dataDir} lie in one another: a backup belongs elsewhere`);
}

/** Without links, as far as the path is there. */
async function realPathOf(path: string): Promise<string> {
  const absolute = resolve(path);
  const parent = resolve(absolute, '..');
  return await realpath(absolute).catch(async () =>
    parent === absolute ? absolute : join(await realPathOf(parent), relative(parent, absolute)),
  );
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}
