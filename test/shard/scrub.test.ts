// What a check of a slice says when the slice changes under it: the scrub takes its time, and the glance and the healer do not wait for it. Here the
// scrub waits for nothing, and the test acts where it would wait.

import { mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { SliceHealer } from '../../shard/heal.ts';
import { HeldVersion } from '../../shard/held-version.ts';
import { LoadGauge } from '../../shard/load-gauge.ts';
import { Scrubber } from '../../shard/scrub.ts';
import { slicePath, versionPath } from '../../shared/data-set.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { readSlice, viewSlice } from '../../shared/slice-layout.ts';
import { Throttle } from '../../shared/throttle.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords } from '../data-sets.ts';
import { makeFolder } from '../deploy/data-folder.ts';

const slice = 0 as SliceIndex;
/** Some pieces of the scrub. */
const records = new Map(Array.from({ length: 5 }, (_, i) => [`key ${i}`, Buffer.alloc(limits.scrubPieceSize, `value ${i} `)]));

/** A scrub of one slice in memory; `onPiece` is called after each piece that it has checked: first of memory, then of the file. */
async function makeScrubber(onPiece: (bytesChecked: number) => void) {
  const dataDir = join(await makeFolder(), 'data');
  const manifest = publishRecords(dataDir, records, { sliceCount: 1 });
  const path = slicePath(versionPath(dataDir, manifest.id), slice);
  const good = readFileSync(path);
  // Whatever changes it is seen, also within the same tick of the disk's clock.
  utimesSync(path, 1, 1);
  const version = new HeldVersion(manifest, 1);
  const serve = (): void => version.keep(slice, viewSlice(Buffer.from(good), readSlice(good, 'slice').header));
  serve();
  const told: string[] = [];
  const scrubber = new Scrubber({
    dataDir,
    versions: () => [version],
    rate: limits.scrubRateDefault,
    gauge: new LoadGauge(),
    healer: {
      serveNoMore: () => told.push('not served'),
      mendFile: () => told.push('damaged'),
      fileIsWhole: () => told.push('whole'),
    } as unknown as SliceHealer,
  });
  const throttle = vi.spyOn(Throttle.prototype, 'take').mockImplementation(async () => onPiece(scrubber.counts.bytes));
  onTestFinished(async () => {
    await scrubber.close();
    throttle.mockRestore();
  });
  const flip = (): void => {
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(path, bytes);
  };
  /** As the healer does. */
  const mend = (): void => {
    const folder = join(dataDir, '.tmp-0');
    mkdirSync(folder);
    writeFileSync(join(folder, 'slice'), good);
    renameSync(join(folder, 'slice'), path);
    rmSync(folder, { recursive: true });
  };
  return { scrubber, version, told, flip, mend, serve, size: good.length };
}

/** Calls it once, when the scrub has checked more than so much. */
function onceAfter(bytes: () => number, act: () => void): (bytesChecked: number) => void {
  let isDone = false;
  return (bytesChecked) => {
    if (isDone || bytesChecked <= bytes()) return;
    isDone = true;
    act();
  };
}

test('a file that was mended while the scrub read the damaged one is not reported', async () => {
  const made = await makeScrubber(
    onceAfter(
      () => made.size,
      () => made.mend(),
    ),
  );
  made.flip();
  made.scrubber.start();
  await vi.waitFor(() => expect(made.told.length).toBeGreaterThan(0), waiting);
  expect(made.told).not.toContain('damaged');
});

test('a file that was damaged where the scrub had passed is not whole', async () => {
  const made = await makeScrubber(
    onceAfter(
      () => 2 * made.size - limits.scrubPieceSize,
      () => made.flip(),
    ),
  );
  made.scrubber.start();
  await vi.waitFor(() => expect(made.told.length).toBeGreaterThan(0), waiting);
  expect(made.told).not.toContain('whole');
});

test('a slice in memory that was healed while the scrub waited after its last piece is served on', async () => {
  const made = await makeScrubber(
    onceAfter(
      () => made.size - 1,
      () => made.serve(),
    ),
  );
  made.version.slices[slice]!.bytes[100]! ^= 1;
  made.scrubber.start();
  await vi.waitFor(() => expect(made.told.length).toBeGreaterThan(0), waiting);
  expect(made.told).not.toContain('not served');
});
