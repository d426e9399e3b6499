import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WaitingKeys } from '../../router/waiting-keys.ts';
import { limits } from '../../shared/limits.ts';

type Key = {
  readonly id: number;
  readonly isBulk: boolean;
  readonly keyCount: number;
  isSettled: boolean;
  readonly version: { readonly id: string };
  readonly wheelDueTick: number;
};

const versions = [{ id: 'x' }, { id: 'y' }] as const;
const keysOf = (count: number, isBulk: boolean, version: { id: string } = versions[0]): Key[] =>
  Array.from({ length: count }, (_, id) => ({ id, isBulk, keyCount: 1, isSettled: false, version, wheelDueTick: id }));

function queueOf(...keys: readonly Key[]): WaitingKeys<Key> {
  const queue = new WaitingKeys<Key>();
  for (const key of keys) queue.push(key);
  return queue;
}

const anyGet = keysOf(1, false)[0]!;
const anyBulk = keysOf(1, true)[0]!;

describe('keys that wait for one member', () => {
  test('single GETs go into the next batch, whatever waits of /mgets', () => {
    const queue = queueOf(...keysOf(5_000, true), ...keysOf(10, false));
    const batch = queue.takeBatch({ withBulk: true });
    expect(batch).toHaveLength(limits.batchKeysMax);
    expect(batch.slice(0, 10).every(({ isBulk }) => !isBulk)).toBe(true);
    expect(queue.singleCount).toBe(0);
  });

  test('/mgets keep a part of each batch, however many GETs wait', () => {
    const queue = queueOf(...keysOf(5_000, true), ...keysOf(5_000, false));
    const batch = queue.takeBatch({ withBulk: true });
    expect(batch).toHaveLength(limits.batchKeysMax);
    expect(batch.filter(({ isBulk }) => isBulk)).toHaveLength(limits.bulkBatchKeysMin);
  });

  test('a batch without /mgets has none', () => {
    const queue = queueOf(...keysOf(50, true), ...keysOf(3, false));
    expect(queue.takeBatch({ withBulk: false })).toHaveLength(3);
    expect(queue.takeBatch({ withBulk: false })).toEqual([]);
    expect(queue.count).toBe(50);
  });

  test('/mgets find no room beyond their share, and a GET still does', () => {
    const queue = queueOf(...keysOf(limits.memberQueueMax * limits.bulkQueueShare, true));
    expect([queue.isFullFor(anyBulk, 0), queue.isFullFor(anyGet, 0)]).toEqual([true, false]);
    for (const key of keysOf(limits.memberQueueMax * (1 - limits.bulkQueueShare), false)) queue.push(key);
    expect(queue.isFullFor(anyGet, 99)).toBe(true);
  });

  test('what was answered meanwhile makes room, and is looked for once a tick', () => {
    const keys = keysOf(limits.memberQueueMax, false);
    const queue = queueOf(...keys);
    expect(queue.isFullFor(anyGet, 0)).toBe(true);
    keys[7]!.isSettled = true;
    expect(queue.isFullFor(anyGet, 0)).toBe(true);
    expect(queue.isFullFor(anyGet, 1)).toBe(false);
    expect(queue.count).toBe(limits.memberQueueMax - 1);
  });

  test('each leaves exactly once, in the order of its kind, never two versions in a batch', () => {
    const anyPart = fc.record({
      isBulk: fc.constant(true),
      keyCount: fc.integer({ min: 1, max: limits.bulkBatchKeysMin }),
      isSettled: fc.boolean(),
      version: fc.constantFrom(...versions),
    });
    const anyOne = fc.record({
      isBulk: fc.boolean(),
      keyCount: fc.constant(1),
      isSettled: fc.boolean(),
      version: fc.constantFrom(...versions),
    });
    const anyKey = fc.oneof({ weight: 4, arbitrary: anyOne }, anyPart);
    const anyStep = fc.oneof(fc.array(anyKey, { maxLength: 400 }), fc.boolean());
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 20 }), (steps) => {
        const queue = new WaitingKeys<Key>();
        const waiting = { single: [] as number[], bulk: [] as number[] };
        let count = 0;
        const check = (batch: readonly Key[]): void => {
          expect(batch.reduce((sum, { keyCount }) => sum + keyCount, 0)).toBeLessThanOrEqual(limits.batchKeysMax);
          expect(new Set(batch.map(({ version }) => version.id)).size).toBeLessThanOrEqual(1);
          for (const { id, isBulk } of batch) expect((isBulk ? waiting.bulk : waiting.single).shift()).toBe(id);
        };
        for (const step of steps) {
          if (typeof step === 'boolean') {
            check(queue.takeBatch({ withBulk: step }));
            continue;
          }
          for (const key of step) {
            queue.push({ id: count, wheelDueTick: count, ...key });
            if (!key.isSettled) (key.isBulk ? waiting.bulk : waiting.single).push(count);
            count++;
          }
        }
        while (queue.count > 0) check(queue.takeBatch({ withBulk: true }));
        expect(waiting).toEqual({ single: [], bulk: [] });
      }),
    );
  });
});
