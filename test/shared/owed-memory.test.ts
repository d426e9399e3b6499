// What answers that are due take, by pieces of memory.

import { expect, test } from 'vitest';
import { owedSizeMaxFor } from '../../router/admission.ts';
import { limits } from '../../shared/limits.ts';
import { OwedMemory } from '../../shared/owed-memory.ts';

const KiB = 2 ** 10;
const GiB = 2 ** 30;

test('a piece counts once, however many hold it, until the last has dropped it', () => {
  const owed = new OwedMemory();
  const [a, b] = [new ArrayBuffer(100 * KiB), new ArrayBuffer(20 * KiB)];
  for (const memory of [a, b, a]) owed.hold(memory);
  expect(owed.size).toBe(120 * KiB);
  owed.drop(a);
  expect(owed.size).toBe(120 * KiB);
  owed.drop(a);
  expect(owed.size).toBe(20 * KiB);
  owed.drop(b);
  expect(owed.report()).toEqual({ bytes: 0, bytesMax: Number.POSITIVE_INFINITY, stalled: 0 });
});

test('a quarter is kept for small answers; what is held already needs no room', () => {
  const owed = new OwedMemory(1_000 * KiB);
  const large = new ArrayBuffer(700 * KiB);
  expect(owed.hasRoomFor(large)).toBe(true);
  owed.hold(large);
  expect([owed.hasRoomFor(large), owed.hasRoomFor({ byteLength: 51 * KiB }), owed.hasRoomFor({ byteLength: 50 * KiB })]).toEqual([
    true,
    false,
    true,
  ]);
  owed.hold({ byteLength: 100 * KiB });
  expect([owed.isFullForLarge, owed.isFull]).toEqual([true, false]);
  owed.hold({ byteLength: 200 * KiB });
  expect(owed.isFull).toBe(true);
});

test('small pieces are not counted', () => {
  const owed = new OwedMemory();
  const small = new ArrayBuffer(limits.owedPieceMin - 1);
  owed.hold(small);
  expect(owed.size).toBe(0);
  owed.drop(small);
  expect(owed.size).toBe(0);
});

test('a router takes a share of the memory that there is, and its workers share that', () => {
  expect(owedSizeMaxFor(64 * GiB, 4)).toBe(limits.owedSizeMax);
  expect(owedSizeMaxFor(1 * GiB, 1)).toBe(GiB / 4);
  expect(owedSizeMaxFor(4 * GiB, 4)).toBe(GiB / 4);
  expect(owedSizeMaxFor(100 * 2 ** 20, 1)).toBe(limits.owedSizeMin);
});
