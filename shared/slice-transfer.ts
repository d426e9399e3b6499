// The paths at which a shard gives what it holds to others: the manifest of a version, and its slice files as they stand on the disk. What comes
// from there is untrusted: the manifest's id is computed again, and a slice counts when its SHA-256 is the manifest's.
//
//     GET /versions/ID/manifest        JSON
//     GET /versions/ID/slices/0007     the bytes of the file
//
// 421 when the shard does not hold that version or slice, 503 when the slice is not whole or too many are being sent.

import { isVersionId } from './manifest.ts';

export const sliceContentType = 'application/octet-stream';
export const manifestContentType = 'application/json; charset=utf-8';

/** `sliceIndex` undefined: the manifest. */
export type TransferTarget = { readonly id: string; readonly sliceIndex: number | undefined };

export function manifestTransferPath(id: string): string {
  return `/versions/${id}/manifest`;
}

export function sliceTransferPath(id: string, sliceIndex: number): string {
  return `/versions/${id}/slices/${String(sliceIndex).padStart(4, '0')}`;
}

/** Undefined for any other path. */
export function parseTransferPath(path: string): TransferTarget | undefined {
  const parts = /^\/versions\/([^/]+)\/(?:manifest|slices\/(\d{4}))$/.exec(path);
  if (!parts || !isVersionId(parts[1])) return undefined;
  return { id: parts[1], sliceIndex: parts[2] === undefined ? undefined : Number(parts[2]) };
}
