// What of the input is read: all of it, or the share of one part of several. The inputs are taken as one stretch of bytes, one behind
// the other, which is cut into equal parts; a line belongs to the part in which it starts. A compressed file cannot be cut: it
// goes whole to the part in which it starts. So the parts, one after the other, are the order of the input.

import { type Input, isPlainFile } from './input.ts';

/** Bytes `start` (inclusive) to `end` (exclusive) of an input; all of it, where it is read as a stream. */
export type InputShare = { readonly inputIndex: number; readonly start: number; readonly end: number };

/** Part `index` of `count`, from 0. */
export type Part = { readonly index: number; readonly count: number };

export function wholeOf(inputs: readonly Pick<Input, 'size'>[]): InputShare[] {
  return inputs.map(({ size }, inputIndex) => ({ inputIndex, start: 0, end: size ?? 0 }));
}

/** The share of a part; the sizes of all inputs must be known. */
export function shareOf(inputs: readonly Pick<Input, 'size' | 'compression'>[], { index, count }: Part): InputShare[] {
  const totalSize = inputs.reduce((sum, { size }) => sum + size!, 0);
  const partStart = Math.floor((totalSize * index) / count);
  // What starts at the very end, an empty file, is the last part's.
  const partEnd = index === count - 1 ? totalSize + 1 : Math.floor((totalSize * (index + 1)) / count);
  const shares: InputShare[] = [];
  let offset = 0;
  for (const [inputIndex, input] of inputs.entries()) {
    const size = input.size!;
    const start = Math.max(0, partStart - offset);
    const end = Math.min(size, partEnd - offset);
    if (isPlainFile(input)) {
      if (start < end) shares.push({ inputIndex, start, end });
    } else if (partStart <= offset && offset < partEnd) {
      shares.push({ inputIndex, start: 0, end: size });
    }
    offset += size;
  }
  return shares;
}
