// What the system's errors of a failed write mean to the user. For the writing itself: an error of whatever the bytes come from is none of the disk's.

import { PavostoreError } from './errors.ts';

/** The error of a failed write as the user meets it: `disk_short` when there is no room, else `data_unwritable`. Others stay what they are. */
export function writeError(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof PavostoreError || typeof code !== 'string') return error;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new PavostoreError('disk_short', `${path}: the disk is full (${code})`, { cause: error });
  return new PavostoreError('data_unwritable', `${path}: ${message}`, { cause: error });
}

/** A handler for `catch` that throws `writeError`. */
export function rethrowWrite(path: string): (error: unknown) => never {
  return (error) => {
    throw writeError(error, path);
  };
}
