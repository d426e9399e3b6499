// The first pass over one part of the input: `pavostore split-map`. What it leaves in the shared folder is what the first pass of a split
// on one machine leaves, of this part.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '../../shared/limits.ts';
import { openTemporaryFolder, removeStaleFolders } from '../../shared/temporary-folder.ts';
import { rethrowWrite } from '../../shared/write-error.ts';
import { checkDiskSpace } from '../publish/disk.ts';
import { assertUnchanged, closeInputs, type Input, openInputs, sourceFilesOf, unreadable } from '../split/input.ts';
import { type InputShare, type Part, shareOf } from '../split/input-share.ts';
import { newline } from '../split/line-rules.ts';
import { type SplitOptions, settingsOf, sourceOptionsOf } from '../split/split-options.ts';
import { SplitPasses } from '../split/split-passes.ts';
import { assertSameSource, completeFolder, type PartReport, partPath, readPart } from './work-folder.ts';

export type MapOptions = Omit<SplitOptions, 'dataDir' | 'rejectsPath' | 'publish' | 'stdin'> & {
  readonly workDir: string;
  readonly part: Part;
};

/** What was done. `reused`: the part was complete already. */
export type MapReport = { readonly part: Part; readonly reused: boolean; readonly lines: number; readonly records: number };

/**
 * Reads a part of the files into the shared folder. Throws `usage`, `input_unreadable`, `line_malformed`, `part_malformed`, `disk_short`,
 * `data_unwritable`, or the signal's reason. A bad line is named by its number in the file: the lines before the part are counted then.
 */
export async function mapPart(options: MapOptions): Promise<MapReport> {
  const { files, workDir, part } = options;
  const inputs = await openInputs(files);
  try {
    assertSized(inputs);
    const source = { files: sourceFilesOf(inputs), options: sourceOptionsOf(options) };
    await mkdir(workDir, { recursive: true }).catch(rethrowWrite(workDir));
    await removeStaleFolders(workDir);
    const complete = await readPart(workDir, part);
    if (complete) {
      assertSameSource({ source }, complete, partPath(workDir, part));
      return summarize(complete, true);
    }
    const shares = shareOf(inputs, part);
    const shareSize = shares.reduce((sum, { start, end }) => sum + end - start, 0);
    await checkDiskSpace(workDir, Math.ceil(shareSize * limits.splitSizeFactor) + limits.splitSizeMin, 'this part of the split');
    const spilled = await spillShares(inputs, shares, options);
    const report: PartReport = { format: 1, part, source, ...spilled.counted };
    try {
      const isFirst = await completeFolder(spilled.folder, partPath(workDir, part), report);
      return summarize(report, !isFirst);
    } finally {
      await spilled.close();
    }
  } finally {
    await closeInputs(inputs);
  }
}

type Spilled = {
  readonly folder: string;
  readonly counted: Pick<PartReport, 'chunks' | 'histogram' | 'spillSizes'>;
  readonly close: () => Promise<void>;
};

/** Runs the first pass; its files are on the disk then, in a temporary folder that goes with `close`. */
async function spillShares(inputs: readonly Input[], shares: readonly InputShare[], options: MapOptions): Promise<Spilled> {
  const splitOptions: SplitOptions = { ...options, dataDir: options.workDir };
  const settings = settingsOf(splitOptions);
  const temporary = await openTemporaryFolder(options.workDir);
  const folder = join(temporary.path, 'part');
  try {
    await mkdir(folder).catch(rethrowWrite(folder));
    const linesBefore = async (inputIndex: number): Promise<number> => {
      const share = shares.find((candidate) => candidate.inputIndex === inputIndex);
      return share ? await countLinesBefore(inputs[inputIndex]!, share.start) : 0;
    };
    const passes = new SplitPasses({ inputs, folder, versionDir: folder, settings, options: splitOptions, shares, linesBefore });
    try {
      await passes.spill();
      await assertUnchanged(inputs);
      const { chunks, histogram } = passes;
      const spillSizes = Array.from(passes.spills.targets.sizes, Number);
      await passes.spills.keep();
      return { folder, counted: { chunks, histogram: [...histogram], spillSizes }, close: async () => await temporary.close() };
    } finally {
      await passes.close();
    }
  } catch (error) {
    await temporary.close();
    throw error;
  }
}

/** How many lines of a plain file start before `position`. */
async function countLinesBefore({ file }: Input, position: number): Promise<number> {
  if (position === 0) return 0;
  let count = 1;
  if (position === 1) return count;
  for await (const bytes of file!.createReadStream({ autoClose: false, start: 0, end: position - 2 }) as AsyncIterable<Buffer>) {
    for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, at + 1)) count++;
  }
  return count;
}

/** A part is a share of known bytes. */
function assertSized(inputs: readonly Input[]): void {
  const unsized = inputs.find(({ size }) => size === undefined);
  if (unsized) throw unreadable(unsized.label, 'it is no file on a disk: a part cannot be taken of it');
}

function summarize({ part, chunks }: PartReport, reused: boolean): MapReport {
  const sum = (field: 'lineCount' | 'recordCount'): number => chunks.reduce((total, chunk) => total + chunk[field], 0);
  return { part, reused, lines: sum('lineCount'), records: sum('recordCount') };
}
