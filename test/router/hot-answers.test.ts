import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type HotAnswer, HotAnswers } from '../../router/hot-answers.ts';
import { keyHash32OfLatin1 } from '../../shared/key-hash.ts';

/** As the engine does at each look-up that the cache could not answer. */
function put(hot: HotAnswers, version: string, key: string, answer: HotAnswer): void {
  const reply = answer === null ? null : Buffer.from(`before${answer}behind`, 'latin1');
  hot.meet(version, key, keyHash32OfLatin1(key), reply, 'before'.length, 'before'.length + (answer?.length ?? 0));
}

function putTwice(hot: HotAnswers, version: string, key: string, answer: HotAnswer): void {
  put(hot, version, key, answer);
  put(hot, version, key, answer);
}

const anyKey = fc.nat(40).map((n) => `key ${n}`);
const anyAnswer = fc.oneof(fc.constant(null), fc.string({ maxLength: 200 }));
const anyStep = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), version: fc.constantFrom('old', 'new'), key: anyKey, answer: anyAnswer }),
  fc.record({ kind: fc.constant('find' as const), version: fc.constantFrom('old', 'new'), key: anyKey, answer: fc.constant(null) }),
  fc.record({ kind: fc.constant('serve' as const), version: fc.constantFrom('old', 'new'), key: anyKey, answer: fc.constant(null) }),
);

describe('the cache of hot answers', () => {
  test('finds nothing but what a plain Map of the same version has, within its size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.array(anyStep, { maxLength: 300 }), (sizeMax, steps) => {
        const hot = new HotAnswers(sizeMax);
        hot.serve('old');
        let served = 'old';
        let model = new Map<string, HotAnswer>();
        for (const { kind, version, key, answer } of steps) {
          if (kind === 'serve' && version !== served) {
            model = new Map();
            served = version;
          }
          if (kind === 'serve') hot.serve(version);
          if (kind === 'put') put(hot, version, key, answer);
          // What is there stays: a version's answer does not change.
          if (kind === 'put' && version === served && hot.find(version, key) === answer) model.set(key, answer);
          const found = hot.find(version, key);
          if (found !== undefined) expect([version, found]).toEqual([served, model.get(key)]);
          expect(hot.size).toBeLessThanOrEqual(sizeMax);
        }
      }),
    );
  });

  test('keeps what is asked for again, and lets go of what is not', () => {
    const hot = new HotAnswers(64 * 1024);
    hot.serve('v');
    putTwice(hot, 'v', 'hot', 'value');
    for (let i = 0; i < 10_000; i++) {
      putTwice(hot, 'v', `cold ${i}`, 'value');
      if (i % 20 === 0) expect(hot.find('v', 'hot')).toBe('value');
    }
    expect(hot.find('v', 'cold 0')).toBeUndefined();
    expect(hot.entryCount).toBeGreaterThan(100);
  });

  test('takes in what is asked for twice, not what is asked for once', () => {
    const hot = new HotAnswers(64 * 1024);
    hot.serve('v');
    put(hot, 'v', 'key', 'value');
    expect(hot.find('v', 'key')).toBeUndefined();
    put(hot, 'v', 'key', 'value');
    expect(hot.find('v', 'key')).toBe('value');
    for (let i = 0; i < 1_000; i++) put(hot, 'v', `once ${i}`, 'value');
    expect(hot.entryCount).toBe(1);
  });

  test('of size 0 keeps nothing', () => {
    const hot = new HotAnswers(0);
    hot.serve('v');
    putTwice(hot, 'v', 'key', 'value');
    expect([hot.isOn, hot.find('v', 'key'), hot.entryCount]).toEqual([false, undefined, 0]);
  });
});
