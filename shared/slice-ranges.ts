// A set of slice indices as it travels in a report: ascending ranges `[first, last]`, both inclusive.

export type SliceRanges = readonly (readonly [number, number])[];

/** The ranges of the indices for which `has` is true. */
export function rangesOf(sliceCount: number, has: (sliceIndex: number) => boolean): SliceRanges {
  const ranges: [number, number][] = [];
  for (let i = 0; i < sliceCount; i++) {
    if (!has(i)) continue;
    const last = ranges.at(-1);
    if (last && last[1] === i - 1) last[1] = i;
    else ranges.push([i, i]);
  }
  return ranges;
}

/** Calls `each` for every index of the ranges, ascending. */
export function forEachSlice(ranges: SliceRanges, each: (sliceIndex: number) => void): void {
  for (const [first, last] of ranges) {
    for (let i = first; i <= last; i++) each(i);
  }
}

/** How many indices the ranges hold. */
export function countSlices(ranges: SliceRanges): number {
  return ranges.reduce((count, [first, last]) => count + last - first + 1, 0);
}

export function includesSlice(ranges: SliceRanges, sliceIndex: number): boolean {
  return ranges.some(([first, last]) => first <= sliceIndex && sliceIndex <= last);
}

/** Checks ranges from a stranger: ascending, apart, below `sliceCount`. Undefined when they are not. */
export function readRanges(value: unknown, sliceCount: number): SliceRanges | undefined {
  if (!Array.isArray(value)) return undefined;
  let next = 0;
  for (const range of value) {
    if (!Array.isArray(range) || range.length !== 2) return undefined;
    const [first, last] = range as unknown[];
    if (!Number.isInteger(first) || !Number.isInteger(last)) return undefined;
    if ((first as number) < next || (last as number) < (first as number) || (last as number) >= sliceCount) return undefined;
    next = (last as number) + 1;
  }
  return value as SliceRanges;
}
