// Reads back what has just been written, before it is published: each slice's header by its SHA-256 against the manifest, each section by the CRC-32 in that
// header. That covers every byte at a tenth of the cost of `pavostore verify`, which takes the SHA-256 of everything and looks at each record: whoever made the
// slices has done that a moment ago. It is what shards do when they load them; a slice that fails here would be 503 there.

import { piecesOfOpenFile } from '../../shard/disk-slice.ts';
import { SliceScan } from '../../shard/slice-scan.ts';
import { openFile, slicePath } from '../../shared/data-set.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { describe } from './slice-check.ts';

/** What is wrong with the slices of a version folder, in their order. Throws the signal's reason. */
export async function readBack(versionDir: string, manifest: Manifest, signal?: AbortSignal | undefined): Promise<string[]> {
  const { sliceCount } = manifest.identity;
  const problems = new Map<number, string>();
  let next = 0;
  const worker = async (): Promise<void> => {
    const scratch = Buffer.allocUnsafe(limits.scrubPieceSize);
    while (next < sliceCount) {
      signal?.throwIfAborted();
      const sliceIndex = next++ as SliceIndex;
      const path = slicePath(versionDir, sliceIndex);
      const problem = await findFault(path, manifest, sliceIndex, scratch).catch((error: unknown) => describe(error, path));
      if (problem !== undefined) problems.set(sliceIndex, problem);
    }
  };
  // While one waits for its file, the other computes.
  await Promise.all([worker(), worker()]);
  return [...problems].sort(([a], [b]) => a - b).map(([, problem]) => problem);
}

async function findFault(path: string, { id, identity }: Manifest, sliceIndex: SliceIndex, scratch: Buffer): Promise<string | undefined> {
  const { sliceCount, slices } = identity;
  const scan = new SliceScan({ versionId: id, sliceIndex, sliceCount, expected: slices[sliceIndex]! });
  await using file = await openFile(path);
  const { size } = await file.stat();
  for await (const piece of piecesOfOpenFile(file.fd, size, scratch.length, scratch)) scan.feed(piece);
  const fault = scan.findFault();
  return fault && `${path}: ${fault}`;
}
