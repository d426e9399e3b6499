// From text files to a version: all of `pavostore split` but its command line. `serve` calls the same.
//
//     inputs ── chunks ──> first pass: workers scan, hash, and append to 256 spill files by the top 8 bits of the hash
//                          second pass: workers read spill files back, order, drop duplicates, write slices, sync them
//                          manifest ──> publish
//
// Memory does not depend on the input: some chunks in the first pass, some spill files in the second. The result depends on the
// records, the slice count and the rules for lines only; not on workers, chunks, or how the input came. Whatever fails, what is
// published stays as it was, and the temporary folder goes.

import { hash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { limits } from '../../shared/limits.ts';
import type { Totals } from '../../shared/manifest.ts';
import { removeStaleFolders } from '../../shared/temporary-folder.ts';
import { rethrowWrite } from '../../shared/write-error.ts';
import { checkDiskSpace } from '../publish/disk.ts';
import { makeManifest } from '../publish/new-manifest.ts';
import { publishVersion } from '../publish/publish.ts';
import { buildVersion } from '../publish/version-folder.ts';
import { assertUnchanged, closeInputs, type Input, openInputs, sourceFilesOf } from './input.ts';
import { writeRejects } from './rejects.ts';
import { type SplitOptions, type SplitSettings, settingsOf, sourceOptionsOf } from './split-options.ts';
import { type Sealed, SplitPasses } from './split-passes.ts';

/** What was done. Sizes are bytes; `seconds` are wall time of the parts and of all. */
export type SplitReport = {
  readonly id: string;
  /** Of `current`; undefined when it was not replaced. */
  readonly sequence: number | undefined;
  readonly published: boolean;
  /** The very version was there already; its files were verified and kept. */
  readonly reused: boolean;
  readonly sliceCount: number;
  readonly inputBytes: number;
  readonly totals: Totals;
  /** Where the rejected lines are; undefined unless bad lines are skipped. */
  readonly rejectsPath: string | undefined;
  readonly seconds: {
    readonly read: number;
    readonly seal: number;
    /** Waiting for the disk after the last slice was written, and publishing. */
    readonly sync: number;
    readonly total: number;
  };
};

/**
 * Splits files into a version of `options.dataDir` and publishes it. Throws `usage`, `input_unreadable`, `line_malformed`,
 * `key_duplicated`, `slice_too_large`, `version_refused`, `version_pinned`, `disk_short`, `data_unwritable`, `publish_locked`, or the signal's reason.
 */
export async function splitFiles(options: SplitOptions): Promise<SplitReport> {
  const settings = settingsOf(options);
  const inputs = await openInputs(options.files);
  try {
    await mkdir(options.dataDir, { recursive: true }).catch(rethrowWrite(options.dataDir));
    await removeStaleFolders(options.dataDir);
    await checkDiskSpace(options.dataDir, sizeNeeded(inputs), 'the split');
    const report = await splitInputs(inputs, options, settings);
    // Of those that died while this one worked.
    await removeStaleFolders(options.dataDir);
    return report;
  } finally {
    await closeInputs(inputs);
  }
}

async function splitInputs(inputs: readonly Input[], options: SplitOptions, settings: SplitSettings): Promise<SplitReport> {
  return await buildVersion(options.dataDir, async ({ folder, versionDir }) => {
    const sealed = await runPasses(inputs, folder, versionDir, options, settings);
    await assertUnchanged(inputs);
    return await publishSealed(inputs, versionDir, sealed, options, settings);
  });
}

type Timed = Sealed & { readonly startedMs: number; readonly readMs: number; readonly sealMs: number };

/** Both passes, up to the sync of the slices. */
async function runPasses(
  inputs: readonly Input[],
  folder: string,
  versionDir: string,
  options: SplitOptions,
  settings: SplitSettings,
): Promise<Timed> {
  const startedMs = performance.now();
  const phasesToCome = sealPerRead(digestRate());
  const onProgress: SplitOptions['onProgress'] = (progress) => {
    options.onProgress?.(progress.phase === 'read' ? { ...progress, phasesToCome } : progress);
  };
  const passes = new SplitPasses({ inputs, folder, versionDir, settings, options: { ...options, onProgress } });
  try {
    await passes.spill();
    if (!options.guards?.force) passes.assertRecords();
    if (settings.rules.badLines === 'skip') await writeRejects(settings.rejectsPath, passes.folders);
    const readMs = performance.now();
    const sealed = await passes.seal();
    const sealMs = performance.now();
    options.onProgress?.({ phase: 'sync', doneBytes: 0, totalBytes: undefined });
    await passes.sync();
    return { ...sealed, startedMs, readMs, sealMs };
  } finally {
    await passes.close();
  }
}

async function publishSealed(
  inputs: readonly Input[],
  versionDir: string,
  sealed: Timed,
  options: SplitOptions,
  settings: SplitSettings,
): Promise<SplitReport> {
  const { slices, totals } = sealed;
  const source = { files: sourceFilesOf(inputs), options: sourceOptionsOf(options) };
  const manifest = makeManifest({ slices, totals, source });
  options.onProgress?.({ phase: 'publish', doneBytes: 0, totalBytes: undefined });
  const { dataDir, guards, ifPinned, onWarning, signal } = options;
  const { publish } = settings;
  const { current, reused } = await publishVersion({ dataDir, versionDir, manifest, publish, guards, ifPinned, onWarning, signal });
  const { startedMs, readMs, sealMs, inputBytes } = sealed;
  const endedMs = performance.now();
  return {
    id: manifest.id,
    sequence: current?.sequence,
    published: current !== undefined,
    reused,
    sliceCount: manifest.identity.sliceCount,
    inputBytes,
    totals: manifest.totals,
    rejectsPath: settings.rules.badLines === 'skip' ? settings.rejectsPath : undefined,
    seconds: {
      read: (readMs - startedMs) / 1_000,
      seal: (sealMs - readMs) / 1_000,
      sync: (endedMs - sealMs) / 1_000,
      total: (endedMs - startedMs) / 1_000,
    },
  };
}

/** How long the second pass takes beside the first one, where so many bytes a second can be digested. */
export function sealPerRead(digestBytesPerSecond: number): number {
  return limits.splitSealPerRead + limits.splitDigestPerRead / (digestBytesPerSecond / 1e9);
}

/** Of SHA-256 on this processor, in bytes a second: it differs by four between those in use. Takes some milliseconds. */
function digestRate(): number {
  const bytes = Buffer.alloc(limits.splitDigestProbeSize);
  const startedMs = performance.now();
  hash('sha256', bytes);
  return (1_000 * bytes.length) / (performance.now() - startedMs);
}

/** What the spill files will take, and with them the slices, whose room they make: what is known of it before. */
function sizeNeeded(inputs: readonly Input[]): number {
  const inputSize = inputs.reduce((sum, { size }) => sum + (size ?? 0), 0);
  return Math.ceil(inputSize * limits.splitSizeFactor) + limits.splitSizeMin;
}
