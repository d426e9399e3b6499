// Files of lines for the programs that are driven: keys for wrk, commands for Redis.

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';

/** Writes the pieces as they come; each brings its own newline. */
export async function writePieces(path: string, pieces: Iterable<string | Buffer>): Promise<void> {
  const file = createWriteStream(path);
  for (const piece of pieces) if (!file.write(piece)) await once(file, 'drain');
  file.end();
  await once(file, 'close');
}

/** `count` lines, the i-th of them `lineOf(i)`. */
export function writeLines(path: string, count: number, lineOf: (i: number) => string): Promise<void> {
  return writePieces(path, numberedLines(count, lineOf));
}

function* numberedLines(count: number, lineOf: (i: number) => string): Generator<string> {
  for (let i = 0; i < count; i++) yield `${lineOf(i)}\n`;
}
