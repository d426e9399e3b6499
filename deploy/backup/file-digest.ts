// The SHA-256 of a file, read in pieces.

import { createHash } from 'node:crypto';
import { openFile } from '../../shared/data-set.ts';
import { limits } from '../../shared/limits.ts';

/** In hex. Throws the system's error. */
export async function digestOf(path: string, signal?: AbortSignal): Promise<string> {
  const file = await openFile(path);
  const digest = createHash('sha256');
  // The stream closes the file.
  for await (const chunk of file.createReadStream({ highWaterMark: limits.storePieceSize, signal })) digest.update(chunk as Buffer);
  return digest.digest('hex');
}
