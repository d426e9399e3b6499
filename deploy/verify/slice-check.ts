// Everything that can be checked of one slice file: its SHA-256, header, sections, buckets and each record.

import { hash } from 'node:crypto';
import { loadSlice } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import type { ManifestSlice } from '../../shared/manifest.ts';
import { recordsOf } from '../../shared/slice-layout.ts';

export type SliceCheckTask = {
  readonly path: string;
  readonly sliceIndex: number;
  readonly sliceCount: number;
  readonly expected: ManifestSlice;
};

/** `problem` names the file and what is wrong; undefined when nothing is. Sizes are those of keys and values. */
export type SliceCheckReport = {
  readonly sliceIndex: number;
  readonly problem: string | undefined;
  readonly keyBytes: number;
  readonly valueBytes: number;
};

/** Reads a slice file whole. Damage is a value, not an error. */
export async function checkSlice({ path, sliceIndex, sliceCount, expected }: SliceCheckTask): Promise<SliceCheckReport> {
  let keyBytes = 0;
  let valueBytes = 0;
  try {
    const slice = await loadSlice(path, sliceIndex, sliceCount, expected);
    for (const { keyStart, valueStart, end } of recordsOf(slice, path)) {
      keyBytes += valueStart - keyStart;
      valueBytes += end - valueStart;
    }
    const sha256 = hash('sha256', slice.bytes);
    const problem = sha256 === expected.sha256 ? undefined : `${path}: SHA-256 is ${sha256}, the manifest says ${expected.sha256}`;
    return { sliceIndex, problem, keyBytes, valueBytes };
  } catch (error) {
    return { sliceIndex, problem: describe(error, path), keyBytes, valueBytes };
  }
}

/** An error as a problem: the message, which for a system error does not always name the file. */
export function describe(error: unknown, path: string): string {
  const { message, code } = error as NodeJS.ErrnoException;
  if (error instanceof PavostoreError) return message;
  if (code === undefined) throw error;
  return code === 'ENOENT' ? `${path}: no such file` : code === 'ELOOP' ? `${path}: it is a link` : `${path}: ${message}`;
}
