// From a key to its slice and its bucket: murmur3_x86_32 with seed 0 over the key's bytes.
//
//     hash (32 bits)   ssss ssss bbbb bbbb bbbb .... .... ....
//                      slice     bucket         the rest
//
// A slice is therefore a range of the hash space, and so is a bucket in it.
// Source: Austin Appleby, MurmurHash3.cpp (public domain), x86_32 variant; vectors in test/shared/key-hash.test.ts.
// Plain TypeScript: the call into a native hash costs more than this one does for a key of usual length.

/** Stands in every manifest and slice header; another hash would be another format. */
export const keyHashName = 'murmur3_x86_32';

declare const sliceIndexBrand: unique symbol;
/** The number of a slice, 0 to slice count - 1: not to be mixed up with a bucket or a position. */
export type SliceIndex = number & { readonly [sliceIndexBrand]: true };

const c1 = 0xcc9e2d51;
const c2 = 0x1b873593;

/** The unsigned 32-bit hash of `bytes` from `start` (inclusive) to `end` (exclusive). About 25 ns for 36 bytes. */
export function keyHash32(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let h = 0;
  const blocksEnd = end - ((end - start) & 3);
  let i = start;
  for (; i < blocksEnd; i += 4) {
    // In bounds: i + 3 < blocksEnd <= end <= bytes.length.
    h = mixBlock(h, bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
  }
  let tail = 0;
  if (end - i === 3) tail = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16);
  else if (end - i === 2) tail = bytes[i]! | (bytes[i + 1]! << 8);
  else if (end - i === 1) tail = bytes[i]!;
  return finish(h, tail, end - start);
}

/** The same hash of a latin1 string, one character a byte, as keys travel in the router. Characters above 0xFF are the caller's bug. */
export function keyHash32OfLatin1(key: string): number {
  let h = 0;
  const end = key.length;
  const blocksEnd = end - (end & 3);
  let i = 0;
  for (; i < blocksEnd; i += 4) {
    h = mixBlock(h, key.charCodeAt(i) | (key.charCodeAt(i + 1) << 8) | (key.charCodeAt(i + 2) << 16) | (key.charCodeAt(i + 3) << 24));
  }
  let tail = 0;
  if (end - i === 3) tail = key.charCodeAt(i) | (key.charCodeAt(i + 1) << 8) | (key.charCodeAt(i + 2) << 16);
  else if (end - i === 2) tail = key.charCodeAt(i) | (key.charCodeAt(i + 1) << 8);
  else if (end - i === 1) tail = key.charCodeAt(i);
  return finish(h, tail, end);
}

/** The top `sliceBits` bits of the hash. */
export function sliceIndexOf(hash: number, sliceBits: number): SliceIndex {
  // A shift by 32 is a shift by 0 in JavaScript: no bits is a case of its own.
  return (sliceBits === 0 ? 0 : hash >>> (32 - sliceBits)) as SliceIndex;
}

/** The `bucketBits` bits of the hash below its slice bits. */
export function bucketIndexOf(hash: number, sliceBits: number, bucketBits: number): number {
  return bucketBits === 0 ? 0 : (hash << sliceBits) >>> (32 - bucketBits);
}

/** n for 2^n. */
export function bitsOf(powerOfTwo: number): number {
  return 31 - Math.clz32(powerOfTwo);
}

export function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(n) && n > 0 && n <= 2 ** 31 && 2 ** bitsOf(n) === n;
}

function mixBlock(h: number, block: number): number {
  let k = Math.imul(block, c1);
  k = (k << 15) | (k >>> 17);
  const mixed = h ^ Math.imul(k, c2);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(h: number, tail: number, length: number): number {
  let k = Math.imul(tail, c1);
  k = (k << 15) | (k >>> 17);
  let mixed = h ^ Math.imul(k, c2) ^ length;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
