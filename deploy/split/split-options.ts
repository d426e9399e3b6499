// What a split is asked to do, with its defaults, and what of it the manifest remembers.

import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { wholeNumber } from '../../shared/command.ts';
import { readCurrent, readManifest } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { isPowerOfTwo } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import type { Source, SourceFile } from '../../shared/manifest.ts';
import type { GuardSettings, IfPinned } from '../publish/guards.ts';
import { stdinName } from './input.ts';
import { type BadLinePolicy, type DuplicatePolicy, formatSeparator, type LineRules, parseSeparator } from './line-rules.ts';

/** What decides the content of a version, given the files. */
export type SourceOptions = {
  /** A power of two up to `limits.sliceCountMax`; by default what the bytes of the records ask for. */
  readonly sliceCount?: number | undefined;
  /** Which record of a key counts, in the order of the input; default `last`. */
  readonly duplicates?: DuplicatePolicy | undefined;
  /** What becomes of a line that is no record; default `error`. */
  readonly badLines?: BadLinePolicy | undefined;
  /** One ASCII character, or `tab`; default one space. */
  readonly separator?: string | undefined;
  /** True: a CR before the newline belongs to the value. */
  readonly keepCr?: boolean | undefined;
};

/** Bytes of the input read, of the spill files sealed, of slices verified or compared, or moved to or from a place; `total` where it is known. */
export type SplitProgress = {
  readonly phase: 'read' | 'seal' | 'sync' | 'publish' | 'verify' | 'compare' | 'store' | 'fetch' | 'check';
  readonly doneBytes: number;
  readonly totalBytes: number | undefined;
  /** How long the phases after this one will take, in times the whole of this one; none by default. */
  readonly phasesToCome?: number;
};

export type SplitOptions = SourceOptions & {
  /** Paths of text files, `.gz`, `.zst`, or `-`. */
  readonly files: readonly string[];
  readonly dataDir: string;
  /** Worker threads; by default one for each core. */
  readonly jobs?: number | undefined;
  /** Where rejected lines go; default DATA/rejects.txt. */
  readonly rejectsPath?: string | undefined;
  /** False: the version is put into DATA/versions, but does not become the published one. */
  readonly publish?: boolean | undefined;
  /** What the guards allow when it is published; by default as `defaultGuards`. */
  readonly guards?: GuardSettings | undefined;
  /** Whether it fails when another version is pinned, or only puts the new one in place; by default it fails. */
  readonly ifPinned?: IfPinned | undefined;
  readonly onProgress?: ((progress: SplitProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Ends the split with the signal's reason; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
  readonly stdin?: Readable | undefined;
  /** Bounds that tests make small. */
  readonly bounds?: Partial<SplitBounds> | undefined;
};

/** Sizes in bytes; `chunkSize` is at least 16. */
export type SplitBounds = { readonly chunkSize: number; readonly sealMemoryMax: number; readonly sliceSizeMax: number };

/** The options with every default in its place. */
export type SplitSettings = {
  readonly rules: LineRules;
  readonly sliceCount: number | undefined;
  readonly jobs: number;
  readonly rejectsPath: string;
  readonly publish: boolean;
  readonly bounds: SplitBounds;
};

/** Throws `usage` for what cannot be. */
export function settingsOf(options: SplitOptions): SplitSettings {
  const jobs = jobsOf(options);
  const rejectsPath = resolve(options.rejectsPath ?? join(options.dataDir, 'rejects.txt'));
  if (options.files.some((path) => resolve(path) === rejectsPath)) {
    throw new PavostoreError('usage', `--rejects ${rejectsPath}: it is a file of the input`);
  }
  return {
    rules: rulesOf(options),
    sliceCount: sliceCountOf(options),
    jobs,
    rejectsPath,
    publish: options.publish ?? true,
    bounds: {
      chunkSize: limits.inputChunkSize,
      sealMemoryMax: limits.sealMemoryMax,
      sliceSizeMax: limits.sliceSizeMax,
      ...options.bounds,
    },
  };
}

/** What the manifest says of how the files were split. */
export function sourceOptionsOf(options: SourceOptions): Source['options'] {
  const { duplicates, badLines, separator, keepCr } = rulesOf(options);
  return { slices: sliceCountOf(options) ?? 'by size', duplicates, badLines, separator: formatSeparator(separator), keepCr };
}

/** True when the published version was made of these very files, unchanged since, with these options. Never for standard input. */
export async function isUpToDate(dataDir: string, files: readonly string[], options: SourceOptions = {}): Promise<boolean> {
  const wanted: Source = { files: await Promise.all(files.map(statSource)), options: sourceOptionsOf(options) };
  if (files.includes(stdinName) || wanted.files.some(({ size }) => size < 0)) return false;
  try {
    const current = await readCurrent(dataDir);
    if (!current) return false;
    const { source, identity } = await readManifest(dataDir, current.id);
    // A count that is asked for is compared with the one there is: `reslice` may have changed it since the split.
    const slices = options.sliceCount === undefined ? source.options.slices! : identity.sliceCount;
    return sourceKey({ ...source, options: { ...source.options, slices } }) === sourceKey(wanted);
  } catch {
    // Unreadable is not up to date: the split that follows says what is wrong.
    return false;
  }
}

async function statSource(path: string): Promise<SourceFile> {
  const absolute = resolve(path);
  // As whole milliseconds, cut off: what `openInputs` notes.
  const stats = await stat(absolute, { bigint: true }).catch(() => undefined);
  return { path: absolute, size: stats?.isFile() ? Number(stats.size) : -1, mtimeMs: Number(stats?.mtimeMs ?? 0) };
}

/** Equal for equal sources, whatever the order of their fields. */
export function sourceKey({ files, options }: Source): string {
  return JSON.stringify([files.map(({ path, size, mtimeMs }) => [path, size, mtimeMs]), Object.entries(options).sort()]);
}

/** How many worker threads. Throws `usage`. */
export function jobsOf({ jobs = availableParallelism() }: { readonly jobs?: number | undefined }): number {
  return wholeNumber('--jobs', jobs, 1, limits.jobsMax);
}

function rulesOf({ duplicates = 'last', badLines = 'error', separator = ' ', keepCr = false }: SourceOptions): LineRules {
  return { duplicates, badLines, separator: parseSeparator(separator), keepCr };
}

/** The slice count asked for, if any. Throws `usage`. */
export function sliceCountOf({ sliceCount }: Pick<SourceOptions, 'sliceCount'>): number | undefined {
  if (sliceCount === undefined || (isPowerOfTwo(sliceCount) && sliceCount <= limits.sliceCountMax)) return sliceCount;
  throw new PavostoreError('usage', `--slices ${sliceCount}: a power of two from 1 to ${limits.sliceCountMax} is needed`);
}
