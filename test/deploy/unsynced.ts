// For a process that a test kills in the middle. Preloaded, in its threads too, it lets no sync of a file that it has written return: so the process
// is never done before it is killed, however fast the disk is.

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** The environment of such a process. */
export const unsyncedEnv = { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import ${import.meta.url}` } as const;

if (process.env.NODE_OPTIONS?.includes(import.meta.url)) {
  fs.fsync = Object.assign(() => {}, { __promisify__: fs.fsync.__promisify__ });
  syncBuiltinESMExports();
  // Nothing else may keep it alive then.
  setInterval(() => {}, 2 ** 30);
}
