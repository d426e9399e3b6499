// Copies of short ranges, a record's key or value. Below some hundred bytes the call of `Buffer.copy` costs more than the copy.

/** A buffer with the view of it that words are read and written by. */
export type WordBuffer = { readonly bytes: Buffer; readonly view: DataView };

/** Beyond a copied range, so many bytes of both buffers are touched: the source's are read, the target's overwritten. */
export const wordCopySlack = 7;

/** From here on the native copy is faster. */
const nativeSizeMin = 256;

/** A new buffer of `size` bytes and the slack behind them. Not zeroed. */
export function makeWordBuffer(size: number): WordBuffer {
  return asWordBuffer(Buffer.allocUnsafeSlow(size + wordCopySlack));
}

export function asWordBuffer(bytes: Buffer): WordBuffer {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

/**
 * Copies `source` from `start` to `end` to `at` in `target`; returns the offset after it. Overwrites up to `wordCopySlack` bytes
 * beyond, which is no matter to whoever fills a buffer from front to back. Where there is no such slack the copy is exact, and slower.
 */
export function copyWords(target: WordBuffer, at: number, source: WordBuffer, start: number, end: number): number {
  const size = end - start;
  const targetEnd = at + size;
  const hasSlack = targetEnd + wordCopySlack <= target.bytes.length && end + wordCopySlack <= source.bytes.length;
  if (size >= nativeSizeMin || !hasSlack) {
    source.bytes.copy(target.bytes, at, start, end);
    return targetEnd;
  }
  // Read and written in one expression, a 64-bit integer never becomes an object.
  for (let i = 0; i < size; i += 8) target.view.setBigUint64(at + i, source.view.getBigUint64(start + i, true), true);
  return targetEnd;
}
