import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseHolder, type Holder } from '../../router/holder-choice.ts';
import { limits } from '../../shared/limits.ts';

const holder = (load: number, options: Partial<Holder> = {}): Holder => ({ load, isAvoided: false, isGone: false, ...options });

test('the least loaded holder is asked, the preferred one among equals', () => {
  const [a, b, c] = [holder(3), holder(2), holder(2)];
  expect(chooseHolder([a, b, c], undefined, undefined)).toBe(b);
});

test('one that is asked anyway comes before an idle one, until it has enough to do', () => {
  const [idle, busy] = [holder(0), holder(limits.batchAffinityKeys - 1)];
  expect(chooseHolder([idle, busy], undefined, undefined)).toBe(busy);
  expect(chooseHolder([idle, holder(limits.batchAffinityKeys)], undefined, undefined)).toBe(idle);
});

test('one that is ejected is asked only when nobody else is there', () => {
  const [a, b] = [holder(0, { isAvoided: true }), holder(5_000)];
  expect(chooseHolder([a, b], undefined, undefined)).toBe(b);
  expect(chooseHolder([a, b], b, undefined)).toBe(a);
  expect(chooseHolder([a], undefined, undefined)).toBe(a);
});

test('nobody is asked when all are gone or were asked already', () => {
  const [a, b, c] = [holder(0), holder(0), holder(0, { isAvoided: true, isGone: true })];
  expect(chooseHolder([a, b, c], a, b)).toBeUndefined();
  expect(chooseHolder([], undefined, undefined)).toBeUndefined();
});

test('whatever the holders are like, somebody is asked as long as one is neither gone nor asked, and the best one of these', () => {
  const anyHolder = fc.record({ load: fc.nat(100_000), isAvoided: fc.boolean(), isGone: fc.boolean() });
  fc.assert(
    fc.property(fc.array(anyHolder, { maxLength: 5 }), fc.nat(5), fc.nat(5), (holders, i, j) => {
      const chosen = chooseHolder(holders, holders[i], holders[j]);
      const fit = holders.filter((each) => !each.isGone && each !== holders[i] && each !== holders[j]);
      expect(chosen !== undefined).toBe(fit.length > 0);
      if (chosen?.isAvoided) expect(fit.every(({ isAvoided }) => isAvoided)).toBe(true);
    }),
  );
});
