// JSON written as bytes: what stands between quotes as it is goes from the reply of a shard into the response without ever being a
// string. That is most of what there is: ASCII but the control characters below the space, the quote and the backslash. Anything else takes the long way.

import { isUtf8 } from 'node:buffer';
import { giveBuffer, headRoom, type Outgoing, takeBuffer } from '../shared/outgoing.ts';
import { copyWords, makeWordBuffer, type WordBuffer, wordCopySlack } from '../shared/word-copy.ts';

const quote = 0x22;
const backslash = 0x5c;
const isPlainText = /^[ !#-[\]-\x7f]*$/;

export class JsonBytes {
  #target: WordBuffer;
  #end: number = headRoom;

  /** `sizeExpected` in bytes; it grows when that is not enough. */
  constructor(sizeExpected: number) {
    this.#target = takeBuffer(headRoom + sizeExpected);
  }

  /** What has been written; the buffer is the caller's from now on. */
  get written(): Outgoing {
    return { buffer: this.#target, start: headRoom, end: this.#end };
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
    const larger = makeWordBuffer(Math.max(2 * bytes.length, this.#end + size));
    bytes.copy(larger.bytes, 0, 0, this.#end);
    giveBuffer(this.#target);
    this.#target = larger;
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
function isPlainByte(c: number): boolean {
  return c >= 0x20 && c < 0x80 && c !== quote && c !== backslash;
}

/**
 * Bit 7, 15, 23 or 31 set when a byte of the word is not plain. A byte below 0x20 or equal to 0x22 is one below 0x21 after the exclusive or, and 0x5c
 * one below 1: subtracted, they leave a borrow in the high bit. Such a byte may make the one behind it look like another; a plain word has none.
 * Source: S. E. Anderson, Bit Twiddling Hacks, "Determine if a word has a byte less than n".
 */
function specialBits(word: number): number {
  return ((word ^ 0x02020202) - 0x21212121) | ((word ^ 0x5c5c5c5c) - 0x01010101) | word;
}

const specialMask = 0x80808080;

/** Where the first byte lies, from `at` on, that is not plain; the end of `source` when there is none. */
export function endOfPlainText({ bytes, view }: WordBuffer, at: number): number {
  let i = at;
  while (i + 4 <= bytes.length && (specialBits(view.getInt32(i, true)) & specialMask) === 0) i += 4;
  while (i < bytes.length && isPlainByte(bytes[i]!)) i++;
  return i;
}

/** Copies `source[from, to)` to `at` if it is plain, and returns the end; -1 if it is not. */
function copyPlainText(target: WordBuffer, at: number, source: WordBuffer, from: number, to: number): number {
  let end = at;
  let i = from;
  for (; i + 8 <= to; i += 8) {
    const first = source.view.getInt32(i, true);
    const second = source.view.getInt32(i + 4, true);
    if (((specialBits(first) | specialBits(second)) & specialMask) !== 0) return -1;
    target.view.setInt32(end, first, true);
    target.view.setInt32(end + 4, second, true);
    end += 8;
  }
  for (; i < to; i++) {
    const c = source.bytes[i]!;
    if (!isPlainByte(c)) return -1;
    target.bytes[end++] = c;
  }
  return end;
}
