// The files that are split, opened once and held to the end, so that what was read is what was looked at: kind, size, time. A plain
// file is read by the workers in ranges; standard input, pipes and compressed files by the main thread as a stream.

import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { addAbortSignal, pipeline, type Readable } from 'node:stream';
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from 'node:zlib';
import { PavostoreError } from '../../shared/errors.ts';
import type { SourceFile } from '../../shared/manifest.ts';

/** What is read from a stream, and decompressed, at a time. */
const streamBufferSize = 256 * 1024;

/** The name of standard input on the command line. */
export const stdinName = '-';

export type Input = {
  /** As messages name it. */
  readonly label: string;
  /** As the manifest names it: an absolute path, or `-`. */
  readonly path: string;
  readonly compression: 'none' | 'gzip' | 'zstd';
  /** Undefined for standard input. */
  readonly file: FileHandle | undefined;
  /** Bytes of the file; undefined when that is not known before its end. */
  readonly size: number | undefined;
  readonly mtimeMs: number;
  readonly stats: BigIntStats | undefined;
};

/** Opens the files in their order. Throws `input_unreadable`; nothing is open then. */
export async function openInputs(paths: readonly string[]): Promise<Input[]> {
  if (paths.length === 0) throw new PavostoreError('usage', 'name a file to split, or - for standard input');
  const inputs: Input[] = [];
  try {
    for (const path of paths) inputs.push(await openInput(path));
    assertDistinct(inputs);
    return inputs;
  } catch (error) {
    await closeInputs(inputs);
    throw error;
  }
}

export async function closeInputs(inputs: readonly Input[]): Promise<void> {
  for (const { file } of inputs) await file?.close();
}

/** True when workers can read ranges of it. */
export function isPlainFile(input: Pick<Input, 'size' | 'compression'>): boolean {
  return input.size !== undefined && input.compression === 'none';
}

/** Throws `input_unreadable` when a file is not what it was when it was opened. */
export async function assertUnchanged(inputs: readonly Input[]): Promise<void> {
  for (const { label, path, stats } of inputs) {
    if (!stats?.isFile()) continue;
    const now = await stat(path, { bigint: true }).catch(rethrowRead(label));
    if (now.ino !== stats.ino || now.dev !== stats.dev) throw unreadable(label, 'it was replaced by another file while it was read');
    if (now.size !== stats.size) throw unreadable(label, `it changed while it was read: ${stats.size} bytes before, ${now.size} now`);
    if (now.mtimeNs !== stats.mtimeNs) throw unreadable(label, 'it changed while it was read: its time of modification is another');
  }
}

/** What the manifest says of the files. */
export function sourceFilesOf(inputs: readonly Input[]): SourceFile[] {
  return inputs.map(({ path, size, mtimeMs }) => ({ path, size: size ?? 0, mtimeMs }));
}

/** The text of an input as a stream, and how many bytes of the input went into it so far. */
export type InputStream = { readonly text: AsyncIterable<Buffer>; readonly consumedSize: () => number };

/**
 * Opens the text of an input that is no plain file; `stdin` stands for standard input, `signal` ends a read that waits.
 * Reading it throws `input_unreadable` for damaged, cut or trailing bytes.
 */
export function openStream(input: Input, stdin: Readable, signal: AbortSignal | undefined): InputStream {
  const source = input.file ? input.file.createReadStream({ autoClose: false, highWaterMark: streamBufferSize }) : stdin;
  if (signal) addAbortSignal(signal, source);
  const consumed = { size: 0 };
  return { text: readText(input, source, consumed, signal), consumedSize: () => consumed.size };
}

export function unreadable(label: string, reason: string, cause?: unknown): PavostoreError {
  return new PavostoreError('input_unreadable', `${label}: ${reason}`, { cause });
}

async function* readText(
  input: Input,
  source: Readable,
  consumed: { size: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const decompressor = openDecompressor(input.compression);
  const count = async function* (pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      consumed.size += piece.length;
      yield piece;
    }
  };
  try {
    // What `pipeline` reports as an error is what reading the decompressor throws.
    if (decompressor) pipeline(source, count, decompressor, () => {});
    yield* decompressor ?? count(source);
  } catch (error) {
    signal?.throwIfAborted();
    throw unreadable(input.label, explain(error as NodeJS.ErrnoException, input), error);
  }
  // Both decompressors stop in silence at a zero byte after the end of the data; how much they took tells.
  const surplusSize = decompressor ? consumed.size - decompressor.bytesWritten : 0;
  if (surplusSize > 0) throw unreadable(input.label, `garbage after the end of the compressed data: ${surplusSize} bytes or more`);
}

function openDecompressor(compression: Input['compression']): Gunzip | ZstdDecompress | undefined {
  // gzip takes members one after the other only without `rejectGarbageAfterEnd`, zstd frames with it.
  if (compression === 'gzip') return createGunzip({ chunkSize: streamBufferSize });
  if (compression === 'zstd') return createZstdDecompress({ chunkSize: streamBufferSize, rejectGarbageAfterEnd: true });
  return undefined;
}

function explain({ code, message }: NodeJS.ErrnoException, { compression }: Input): string {
  if (compression === 'none') return message;
  if (code === 'Z_BUF_ERROR') return `the ${compression} data is cut off (${message})`;
  if (code === 'ERR_TRAILING_JUNK_AFTER_STREAM_END' || code === 'ERR_STREAM_PREMATURE_CLOSE') {
    return `garbage after the end of the ${compression} data (${message})`;
  }
  return `damaged ${compression} data, or garbage after its end (${message})`;
}

async function openInput(path: string): Promise<Input> {
  if (path === stdinName) {
    return { label: 'standard input', path, compression: 'none', file: undefined, size: undefined, mtimeMs: 0, stats: undefined };
  }
  const file = await open(path, constants.O_RDONLY).catch(rethrowRead(path));
  try {
    const stats = await file.stat({ bigint: true });
    if (stats.isDirectory()) throw unreadable(path, 'it is a folder; name the files');
    return {
      label: path,
      path: resolve(path),
      compression: compressionOf(path),
      file,
      size: stats.isFile() ? Number(stats.size) : undefined,
      mtimeMs: Number(stats.mtimeMs),
      stats,
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function compressionOf(path: string): Input['compression'] {
  return path.endsWith('.gz') ? 'gzip' : path.endsWith('.zst') ? 'zstd' : 'none';
}

/** The same file twice is a slip: its records would all be duplicates. */
function assertDistinct(inputs: readonly Input[]): void {
  const labels = new Map<string, string>();
  for (const { label, stats } of inputs) {
    const identity = stats ? `${stats.dev}:${stats.ino}` : stdinName;
    const other = labels.get(identity);
    if (other !== undefined) throw unreadable(label, other === label ? 'it is named twice' : `it is the same file as ${other}`);
    labels.set(identity, label);
  }
}

function rethrowRead(label: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    throw unreadable(label, error.code === 'ENOENT' ? 'no such file' : error.message, error);
  };
}
