// Unsigned LEB128 numbers below 2^28, as they stand before each record: seven bits a byte, low first.

/** How many bytes `writeVarint` takes for `n`, 1 to 4. */
export function varintSize(n: number): number {
  return n < 0x80 ? 1 : n < 0x4000 ? 2 : n < 0x200000 ? 3 : 4;
}

/** Writes `n` (0 to 2^28 - 1) at `at`; returns the offset after it. */
export function writeVarint(target: Uint8Array, at: number, n: number): number {
  let rest = n;
  let end = at;
  while (rest >= 0x80) {
    target[end++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[end++] = rest;
  return end;
}

/**
 * Reads the number at `at`, not beyond `end` (exclusive). Returns -1 when it is cut off, longer than four
 * bytes, or not in its shortest form; its size is `varintSize` of what it returns.
 */
export function readVarint(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end) return -1;
  const first = bytes[at]!;
  if (first < 0x80) return first;
  let n = first & 0x7f;
  for (let i = 1; i < 4; i++) {
    if (at + i >= end) return -1;
    const byte = bytes[at + i]!;
    n |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return byte === 0 ? -1 : n;
  }
  return -1;
}
