// Gives what this shard holds to others: manifests and slice files, as shared/slice-transfer.ts says. A slice comes from where it is served
// from, memory or the file that is open, so that a file that was deleted can be had from those that still have it open.
//
// All transfers together keep to one rate, and to a part of it while the shard is busy; a receiver that is slow holds up only its own.

import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SliceIndex } from '../shared/key-hash.ts';
import { pathOf } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import { formatManifest } from '../shared/manifest.ts';
import { sendProblem } from '../shared/problem-response.ts';
import { manifestContentType, parseTransferPath, sliceContentType } from '../shared/slice-transfer.ts';
import { Throttle } from '../shared/throttle.ts';
import { beginReading, type DiskSlice, endReading, piecesOfOpenFile } from './disk-slice.ts';
import type { HeldVersion } from './held-version.ts';

export type SliceServerOptions = {
  readonly versions: () => readonly HeldVersion[];
  /** Bytes a second. */
  readonly rate: number;
  readonly isBusy: () => boolean;
};

export class SliceServer {
  /** Since the start: for `/status`. */
  readonly counts = { manifests: 0, slices: 0, bytes: 0, refused: 0 };
  readonly #options: SliceServerOptions;
  readonly #throttle: Throttle;
  readonly #closing = new AbortController();
  #underway = 0;

  constructor(options: SliceServerOptions) {
    this.#options = options;
    this.#throttle = new Throttle(options.rate);
  }

  /** Answers what is asked of it and returns true, or leaves the request untouched and returns false. Does not throw. */
  answer(request: IncomingMessage, response: ServerResponse, target: string): boolean {
    const asked = parseTransferPath(pathOf(target));
    if (!asked) return false;
    const version = this.#options.versions().find(({ id }) => id === asked.id);
    if (request.method !== 'GET')
      sendProblem(response, 'method_not_allowed', { detail: `${request.method} is not GET`, headers: ['Allow', 'GET'] });
    else if (!version) sendProblem(response, 'version_not_held');
    else if (asked.sliceIndex === undefined) this.#sendManifest(response, version);
    else void this.#answerSlice(response, version, asked.sliceIndex as SliceIndex);
    return true;
  }

  /** Breaks off what is being sent. */
  close(): void {
    this.#closing.abort();
  }

  #sendManifest(response: ServerResponse, version: HeldVersion): void {
    this.counts.manifests++;
    const body = Buffer.from(formatManifest(version.manifest));
    response.writeHead(200, ['Content-Type', manifestContentType, 'Content-Length', String(body.length)]);
    response.end(body);
  }

  async #answerSlice(response: ServerResponse, version: HeldVersion, sliceIndex: SliceIndex): Promise<void> {
    const slice = version.sliceOf(sliceIndex);
    const diskSlice = version.diskSliceOf(sliceIndex);
    if (!slice && !diskSlice) return sendProblem(response, 'slice_not_held');
    if (this.#underway >= limits.transfersMax) {
      this.counts.refused++;
      return sendProblem(response, 'overloaded', { detail: `${limits.transfersMax} slices are being sent already` });
    }
    this.#underway++;
    const size = version.manifest.identity.slices[sliceIndex]!.bytes;
    try {
      const pieces = slice ? piecesOf(slice.bytes) : piecesOfFile(diskSlice!, size);
      response.writeHead(200, ['Content-Type', sliceContentType, 'Content-Length', String(size)]);
      await this.#send(response, pieces);
      this.counts.slices++;
    } catch {
      // The receiver is gone, or the file ends too early: a length that is not reached tells the receiver.
      response.destroy();
    } finally {
      this.#underway--;
    }
  }

  async #send(response: ServerResponse, pieces: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    for await (const piece of pieces) {
      const isFree = response.write(piece);
      this.counts.bytes += piece.length;
      await this.#throttle.take(piece.length * (this.#options.isBusy() ? limits.busySlowdown : 1), signal);
      if (!isFree && response.writableNeedDrain)
        await once(response, 'drain', { signal: AbortSignal.any([signal, AbortSignal.timeout(limits.transferSilentMs)]) });
    }
    response.end();
  }
}

/** Copies: a piece may lie in a socket's queue when the slice has been dropped. */
function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += limits.transferPieceSize) yield Buffer.from(bytes.subarray(at, at + limits.transferPieceSize));
}

/** The file of a slice that is open, all `size` bytes of it; throws when it ends before. */
async function* piecesOfFile(slice: DiskSlice, size: number): AsyncGenerator<Buffer> {
  beginReading(slice);
  try {
    yield* piecesOfOpenFile(slice.fd, size, limits.transferPieceSize);
  } finally {
    endReading(slice);
  }
}
