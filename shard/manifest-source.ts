// A manifest that the data folder does not have: from another shard that holds the version, the backup, the source, in this order. Wherever it comes from,
// its id is computed again from what it says.

import { PavostoreError } from '../shared/errors.ts';
import type { HttpClient } from '../shared/http-client.ts';
import { limits } from '../shared/limits.ts';
import { type Manifest, parseManifest } from '../shared/manifest.ts';
import type { Member } from '../shared/member-table.ts';
import type { ObjectStore } from '../shared/object-store.ts';
import { readPlaceManifest } from '../shared/place-layout.ts';
import { manifestTransferPath } from '../shared/slice-transfer.ts';

export type ManifestSources = {
  readonly client: HttpClient;
  readonly members: readonly Member[];
  readonly backup: ObjectStore | undefined;
  readonly source: ObjectStore | undefined;
};

export type FetchedManifest = { readonly from: 'replica' | 'backup' | 'source'; readonly manifest: Manifest };

/** Undefined when nobody has it; `onFailure` is told of each that should have had it. */
export async function fetchManifest(
  id: string,
  { client, members, backup, source }: ManifestSources,
  onFailure: (message: string) => void,
): Promise<FetchedManifest | undefined> {
  const holders = members.filter(({ alive, report }) => alive && report?.versions.some((version) => version.id === id));
  const ways: readonly (readonly [FetchedManifest['from'], string, () => Promise<Manifest>])[] = [
    ...holders.map(({ address }) => ['replica', address, async () => await askManifest(client, address, id)] as const),
    ...(backup ? [['backup', backup.place, async () => await readPlaceManifest(backup, id)] as const] : []),
    ...(source ? [['source', source.place, async () => await readPlaceManifest(source, id)] as const] : []),
  ];
  for (const [from, where, read] of ways) {
    try {
      return { from, manifest: await read() };
    } catch (error) {
      onFailure(`the manifest of version ${id} cannot be had from ${where}: ${(error as Error).message}`);
    }
  }
  return undefined;
}

async function askManifest(client: HttpClient, address: string, id: string): Promise<Manifest> {
  const path = manifestTransferPath(id);
  const reply = await client.fetch(address, path, { deadlineMs: limits.manifestDeadlineMs, sizeMax: limits.manifestSizeMax });
  if (reply.status !== 200) throw new PavostoreError('reply_malformed', `http://${address}${path} answered ${reply.status}`);
  const manifest = parseManifest(reply.body.toString(), `http://${address}${path}`);
  if (manifest.id !== id) throw new PavostoreError('manifest_malformed', `http://${address}${path}: it is version ${manifest.id}`);
  return manifest;
}
