// The manifest of a version that was made just now, from its slices in their order.

import { keyHashName } from '../../shared/key-hash.ts';
import { type Identity, type Manifest, type ManifestSlice, type Source, type Totals, versionIdOf } from '../../shared/manifest.ts';
import { sliceFormat } from '../../shared/slice-layout.ts';

/** The id follows from the slices alone. */
export function makeManifest({
  slices,
  totals,
  source,
}: {
  readonly slices: readonly ManifestSlice[];
  readonly totals: Totals;
  readonly source: Source;
}): Manifest {
  const identity: Identity = { format: sliceFormat, hash: keyHashName, sliceCount: slices.length, slices };
  return { id: versionIdOf(identity), identity, totals, source, createdAt: new Date().toISOString() };
}
