import { expect, test } from 'vitest';
import { HealQueue } from '../../shard/heal-queue.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';

const version = {};
const at = (sliceIndex: number) => ({ version, sliceIndex: sliceIndex as SliceIndex, kind: 'slice', reason: 'test' }) as const;

test('what is found is due at once, the longest waiting first', () => {
  const queue = new HealQueue<object>();
  expect([queue.next(0), queue.delayMs(0)]).toEqual([undefined, undefined]);
  queue.add(at(1), 10);
  queue.add(at(2), 5);
  expect([queue.next(4), queue.delayMs(4)]).toEqual([undefined, 1]);
  expect(queue.next(20)).toMatchObject({ sliceIndex: 2 });
});

test('a slice ails once; what is corrupt counts for its file too, and a file that was damaged can become worse', () => {
  const queue = new HealQueue<object>();
  expect(queue.add({ ...at(1), kind: 'file' }, 0)).toBe(true);
  expect(queue.add({ ...at(1), kind: 'file' }, 0)).toBe(false);
  expect(queue.add(at(1), 0)).toBe(true);
  expect(queue.add(at(1), 0)).toBe(false);
  expect(queue.add({ ...at(1), kind: 'file' }, 0)).toBe(false);
  expect(queue.ailments).toMatchObject([{ sliceIndex: 1, kind: 'slice' }]);
  expect(queue.add({ ...at(1), version: {} }, 0)).toBe(true);
});

test('a failure doubles the delay up to its bound; a busy source costs hardly any', () => {
  const queue = new HealQueue<object>();
  queue.add(at(1), 0);
  const delays: number[] = [];
  for (let nowMs = 0, i = 0; i < 8; i++) {
    queue.failed(queue.next(nowMs)!, { nowMs, isBusy: false, fileSeen: undefined });
    delays.push(queue.delayMs(nowMs)!);
    nowMs += delays.at(-1)!;
  }
  expect(delays).toEqual([1, 2, 4, 8, 16, 30, 30, 30].map((seconds) => 1_000 * seconds));
  const busy = new HealQueue<object>();
  busy.add(at(1), 0);
  busy.failed(busy.next(0)!, { nowMs: 0, isBusy: true, fileSeen: undefined });
  expect([busy.delayMs(0), busy.ailments[0]!.failures]).toEqual([limits.fetchBusyDelayMs, 0]);
});

test('what was healed shortly before is not due at once', () => {
  const queue = new HealQueue<object>();
  queue.add(at(1), 0, 2);
  expect([queue.next(0), queue.delayMs(0)]).toEqual([undefined, 2_000]);
});

test('what was taken out meanwhile does not come back by its failure', () => {
  const queue = new HealQueue<object>();
  queue.add(at(1), 0);
  const ailment = queue.next(0)!;
  expect([queue.remove(ailment), queue.remove(ailment)]).toEqual([true, false]);
  queue.failed(ailment, { nowMs: 0, isBusy: false, fileSeen: undefined });
  expect(queue.ailments).toEqual([]);
});
