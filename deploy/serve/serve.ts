// What `pavostore serve` does: splits when what is published was not made of these files in this way, starts the cluster, says where
// to ask, and stops everything when it is told to. When the new version may not be published, pinned or refused by the guards, the old one is served,
// and that is said: a file that was cut short must not keep a cluster down.

import { resolve } from 'node:path';
import { loadSlice, readCurrent, readManifest, readPublications, slicePath, versionPath } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { noPublications, withoutUnfinished } from '../../shared/publications.ts';
import { formatCount, formatDuration } from '../../shared/quantities.ts';
import { recordsOf } from '../../shared/slice-layout.ts';
import { defaultGuards, type GuardSettings } from '../publish/guards.ts';
import { runUntilSignal } from '../split/interruption.ts';
import { openProgressDisplay } from '../split/progress-display.ts';
import { splitFiles } from '../split/split.ts';
import { isUpToDate, type SplitOptions } from '../split/split-options.ts';
import { LocalCluster, type LocalClusterOptions } from './local-cluster.ts';

export type ServeOptions = Omit<LocalClusterOptions, 'onEvent'> & {
  /** None: what is published in `dataDir` is served. */
  readonly files: readonly string[];
  readonly source: Omit<SplitOptions, 'files' | 'dataDir'>;
};

/** Resolves after SIGINT or SIGTERM, with nothing left behind. */
export async function serve(options: ServeOptions): Promise<void> {
  const startedMs = performance.now();
  await prepareData(options);
  const manifest = await publishedManifest(options.dataDir);
  const cluster = new LocalCluster({
    ...options,
    onEvent: (message) => console.error(`pavostore: ${message}`),
  });
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  const started = cluster.start().then(async () => {
    await announce(cluster, manifest, options, performance.now() - startedMs);
  });
  // A start that fails has stopped what it had started; a signal during the start stops it too.
  await Promise.race([started.then(() => stopped), stopped]);
  console.error('pavostore: stopping');
  await cluster.stop();
  await started.catch(() => undefined);
}

/** Sees to it that what is published was made of the files. Throws what `splitFiles` throws, where nothing was published before. */
export async function prepareData({ files, dataDir, source }: Pick<ServeOptions, 'files' | 'dataDir' | 'source'>): Promise<void> {
  if (files.length === 0 || (await isUpToDate(dataDir, files, source))) return;
  const progress = openProgressDisplay(process.stderr);
  try {
    const { pinnedId, ownGuards } = await standingOf(dataDir, files, source.guards);
    if (pinnedId !== undefined)
      return progress.say(`version ${pinnedId} is pinned: ${files.join(', ')} is not split until pavostore unpin`);
    const report = await runUntilSignal((signal) =>
      splitFiles({ files, dataDir, ...source, guards: ownGuards, onProgress: progress.show, onWarning: progress.say, signal }),
    );
    progress.say(`split ${formatCount(report.totals.entries)} entries in ${formatDuration(1_000 * report.seconds.total)}`);
  } catch (error) {
    const current = await readCurrent(dataDir).catch(() => undefined);
    const isRefused = error instanceof PavostoreError && (error.code === 'version_refused' || error.code === 'version_pinned');
    if (!isRefused || !current) throw error;
    progress.say(`${error.message} [${error.code}]; version ${current.id} is served`);
  } finally {
    progress.close();
  }
}

/** What the published version says to publishing another one. One of other files is other data: that it is smaller says nothing. */
async function standingOf(
  dataDir: string,
  files: readonly string[],
  guards: GuardSettings = defaultGuards,
): Promise<{ pinnedId: string | undefined; ownGuards: GuardSettings }> {
  const current = await readCurrent(dataDir).catch(() => undefined);
  if (!current) return { pinnedId: undefined, ownGuards: guards };
  const { pin } = withoutUnfinished(await readPublications(dataDir).catch(() => noPublications), current);
  const published = await readManifest(dataDir, current.id).catch(() => undefined);
  const paths = files.map((path) => resolve(path));
  const isSameData = published?.source.files.some(({ path }) => paths.includes(path)) ?? false;
  return { pinnedId: pin?.id, ownGuards: isSameData ? guards : { ...guards, maxShrink: undefined } };
}

async function publishedManifest(dataDir: string): Promise<Manifest> {
  const current = await readCurrent(dataDir);
  if (!current) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there; name a file to serve`);
  return await readManifest(dataDir, current.id);
}

/** Where to ask, with a key that is there. */
async function announce(cluster: LocalCluster, manifest: Manifest, options: ServeOptions, tookMs: number): Promise<void> {
  const { totals, id } = manifest;
  const key = await someKey(manifest, options.dataDir);
  console.log(`serving ${formatCount(totals.entries)} entries, version ${id}`);
  console.log(
    `on http://${cluster.routerAddress}, ${count(options.shards, 'shard')}, ${count(options.replicas, 'copy', 'copies')} of each slice, ` +
      `${count(options.routers ?? 1, 'router')}; ready after ${formatDuration(tookMs)}`,
  );
  if (key !== undefined) console.log(`\n  curl 'http://${cluster.routerAddress}/get?key=${key}'\n\nCtrl-C stops it.`);
}

function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** A key of the data, percent-encoded; from its smallest slice, to be quick. */
async function someKey(manifest: Manifest, dataDir: string): Promise<string | undefined> {
  const { slices, sliceCount } = manifest.identity;
  const sizes = slices.map(({ entries, bytes }) => (entries === 0 ? Number.POSITIVE_INFINITY : bytes));
  const sliceIndex = sizes.indexOf(Math.min(...sizes));
  const path = slicePath(versionPath(dataDir, manifest.id), sliceIndex);
  const slice = await loadSlice(path, sliceIndex, sliceCount, slices[sliceIndex]!).catch(() => undefined);
  if (!slice) return undefined;
  const { value: place } = recordsOf(slice, path).next();
  return place ? percentEncode(slice.bytes.subarray(place.keyStart, place.valueStart)) : undefined;
}

/** Every byte that is not unreserved (RFC 3986, 2.3) as `%XX`; such text needs no quoting in a shell either. */
function percentEncode(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte);
    return /[\w.~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}
