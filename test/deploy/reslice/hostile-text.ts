// An input that tries what a slice must keep in order: keys that are any bytes, of any length up to the bound, or of one hash; values
// that are empty or long; keys that come again.

import { keyHash32 } from '../../../shared/key-hash.ts';

/** A few thousand lines, always the same. */
export function hostileText(): Buffer {
  const random = randomBytes(7);
  const lines: Buffer[] = [];
  for (let i = 0; i < 3_000; i++) {
    const keySize = i % 100 === 0 ? 2_048 : 1 + (random() % 24);
    const valueSize = i % 500 === 0 ? 40_000 : i % 7 === 0 ? 0 : random() % 300;
    lines.push(lineOf(anyBytes(random, keySize, [0x20, 0x0a]), anyBytes(random, valueSize, [0x0a, 0x0d])));
  }
  for (const [i, key] of keysOfOneHash().entries()) lines.push(lineOf(Buffer.from(key), Buffer.from(`of one hash ${i}`)));
  for (let i = 0; i < 500; i++) lines.push(lines[random() % 3_000]!);
  return Buffer.concat(lines);
}

/** Keys that share their hash with another one, in no order. */
function keysOfOneHash(): string[] {
  const keys = new Map<number, string>();
  const found: string[] = [];
  for (let i = 0; found.length < 20; i++) {
    const key = `collision-${i}`;
    const hash = keyHash32(Buffer.from(key));
    const other = keys.get(hash);
    if (other !== undefined) found.push(key, other);
    keys.set(hash, key);
  }
  return found;
}

function lineOf(key: Buffer, value: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from(' '), value, Buffer.from('\n')]);
}

function anyBytes(random: () => number, size: number, without: readonly number[]): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) {
    const byte = random() & 0xff;
    bytes[i] = without.includes(byte) ? 0xff : byte;
  }
  return bytes;
}

/** Integers of 32 bits (Numerical Recipes' generator, its high bits). */
function randomBytes(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 8;
  };
}
