import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { RecordArena } from '../../../deploy/split/record-arena.ts';
import { appendBlock, listBlocks, readBlock, SpillFiles, spillBlockHeaderSize, spillPath } from '../../../deploy/split/spill.ts';
import { recordSizeOf, writeRecordHead } from '../../../shared/slice-layout.ts';
import { makeFolder } from '../data-folder.ts';

async function openSpills(): Promise<{ spills: SpillFiles; folder: string }> {
  const folder = await makeFolder();
  const spills = new SpillFiles(folder);
  onTestFinished(() => spills.close());
  return { spills, folder };
}

function append(spills: SpillFiles, index: number, payload: Buffer, place: { chunkOrdinal: number; sequence: number }): void {
  const block = Buffer.concat([Buffer.alloc(spillBlockHeaderSize), payload]);
  appendBlock(spills.targets, index, block, { start: 0, end: block.length, recordCount: 1, ...place });
}

function recordPayload(hash: number, key: string, value: string): Buffer {
  const payload = Buffer.alloc(4 + recordSizeOf(key.length, value.length));
  payload.writeUInt32LE(hash, 0);
  const at = writeRecordHead(payload, 4, key.length, value.length);
  payload.write(key + value, at, 'latin1');
  return payload;
}

test('blocks are read back in the order of chunk and sequence, whatever the order they were written in', async () => {
  const { spills } = await openSpills();
  const places = [
    [7, 1],
    [300, 0],
    [7, 0],
    [0, 0],
    [65_536, 2],
  ] as const;
  for (const [chunkOrdinal, sequence] of places)
    append(spills, 3, Buffer.from(`block ${chunkOrdinal}/${sequence}`), { chunkOrdinal, sequence });
  const payloads = listBlocks(spills.targets, 3).map((block) => {
    const bytes = Buffer.alloc(100);
    readBlock(spills.targets, 3, block, bytes, 10);
    return bytes.toString('latin1', 10 + spillBlockHeaderSize, 10 + spillBlockHeaderSize + block.length);
  });
  expect(payloads).toEqual(['block 0/0', 'block 7/0', 'block 7/1', 'block 300/0', 'block 65536/2']);
  expect(listBlocks(spills.targets, 4)).toEqual([]);
});

test('a spill file with a flipped bit, cut off or grown is refused', async () => {
  const { spills, folder } = await openSpills();
  append(spills, 0, recordPayload(5, 'key', 'value'), { chunkOrdinal: 0, sequence: 0 });
  append(spills, 0, recordPayload(6, 'other', 'value'), { chunkOrdinal: 1, sequence: 0 });
  const path = spillPath(folder, 0);
  const whole = readFileSync(path);
  const readAll = (): void => {
    const arena = new RecordArena('last');
    arena.reset({ size: 1_000, recordCount: 10, assertSize: () => {} });
    for (const block of listBlocks(spills.targets, 0)) arena.addBlock(spills.targets, 0, block, { first: 0, last: 2 ** 32 - 1 });
    expect(arena.count).toBe(2);
  };
  readAll();
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 8 * whole.length - 1 }), (bit) => {
      const damaged = Buffer.from(whole);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      writeFileSync(path, damaged);
      expect(readAll).toThrow(expect.objectContaining({ code: 'spill_malformed' }));
    }),
    { numRuns: 300 },
  );
  for (const bytes of [whole.subarray(0, -1), whole.subarray(0, 10), Buffer.concat([whole, Buffer.alloc(1)])]) {
    writeFileSync(path, bytes);
    expect(readAll).toThrow(expect.objectContaining({ code: 'spill_malformed' }));
  }
  truncateSync(path, 0);
  writeFileSync(path, whole);
  readAll();
});

test('a block that says that it holds more records than its bytes can be is refused before there is room for them', async () => {
  const { spills, folder } = await openSpills();
  append(spills, 0, recordPayload(5, '', ''), { chunkOrdinal: 0, sequence: 0 });
  expect(listBlocks(spills.targets, 0)).toMatchObject([{ recordCount: 1 }]);
  const path = spillPath(folder, 0);
  const bytes = readFileSync(path);
  for (const recordCount of [2, 2 ** 31 + 1, 2 ** 32 - 1]) {
    bytes.writeUInt32LE(recordCount, 16);
    writeFileSync(path, bytes);
    expect(() => listBlocks(spills.targets, 0)).toThrow(expect.objectContaining({ code: 'spill_malformed' }));
  }
});

test('spill files give their room back one by one, and at the end', async () => {
  const { spills, folder } = await openSpills();
  expect(await readdir(folder)).toHaveLength(257);
  spills.remove(0);
  spills.remove(0);
  expect(await readdir(folder)).toHaveLength(256);
  spills.close();
  expect(await readdir(folder)).toEqual([]);
});
