// The shared folder of a split over several machines: what its commands leave in it for each other.
//
//     WORK/part-0003-of-0016/     of `split-map`: 000.spill … 255.spill, rejects.spill, report.json
//     WORK/seal-064-127/          of `split-seal`: slices/0256.slice …, report.json
//     WORK/.tmp-RANDOM/           in the making, with a heartbeat
//
// A folder gets its name by a rename when all in it is on the disk: what has a name is complete. Of two processes that make the same one the
// first to finish wins, and what the other made goes: they hold the same. What a killed process left is removed by the next command
// when its heartbeat is stale.

import { readdir, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { ManifestSlice, Source } from '../../shared/manifest.ts';
import { writeError } from '../../shared/write-error.ts';
import { realDisk } from '../publish/disk.ts';
import { type ChunkReport, histogramSize } from '../split/chunk-spiller.ts';
import type { Part } from '../split/input-share.ts';
import type { SealReport } from '../split/slice-sealer.ts';
import { spillCount } from '../split/spill.ts';
import { sourceKey } from '../split/split-options.ts';

const reportFormat = 1;
const partName = /^part-(\d{4})-of-(\d{4})$/;
const sealName = /^seal-(\d{3})-(\d{3})$/;

/** Hash partitions `first` to `last`, both inclusive, of the 256 that the top 8 bits of a hash make. */
export type PartitionRange = { readonly first: number; readonly last: number };

/** What one part of the input held; sizes of its spill files in bytes. */
export type PartReport = {
  readonly format: typeof reportFormat;
  readonly part: Part;
  readonly source: Source;
  readonly chunks: readonly ChunkReport[];
  /** As `HashHistogram`. */
  readonly histogram: readonly number[];
  readonly spillSizes: readonly number[];
};

/** What was made of one range: the slices that begin in it. */
export type SealedRange = {
  readonly format: typeof reportFormat;
  readonly range: PartitionRange;
  readonly partCount: number;
  readonly source: Source;
  readonly sliceCount: number;
  readonly sealed: readonly (Pick<SealReport, 'sliceFrom' | 'dropped'> & { readonly slices: readonly ManifestSlice[] })[];
};

/** `3/16`: part 3 of 16, counted from 0. Throws `usage`. */
export function parsePart(text: string): Part {
  const [index = Number.NaN, count = Number.NaN] = numbersOf(/^(\d{1,4})\/(\d{1,4})$/, text);
  if (!(index < count && count <= limits.splitPartsMax)) {
    throw new PavostoreError('usage', `--part ${text}: i/n is needed, i from 0 to n - 1, n at most ${limits.splitPartsMax}`);
  }
  return { index, count };
}

/** `64-127`: partitions 64 to 127. Throws `usage`. */
export function parseRange(text: string): PartitionRange {
  const [first = Number.NaN, last = Number.NaN] = numbersOf(/^(\d{1,3})-(\d{1,3})$/, text);
  if (!(first <= last && last < spillCount)) {
    throw new PavostoreError('usage', `--ranges ${text}: a-b is needed, from 0 to ${spillCount - 1}`);
  }
  return { first, last };
}

export function partPath(workDir: string, { index, count }: Part): string {
  return join(workDir, `part-${pad(index, 4)}-of-${pad(count, 4)}`);
}

export function sealPath(workDir: string, { first, last }: PartitionRange): string {
  return join(workDir, `seal-${pad(first, 3)}-${pad(last, 3)}`);
}

/** Gives a finished folder its name, with its report in it. False when another process was first. Throws `disk_short`, `data_unwritable`. */
export async function completeFolder(from: string, to: string, report: PartReport | SealedRange): Promise<boolean> {
  const path = join(from, 'report.json');
  await realDisk.writeFile(path, JSON.stringify(report));
  await realDisk.syncFile(path);
  await realDisk.syncFolder(from);
  try {
    await rename(from, to);
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code!)) return false;
    throw writeError(error, to);
  }
  await realDisk.syncFolder(dirname(to));
  return true;
}

/** The report of a part that is complete; undefined when it is not yet. Throws `part_malformed`. */
export async function readPart(workDir: string, part: Part): Promise<PartReport | undefined> {
  return await readReport(partPath(workDir, part), ({ chunks, histogram, spillSizes }: PartReport) => {
    return Array.isArray(chunks) && histogram.length === 2 * histogramSize && spillSizes.length === spillCount + 1;
  });
}

/** The report of a range that is sealed; undefined when it is not yet. Throws `part_malformed`. */
export async function readSealed(workDir: string, range: PartitionRange): Promise<SealedRange | undefined> {
  return await readReport(sealPath(workDir, range), ({ sealed }: SealedRange) => Array.isArray(sealed));
}

/** The reports of all parts in their order. Throws `part_missing` unless all are complete, `part_malformed` unless all are of one split. */
export async function readParts(workDir: string): Promise<PartReport[]> {
  const found = (await listNames(workDir, partName)).map(([index, count]): Part => ({ index: index!, count: count! }));
  const count = found[0]?.count;
  if (count === undefined) throw new PavostoreError('part_missing', `${workDir}: no part of a split is complete there`);
  const other = found.find((part) => part.count !== count);
  if (other)
    throw new PavostoreError('part_malformed', `${partPath(workDir, other)}: it is one of ${other.count} parts, others are of ${count}`);
  const missing = Array.from({ length: count }, (_, index) => index).filter((index) => !found.some((part) => part.index === index));
  if (missing.length > 0)
    throw new PavostoreError('part_missing', `${workDir}: of ${count} parts these are not complete: ${missing.join(', ')}`);
  const reports: PartReport[] = [];
  for (const part of found) {
    const report = (await readPart(workDir, part))!;
    assertSameSource(reports[0] ?? report, report, partPath(workDir, part));
    reports.push(report);
  }
  return reports;
}

/** The reports of all sealed ranges. Throws `part_malformed`. */
export async function readAllSealed(workDir: string): Promise<SealedRange[]> {
  const found = (await listNames(workDir, sealName)).map(([first, last]): PartitionRange => ({ first: first!, last: last! }));
  return await Promise.all(found.map(async (range) => (await readSealed(workDir, range))!));
}

/** Throws `part_malformed` when what lies at `path` is of another split than `expected`. */
export function assertSameSource(expected: { readonly source: Source }, report: { readonly source: Source }, path: string): void {
  if (sourceKey(expected.source) === sourceKey(report.source)) return;
  throw new PavostoreError(
    'part_malformed',
    `${path}: it was made of other files, or with other options; use an empty folder for each split`,
  );
}

async function readReport<T extends { readonly format: number }>(folder: string, isWhole: (report: T) => boolean): Promise<T | undefined> {
  const path = join(folder, 'report.json');
  const refuse = (reason: string, cause?: unknown): PavostoreError => new PavostoreError('part_malformed', `${path}: ${reason}`, { cause });
  let report: T;
  try {
    report = JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw refuse((error as Error).message, error);
  }
  if (report.format !== reportFormat) throw refuse(`format ${report.format}; this Pavostore reads format ${reportFormat}`);
  if (!isWhole(report)) throw refuse('it lacks what such a report holds');
  return report;
}

async function listNames(workDir: string, pattern: RegExp): Promise<number[][]> {
  const names = await readdir(workDir).catch((error: NodeJS.ErrnoException) => {
    throw new PavostoreError('part_missing', `${workDir}: ${error.message}`, { cause: error });
  });
  return names
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => numbersOf(pattern, name));
}

function numbersOf(pattern: RegExp, text: string): number[] {
  return pattern.exec(text)?.slice(1).map(Number) ?? [];
}

function pad(n: number, size: number): string {
  return String(n).padStart(size, '0');
}
