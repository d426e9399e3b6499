// Random look-ups in a shard's memory, by batches as routers send them: what a key costs from the bytes of the request to the bytes of the
// reply, without a socket. Beside it a JavaScript `Map` of the same records, as far as it can hold them: strings to strings, what one would write
// without Pavostore, asked from the bytes of the same requests, since a key that has just come from a socket is no string whose hash is known. Costs are CPU time of this thread; every round asks for the same half a million keys, uniform over all records, far more than a processor's cache holds; the values of one batch a round are compared.

import { recordOf } from '../deploy/generate/records.ts';
import { answerBatch, noAnswers } from '../shard/batch-answer.ts';
import { HeldVersion } from '../shard/held-version.ts';
import { batchStatus, encodeBatchRequest, readBatchReply, readBatchRequest } from '../shared/batch-wire.ts';
import { loadSlice, readManifest, slicePath, versionPath } from '../shared/data-set.ts';
import type { SliceIndex } from '../shared/key-hash.ts';
import { bodyOf, giveBuffer } from '../shared/outgoing.ts';
import { makeData, seed } from './bench-cluster.ts';
import { median } from './statistics.ts';
import { inTemporaryFolder } from './temporary-folder.ts';
import { randomNumbers } from './zipf.ts';

export type LookUpBenchOptions = { readonly entries: number; readonly rounds: number; readonly log: (line: string) => void };

/** Look-ups a second of one core; medians. */
export type LookUpBenchResult = {
  readonly entries: number;
  readonly batchKeys: number;
  readonly perSecond: number;
  /** Undefined where the records are more than a `Map` can hold. */
  readonly mapPerSecond: number | undefined;
  readonly valuesChecked: number;
};

const valueSize = 90;
const batchKeys = 256;
const batchesPerRound = 2_000;
/** 20 requests are 200 KB. */
const requestsAtOnce = 20;
const mapEntriesMax = 16_000_000;

export async function benchLookUp({ entries, rounds, log }: LookUpBenchOptions): Promise<LookUpBenchResult> {
  const version = await loadAll(entries);
  const random = randomNumbers(seed);
  const indices = Array.from({ length: batchesPerRound }, () => Array.from({ length: batchKeys }, () => Math.floor(random() * entries)));
  const keys = indices.map((batch) => batch.map((i) => recordOf(seed, i, valueSize).key));
  const timed: number[] = [];
  let valuesChecked = 0;
  for (let round = 0; round < rounds; round++) {
    valuesChecked += check(version, keys[round]!, indices[round]!);
    timed.push(lookUpAll(version, keys));
    log(`look-up: round ${round + 1} of ${rounds}: ${format(timed.at(-1)!)} a second`);
  }
  // No shard has a map of gigabytes on its heap.
  const map = entries <= mapEntriesMax ? makeMap(entries) : undefined;
  const mapTimed: number[] = [];
  for (let round = 0; map && round < rounds; round++) {
    mapTimed.push(lookUpInMap(map, version.idBytes, keys));
    log(`look-up: a Map, round ${round + 1} of ${rounds}: ${format(mapTimed.at(-1)!)} a second`);
  }
  return { entries, batchKeys, perSecond: median(timed), mapPerSecond: map && median(mapTimed), valuesChecked };
}

function loadAll(entries: number): Promise<HeldVersion> {
  return inTemporaryFolder(async (folder) => {
    const { id } = await makeData({ entries, valueSize, dataDir: folder });
    const manifest = await readManifest(folder, id);
    const version = new HeldVersion(manifest, 1);
    const { sliceCount, slices } = manifest.identity;
    for (const [i, expected] of slices.entries()) {
      const path = slicePath(versionPath(folder, id), i);
      version.keep(i as SliceIndex, await loadSlice(path, i, sliceCount, expected, 'shared'));
    }
    return version;
  });
}

function makeMap(entries: number): Map<string, string> {
  const map = new Map<string, string>();
  for (let i = 0; i < entries; i++) {
    const { key, value } = recordOf(seed, i, valueSize);
    map.set(key, value);
  }
  return map;
}

/** Look-ups a second, the reading of each request included, which lies in the processor's cache as when it has just come from a socket. */
function lookUpAll(version: HeldVersion, keys: readonly (readonly string[])[]): number {
  const counts = noAnswers();
  let micros = 0;
  for (let from = 0; from < keys.length; from += requestsAtOnce) {
    const requests = keys.slice(from, from + requestsAtOnce).map((batch) => encodeBatchRequest(version.idBytes, asLookups(batch)));
    micros += microsOf(() => {
      for (const request of requests) giveBuffer(answerBatch(version, readBatchRequest(request)!, counts).buffer);
    });
  }
  if (counts.found !== batchesPerRound * batchKeys) throw new Error(`${counts.found} keys found of ${batchesPerRound * batchKeys}`);
  return (1e6 * counts.found) / micros;
}

/** The same from the bytes of a key to the characters of its value; no reply is written. */
function lookUpInMap(map: ReadonlyMap<string, string>, idBytes: Buffer, keys: readonly (readonly string[])[]): number {
  let size = 0;
  let micros = 0;
  for (let from = 0; from < keys.length; from += requestsAtOnce) {
    const requests = keys.slice(from, from + requestsAtOnce).map((batch) => encodeBatchRequest(idBytes, asLookups(batch)));
    micros += microsOf(() => {
      for (const request of requests) {
        const { bytes, keyStarts, count } = readBatchRequest(request)!;
        for (let i = 0; i < count; i++) size += map.get(bytes.toString('latin1', keyStarts[i], keyStarts[i + 1]! - 2))!.length;
      }
    });
  }
  if (size === 0) throw new Error('the map found nothing');
  return (1e6 * batchesPerRound * batchKeys) / micros;
}

/** Of this thread alone: what the collector does in others is left over from the making of the keys. */
function microsOf(lookUp: () => void): number {
  const before = process.threadCpuUsage();
  lookUp();
  const { user, system } = process.threadCpuUsage(before);
  return user + system;
}

/** How many values were compared; throws at the first that is wrong. */
function check(version: HeldVersion, keys: readonly string[], indices: readonly number[]): number {
  const request = readBatchRequest(encodeBatchRequest(version.idBytes, asLookups(keys)))!;
  const reply = bodyOf(answerBatch(version, request, noAnswers()));
  let checked = 0;
  readBatchReply(reply, (i, status, start, end) => {
    const { value } = recordOf(seed, indices[i]!, valueSize);
    if (status !== batchStatus.found || reply.toString('latin1', start, end) !== value) throw new Error(`${keys[i]}: status ${status}`);
    checked++;
  });
  return checked;
}

const asLookups = (keys: readonly string[]): { readonly key: string }[] => keys.map((key) => ({ key }));

const format = (perSecond: number): string => `${(perSecond / 1e6).toFixed(2)} M`;
