// Where a new version is built: an empty version folder inside a temporary one of the data folder, so that publishing it is a rename.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { slicesPath } from '../../shared/data-set.ts';
import { openTemporaryFolder } from '../../shared/temporary-folder.ts';
import { rethrowWrite } from '../../shared/write-error.ts';

/** `folder` is for whatever else the building needs; `versionDir`, in it, has an empty `slices/`. */
export type BuildPlace = { readonly folder: string; readonly versionDir: string };

/** Runs `build` with a place of its own in `dataDir`, which is gone afterwards, whatever happened. Throws `disk_short`, `data_unwritable`. */
export async function buildVersion<T>(dataDir: string, build: (place: BuildPlace) => Promise<T>): Promise<T> {
  const folder = await openTemporaryFolder(dataDir);
  try {
    const versionDir = join(folder.path, 'version');
    await mkdir(slicesPath(versionDir), { recursive: true }).catch(rethrowWrite(versionDir));
    return await build({ folder: folder.path, versionDir });
  } finally {
    await folder.close();
  }
}
