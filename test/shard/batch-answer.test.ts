import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { answerBatch, noAnswers } from '../../shard/batch-answer.ts';
import { HeldVersion } from '../../shard/held-version.ts';
import {
  type BatchStatus,
  batchStatus,
  encodeBatchRequest,
  isBatchReply,
  readBatchReply,
  readBatchRequest,
} from '../../shared/batch-wire.ts';
import { keyHash32OfLatin1, type SliceIndex, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { bodyOf } from '../../shared/outgoing.ts';
import { readSlice } from '../../shared/slice-layout.ts';
import { encodeRecords, type Records } from '../data-sets.ts';

const sliceBits = 3;
const sliceCount = 2 ** sliceBits;
type State = 'kept' | 'loading' | 'corrupt' | 'absent';

function holdVersion(records: Records, states: readonly State[] = []): HeldVersion {
  const { manifest, files } = encodeRecords(records, sliceCount);
  const version = new HeldVersion(manifest, 1);
  for (const [i, file] of files.entries()) {
    const sliceIndex = i as SliceIndex;
    const state = states[i] ?? 'kept';
    if (state === 'kept') version.keep(sliceIndex, readSlice(file, `slice ${i}`));
    else if (state === 'loading') version.markLoading(sliceIndex);
    else if (state === 'corrupt') version.markCorrupt(sliceIndex);
  }
  return version;
}

type KeyAnswer = { readonly status: BatchStatus; readonly value: Buffer };

function answer(version: HeldVersion | undefined, idBytes: Buffer, keys: readonly string[]): { answers: KeyAnswer[]; size: number } {
  const request = encodeBatchRequest(
    idBytes,
    keys.map((key) => ({ key })),
  );
  const reply = bodyOf(answerBatch(version, readBatchRequest(request)!, noAnswers()));
  expect(isBatchReply(reply, idBytes, keys.length)).toBe(true);
  const answers: KeyAnswer[] = [];
  readBatchReply(reply, (_i, status, start, end) => answers.push({ status, value: reply.subarray(start, end) }));
  return { answers, size: reply.length };
}

const anyKey = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'k'.repeat(limits.keySizeMax), '\0', ' '),
);
const anyValue = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const anyRecords = fc.array(fc.tuple(anyKey, anyValue), { maxLength: 60 }).map((list) => new Map(list));
const anyStates = fc.array(fc.constantFrom<State>('kept', 'kept', 'loading', 'corrupt', 'absent'), {
  minLength: sliceCount,
  maxLength: sliceCount,
});

describe('a batch', () => {
  test('is answered as a plain Map would be, where the slice is kept', () => {
    fc.assert(
      fc.property(anyRecords, anyStates, fc.array(anyKey, { maxLength: 20 }), (records, states, others) => {
        const version = holdVersion(records, states);
        const keys = [...records.keys(), ...others, ...others].slice(0, limits.batchKeysMax);
        if (keys.length === 0) return;
        const { answers } = answer(version, version.idBytes, keys);
        for (const [i, key] of keys.entries()) {
          const state = states[sliceIndexOf(keyHash32OfLatin1(key), sliceBits)]!;
          const value = records.get(key);
          const expected = state === 'kept' ? (value ? 'found' : 'missing') : state === 'absent' ? 'notHeld' : state;
          expect(answers[i]!.status).toBe(batchStatus[expected]);
          if (expected === 'found') expect(answers[i]!.value.equals(value!)).toBe(true);
        }
      }),
    );
  });

  test('of a version that is not here holds nothing, and misses nothing', () => {
    const { answers } = answer(undefined, Buffer.alloc(16, 7), ['a', 'b']);
    expect(answers.map(({ status }) => status)).toEqual([batchStatus.notHeld, batchStatus.notHeld]);
  });

  test('defers what finds no room, never the first value, and ends when it is asked again', () => {
    const anySizes = fc.array(
      fc.oneof(fc.integer({ min: 0, max: 3_000_000 }), fc.constantFrom(0, limits.batchReplySizeMax, limits.valueSizeMax)),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    fc.assert(
      fc.property(anySizes, (sizes) => {
        const records = new Map(sizes.map((size, i) => [`key ${i}`, Buffer.alloc(size, i + 1)]));
        const version = holdVersion(records);
        let left = [...records.keys(), 'nobody'];
        for (let round = 0; left.length > 0; round++) {
          expect(round).toBeLessThanOrEqual(sizes.length);
          const { answers, size } = answer(version, version.idBytes, left);
          const found = left.filter((_, i) => answers[i]!.status === batchStatus.found);
          if (found.length > 1) expect(size).toBeLessThanOrEqual(limits.batchReplySizeMax);
          for (const [i, key] of left.entries()) {
            if (answers[i]!.status === batchStatus.found) expect(answers[i]!.value.equals(records.get(key)!)).toBe(true);
            else expect(answers[i]!.status).toBe(key === 'nobody' ? batchStatus.missing : batchStatus.deferred);
          }
          left = left.filter((_, i) => answers[i]!.status === batchStatus.deferred);
        }
      }),
      { numRuns: 12 },
    );
  });

  test('counts its answers', () => {
    const version = holdVersion(new Map([['a', Buffer.from('1')]]));
    const counts = noAnswers();
    const request = encodeBatchRequest(version.idBytes, [{ key: 'a' }, { key: 'b' }, { key: 'a' }]);
    answerBatch(version, readBatchRequest(request)!, counts);
    answerBatch(undefined, readBatchRequest(request)!, counts);
    expect(counts).toEqual({ found: 2, missing: 1, notHeld: 3, loading: 0, corrupt: 0, deferred: 0 });
  });
});
