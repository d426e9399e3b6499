// The worker of slice-loader.ts: reads and verifies one slice a message.

import { parentPort } from 'node:worker_threads';
import { loadSlice } from '../shared/data-set.ts';
import { PavostoreError } from '../shared/errors.ts';
import { keyHash32 } from '../shared/key-hash.ts';
import { readRecordPlace, type Slice } from '../shared/slice-layout.ts';
import { copyIndex } from './disk-slice.ts';
import type { LoadAnswer, LoadMessage, PreloadRequest } from './slice-loader.ts';
import { collectDroppedSlices } from './slice-memory.ts';

const port = parentPort!;

/** Where slices that stay on disk are read and checked, one after the other: garbage of their size would lie beside what is served. */
let scratch: Buffer = Buffer.alloc(0);

port.on('message', async (message: LoadMessage) => {
  if (message === 'collect') {
    scratch = Buffer.alloc(0);
    return collectDroppedSlices();
  }
  const { path, sliceIndex, sliceCount, expected, preload } = message;
  try {
    const slice = await loadSlice(path, sliceIndex, sliceCount, expected, preload ? scratch : 'shared');
    if (preload && slice.bytes.length > scratch.length) scratch = slice.bytes;
    answer(preload ? forDisk(slice, preload) : { kind: 'memory', header: slice.header, bytes: slice.bytes.buffer as SharedArrayBuffer });
  } catch (error) {
    const code = error instanceof PavostoreError ? error.code : undefined;
    answer({ kind: 'failed', code, message: (error as Error).message });
  }
});

function answer(message: LoadAnswer): void {
  if (message.kind === 'disk') port.postMessage(message, [message.index, message.records]);
  else port.postMessage(message);
}

function forDisk(slice: Slice, preload: PreloadRequest): LoadAnswer {
  const records = preload.hashes ? recordsWithHashes(slice, preload.hashes, preload.sizeMax) : firstRecords(slice, preload.sizeMax);
  return { kind: 'disk', header: slice.header, index: copyIndex(slice), records };
}

/** The whole records that lie in the first `sizeMax` bytes. */
function firstRecords(slice: Slice, sizeMax: number): ArrayBuffer {
  const { offset, length } = slice.header.records;
  let end = offset;
  for (const limit = offset + Math.min(sizeMax, length); ; ) {
    const place = readRecordPlace(slice.bytes, end, limit);
    if (!place) break;
    end = place.end;
  }
  return copyOf(slice.bytes.subarray(offset, end));
}

/** The records whose hash is among `hashes`; both are ascending, so one pass over both finds them. */
function recordsWithHashes(slice: Slice, hashes: Uint32Array, sizeMax: number): ArrayBuffer {
  const { offset, length } = slice.header.records;
  const found: Buffer[] = [];
  let size = 0;
  let next = 0;
  for (let at = offset; at < offset + length && next < hashes.length; ) {
    const place = readRecordPlace(slice.bytes, at, offset + length);
    if (!place) break;
    const hash = keyHash32(slice.bytes, place.keyStart, place.valueStart);
    while (next < hashes.length && hashes[next]! < hash) next++;
    if (hashes[next] === hash) {
      size += place.end - at;
      if (size > sizeMax) break;
      found.push(slice.bytes.subarray(at, place.end));
    }
    at = place.end;
  }
  return copyOf(Buffer.concat(found));
}

function copyOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
