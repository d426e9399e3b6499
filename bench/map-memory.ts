// A text of records as a `Map` of strings, which is what one would write without a store: `node --expose-gc bench/map-memory.ts FILE` prints, as JSON, how
// many there are and what they take. Strings of one byte a character, copied out of the text so that none keeps a greater one alive; a `Buffer`
// an entry would take more.

import { closeSync, openSync, readSync } from 'node:fs';

export type MapMemory = {
  readonly entries: number;
  /** What the heap grew by. */
  readonly heapBytes: number;
  /** Of the whole process. */
  readonly residentBytes: number;
  readonly loadSeconds: number;
};

const chunkBytes = 2 ** 24;
const newline = 0x0a;
const space = 0x20;

const collect = (globalThis as { gc?: () => void }).gc!;
collect();
const before = process.memoryUsage().heapUsed;
const startedMs = performance.now();
const map = readMap(process.argv[2]!);
const loadSeconds = (performance.now() - startedMs) / 1_000;
collect();
const { heapUsed, rss } = process.memoryUsage();
const result: MapMemory = { entries: map.size, heapBytes: heapUsed - before, residentBytes: rss, loadSeconds };
console.log(JSON.stringify(result));

function readMap(path: string): Map<string, string> {
  const records = new Map<string, string>();
  const file = openSync(path, 'r');
  const buffer = Buffer.allocUnsafe(chunkBytes);
  let kept = 0;
  for (;;) {
    const size = kept + readSync(file, buffer, kept, chunkBytes - kept, null);
    if (size === kept) break;
    let start = 0;
    for (let end = buffer.indexOf(newline); end >= 0 && end < size; end = buffer.indexOf(newline, start)) {
      const keyEnd = buffer.indexOf(space, start);
      records.set(buffer.toString('latin1', start, keyEnd), buffer.toString('latin1', keyEnd + 1, end));
      start = end + 1;
    }
    buffer.copyWithin(0, start, size);
    kept = size - start;
  }
  closeSync(file);
  return records;
}
