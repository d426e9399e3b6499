// JSON written as bytes: what stands between quotes as it is goes from the reply of a shard into the response without ever being a
// string. That is most of what there is: printable ASCII but the quote and the backslash. Anything else takes the long way.

import { isUtf8 } from 'node:buffer';
import { asWordBuffer, copyWords, type WordBuffer, wordCopySlack } from '../shared/word-copy.ts';

const sizeMin = 4_096;
const quote = 0x22;
const backslash = 0x5c;
const isPlainText = /^[ !#-[\]-~]*$/;

export class JsonBytes {
  #target: WordBuffer;
  #end = 0;

  /** `sizeExpected` in bytes; it grows when that is not enough. */
  constructor(sizeExpected: number) {
    this.#target = asWordBuffer(Buffer.allocUnsafe(Math.max(sizeMin, sizeExpected + wordCopySlack)));
  }

  /** What has been written; the buffer is the caller's from now on. */
  get written(): Buffer {
    return this.#target.bytes.subarray(0, this.#end);
  }

  /** JSON, one character a byte of its UTF-8. One long text is much cheaper than some short ones. */
  raw(text: string): void {
    this.#ensure(text.length);
    this.#end += this.#target.bytes.write(text, this.#end, 'latin1');
  }

  /** JSON that lies ready. */
  bytes(source: WordBuffer, from: number, to: number): void {
    this.#ensure(to - from);
    this.#end = copyWords(this.#target, this.#end, source, from, to);
  }

  /**
   * The value of a field whose name and first quote have been written, with the last quote: `source[from, to)`. False when it is no plain text,
   * and nothing of it has been written.
   */
  plainText(source: WordBuffer, from: number, to: number): boolean {
    this.#ensure(to - from + 1);
    const end = copyPlainText(this.#target, this.#end, source, from, to);
    if (end < 0) return false;
    this.#target.bytes[end] = quote;
    this.#end = end + 1;
    return true;
  }

  /** Takes the last `size` bytes back. */
  unwrite(size: number): void {
    this.#end -= size;
  }

  #ensure(size: number): void {
    const { bytes } = this.#target;
    if (this.#end + size + wordCopySlack <= bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * bytes.length, this.#end + size + wordCopySlack));
    bytes.copy(larger, 0, 0, this.#end);
    this.#target = asWordBuffer(larger);
  }
}

/**
 * The field `name` with these bytes, a latin1 string or a buffer, one character a byte: as text where they are UTF-8, else in base64, said by a
 * second field `marker`.
 */
export function fieldOf(name: string, marker: string, value: string | Buffer): string {
  if (typeof value === 'string' && isPlainText.test(value)) return `"${name}":"${value}"`;
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  if (!isUtf8(bytes)) return `"${name}":"${bytes.toString('base64')}","${marker}":"base64"`;
  return `"${name}":${Buffer.from(JSON.stringify(bytes.toString())).toString('latin1')}`;
}

/** True for what stands in JSON as it is: neither a control character nor a quote nor a backslash nor anything beyond ASCII. */
export function isPlainByte(c: number): boolean {
  return c >= 0x20 && c < 0x7f && c !== quote && c !== backslash;
}

const low = 0x01010101;
const high = 0x80808080;

/**
 * Copies `source[from, to)` to `at` if it is plain, four bytes a step, and returns the end; -1 if it is not. A byte below n is found by the
 * borrow that n subtracted from it leaves in its high bit, a certain byte as a zero after exclusive or. Source: S. E. Anderson, Bit
 * Twiddling Hacks, "Determine if a word has a byte less than n". Such a byte may make the one behind it look like another; a plain word none.
 */
function copyPlainText(target: WordBuffer, at: number, source: WordBuffer, from: number, to: number): number {
  let end = at;
  let i = from;
  for (; i + 4 <= to; i += 4) {
    const word = source.view.getInt32(i, true);
    const control = (word - 0x20202020) & ~word;
    const quotes = word ^ 0x22222222;
    const backslashes = word ^ 0x5c5c5c5c;
    const deletes = word ^ 0x7f7f7f7f;
    const special = ((quotes - low) & ~quotes) | ((backslashes - low) & ~backslashes) | ((deletes - low) & ~deletes);
    if (((word | control | special) & high) !== 0) return -1;
    target.view.setInt32(end, word, true);
    end += 4;
  }
  for (; i < to; i++) {
    const c = source.bytes[i]!;
    if (!isPlainByte(c)) return -1;
    target.bytes[end++] = c;
  }
  return end;
}
