// The CRC-32 of two stretches of bytes that follow each other, from the CRC of each: so that a section made of buckets
// needs no second reading. A CRC is a polynomial over GF(2) modulo P, the highest power in the lowest bit; appending n
// bytes multiplies it by x^(8n).
//
// Source: Mark Adler, `crc32_combine` of zlib 1.2.12.

const polynomial = 0xedb88320;
const one = 0x80000000;

/** x^(8n) for n from 0, beyond the length of a usual bucket. */
const powers = new Uint32Array(4096);
/** x^(8 * 4096 * 2^k): for longer stretches. */
const largePowers = new Uint32Array(20);

powers[0] = one;
for (let n = 1; n < powers.length; n++) powers[n] = appendByte(powers[n - 1]!);
largePowers[0] = appendByte(powers.at(-1)!);
for (let k = 1; k < largePowers.length; k++) largePowers[k] = multiply(largePowers[k - 1]!, largePowers[k - 1]!);

/** The CRC-32 of a stretch with CRC `first`, followed by one of `secondLength` bytes (below 2^32) with CRC `second`. */
export function combineCrc32(first: number, second: number, secondLength: number): number {
  return (multiply(powerOf(secondLength), first) ^ second) >>> 0;
}

/** x^(8 * byteCount). */
function powerOf(byteCount: number): number {
  let power = powers[byteCount % powers.length]!;
  let rest = Math.floor(byteCount / powers.length);
  for (let k = 0; rest > 0; k++, rest >>>= 1) if (rest & 1) power = multiply(power, largePowers[k]!);
  return power;
}

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let rest = a | 0; rest !== 0; rest <<= 1) {
    // The sign bit is the lowest power left. Without a branch: half of them would be mispredicted.
    product ^= shifted & (rest >> 31);
    shifted = timesX(shifted);
  }
  return product;
}

function appendByte(power: number): number {
  let result = power;
  for (let bit = 0; bit < 8; bit++) result = timesX(result);
  return result;
}

function timesX(power: number): number {
  return (power >>> 1) ^ (-(power & 1) & polynomial);
}
