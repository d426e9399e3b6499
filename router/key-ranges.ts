// The keys of one request as ranges of bytes: nothing is made for a key, and the hash, the batch and the answer read it where it is.

import { asWordBuffer, type WordBuffer } from '../shared/word-copy.ts';

export type KeyRanges = {
  /** Key i is from `starts[i]` to `ends[i]`. */
  readonly source: WordBuffer;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
};

/** Of keys as latin1 strings, one character a byte. */
export function packKeys(keys: readonly string[]): KeyRanges {
  const source = Buffer.from(keys.join(''), 'latin1');
  const starts: number[] = [];
  const ends: number[] = [];
  let at = 0;
  for (const { length } of keys) {
    starts.push(at);
    at += length;
    ends.push(at);
  }
  return { source: asWordBuffer(source), starts, ends };
}

/** Key i as a latin1 string. */
export function keyOf({ source, starts, ends }: KeyRanges, i: number): string {
  return source.bytes.toString('latin1', starts[i], ends[i]);
}
