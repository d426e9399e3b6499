// The worker of slice-loader.ts: reads and verifies one slice a message.

import { parentPort } from 'node:worker_threads';
import { loadSlice } from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import type { LoadAnswer, LoadRequest } from './slice-loader.ts';

const port = parentPort!;

port.on('message', async ({ path, sliceIndex, sliceCount, expected }: LoadRequest) => {
  try {
    const { bytes, header } = await loadSlice(path, sliceIndex, sliceCount, expected);
    const buffer = bytes.buffer as ArrayBuffer;
    port.postMessage({ ok: true, bytes: buffer, header } satisfies LoadAnswer, [buffer]);
  } catch (error) {
    const code = error instanceof PavostoreError ? error.code : undefined;
    port.postMessage({ ok: false, code, message: (error as Error).message } satisfies LoadAnswer);
  }
});
