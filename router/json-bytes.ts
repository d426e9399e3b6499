// JSON written as bytes: what stands between quotes as it is goes from the reply of a shard into the response without ever being a
// string. That is most of what there is: printable ASCII but the quote and the backslash. Anything else takes the long way.

import { isUtf8 } from 'node:buffer';

const sizeMin = 4_096;
const quote = 0x22;
const backslash = 0x5c;
const isPlainText = /^[ !#-[\]-~]*$/;

export class JsonBytes {
  #bytes: Buffer;
  #end = 0;

  /** `sizeExpected` in bytes; it grows when that is not enough. */
  constructor(sizeExpected: number) {
    this.#bytes = Buffer.allocUnsafe(Math.max(sizeMin, sizeExpected));
  }

  /** What has been written; the buffer is the caller's from now on. */
  get written(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  /** JSON, one character a byte of its UTF-8. One long text is much cheaper than some short ones. */
  raw(text: string): void {
    this.#ensure(text.length);
    this.#end += this.#bytes.write(text, this.#end, 'latin1');
  }

  /** The field `name` with `source[from, to)`, as `fieldOf` gives it. */
  bytesField(name: string, marker: string, source: Buffer, from: number, to: number): void {
    if (!isPlain(source, from, to)) return this.raw(fieldOf(name, marker, source.subarray(from, to)));
    this.raw(`"${name}":"`);
    this.#ensure(to - from + 1);
    this.#end += source.copy(this.#bytes, this.#end, from, to);
    this.#bytes[this.#end++] = quote;
  }

  #ensure(size: number): void {
    if (this.#end + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#end + size));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
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

function isPlain(source: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const c = source[i]!;
    if (c < 0x20 || c > 0x7e || c === quote || c === backslash) return false;
  }
  return true;
}
