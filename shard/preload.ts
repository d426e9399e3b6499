// Fills a record cache at the start, a few records at a turn, so that requests are answered meanwhile.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { keyHash32 } from '../shared/key-hash.ts';
import { readRecordPlace } from '../shared/slice-layout.ts';
import { findHeat, type HotKeys } from './hot-keys.ts';
import type { RecordCache } from './record-cache.ts';

/** About a millisecond's worth. */
const recordsATurn = 1_000;

/** Puts all records of `records`, one after the other as they stand in a slice, into the cache as far as there is room; as hot as `hotKeys` says. */
export async function preloadRecords(cache: RecordCache, lane: number, records: Buffer, hotKeys: HotKeys | undefined): Promise<void> {
  let count = 0;
  let from = 0;
  for (let at = 0; at < records.length; ) {
    const place = readRecordPlace(records, at, records.length);
    if (!place) return;
    const { keyStart, valueStart, end } = place;
    const hash = keyHash32(records, keyStart, valueStart);
    const { at: found, heat } = hotKeys ? findHeat(hotKeys, hash, from) : { at: 0, heat: undefined };
    from = found;
    cache.preload(hash, records, keyStart, valueStart, end, { heat, lane });
    at = end;
    if (++count % recordsATurn === 0) await nextTurn();
  }
}
