// Where the bytes of a slice can be had, one way to read them all: what this process has of it itself, another shard that keeps it, a place with
// a backup, a place that is the source. None of them is trusted: whoever reads checks the SHA-256 of the whole (shared/placed-file.ts).

import { PavostoreError } from '../shared/errors.ts';
import { TransferClient } from '../shared/http-client.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { limits } from '../shared/limits.ts';
import type { ManifestSlice } from '../shared/manifest.ts';
import type { Member } from '../shared/member-table.ts';
import type { ObjectStore } from '../shared/object-store.ts';
import { openPlace, type PlaceOptions } from '../shared/place.ts';
import { openPlaceSlice } from '../shared/place-layout.ts';
import { sliceTransferPath } from '../shared/slice-transfer.ts';
import { piecesOfOpenFile } from './disk-slice.ts';

/** A slice of a version, and what its file must be. */
export type WantedSlice = {
  readonly versionId: string;
  readonly sliceIndex: SliceIndex;
  readonly sliceCount: number;
  readonly expected: ManifestSlice;
};

/** A place as it crosses to a worker thread. */
export type PlaceSpec = { readonly place: string; readonly options: Omit<PlaceOptions, 'env'> };

/**
 * `memory`: the bytes as this process serves them. `open`: a file that it has open, whatever became of its name. The others are
 * asked in the order in which they stand here.
 */
export type SliceSource =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | { readonly kind: 'open'; readonly fd: number }
  | { readonly kind: 'replica'; readonly address: string }
  | ({ readonly kind: 'backup' } & PlaceSpec)
  | ({ readonly kind: 'source' } & PlaceSpec);

export type SourceKind = SliceSource['kind'];

/** Who may have a slice, in the order in which they are asked; each slice begins with another replica, so that they share the work. */
export function sourcesOfSlice(
  all: { readonly members: readonly Member[]; readonly backup: PlaceSpec | undefined; readonly source: PlaceSpec | undefined },
  versionId: string,
  sliceIndex: SliceIndex,
): readonly SliceSource[] {
  const { members, backup, source } = all;
  const holders = members.filter((member) => member.alive && keepsSlice(member, versionId, sliceIndex));
  const first = holders.length > 0 ? sliceIndex % holders.length : 0;
  const replicas = [...holders.slice(first), ...holders.slice(0, first)];
  return [
    ...replicas.map(({ address }): SliceSource => ({ kind: 'replica', address })),
    ...(backup ? [{ kind: 'backup', ...backup } as const] : []),
    ...(source ? [{ kind: 'source', ...source } as const] : []),
  ];
}

function keepsSlice({ report }: Member, versionId: string, sliceIndex: SliceIndex): boolean {
  const kept = report?.versions.find(({ id }) => id === versionId)?.slices.kept ?? [];
  return kept.some(([from, to]) => from <= sliceIndex && sliceIndex <= to);
}

/** The source has the slice, but its hands are full: it is to be asked again. */
export class SourceBusy extends Error {}

/** What sources are reached by: sockets and places, opened as they are needed; `close` ends them. */
export class SourceDoor {
  #client: TransferClient | undefined;
  readonly #places = new Map<string, ObjectStore>();

  /** The bytes of the slice, as many as the source gives, unchecked. Rejects, or throws on the way, with why there are none. */
  async open(source: SliceSource, wanted: WantedSlice, signal: AbortSignal): Promise<AsyncIterable<Buffer> | Iterable<Buffer>> {
    if (source.kind === 'memory') return piecesOf(source.bytes);
    if (source.kind === 'open') return piecesOfOpenFile(source.fd, wanted.expected.bytes, limits.storePieceSize);
    if (source.kind === 'replica') return await this.#ask(source.address, wanted, signal);
    return await openPlaceSlice(this.openPlace(source), wanted.expected, 0, signal);
  }

  /** Opened once for each place. Throws `usage` without credentials. */
  openPlace({ place, options }: PlaceSpec): ObjectStore {
    const opened = this.#places.get(place) ?? openPlace(place, options);
    this.#places.set(place, opened);
    return opened;
  }

  async close(): Promise<void> {
    await Promise.all([this.#client?.close(), ...[...this.#places.values()].map((place) => place.close())]);
  }

  async #ask(address: string, { versionId, sliceIndex, expected }: WantedSlice, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    this.#client ??= new TransferClient(limits.transfersMax);
    const path = sliceTransferPath(versionId, sliceIndex);
    const reply = await this.#client.send({ origin: `http://${address}`, path, method: 'GET', headers: {}, signal });
    const { status, headers } = reply;
    if (status === 200 && Number(headers['content-length']) === expected.bytes) return reply.body;
    reply.discard();
    if (status === 503) throw new SourceBusy(`http://${address}${path} is busy`);
    const length = status === 200 ? ` with ${headers['content-length']} bytes, the manifest says ${expected.bytes}` : '';
    throw new PavostoreError('reply_malformed', `http://${address}${path} answered ${status}${length}`);
  }
}

/** What messages call it. */
export function nameOfSource(source: SliceSource): string {
  if (source.kind === 'memory') return 'memory';
  if (source.kind === 'open') return 'the open file';
  return source.kind === 'replica' ? `replica ${source.address}` : `${source.kind} ${source.place}`;
}

/** Copies: views of shared memory are not what streams expect. */
function* piecesOf(bytes: Uint8Array): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += limits.storePieceSize) yield Buffer.from(bytes.subarray(at, at + limits.storePieceSize));
}
