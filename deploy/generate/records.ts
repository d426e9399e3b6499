// Test data: record i of a seed is a pure function of (seed, i), so that whoever checks a store of a hundred million
// records can ask for any of them without the file. The key is a UUID (version 4 in form), the value 1 to 10 lowercase words.
//
// Each 32-bit number comes from a bijection of i, keyed by the seed: the first word of the UUID therefore never repeats
// below 2^32 records, and no key comes twice.

import { limits } from '../../shared/limits.ts';

/** `entries` and `seed` are whole numbers from 0; the bytes are the same for the same options, always. */
export type GenerateOptions = {
  readonly entries: number;
  readonly seed: number;
  /** Mean size of a value in bytes; sizes are even between half of it and half more. By default 1 to 10 whole words. */
  readonly valueSize?: number | undefined;
};

/** The most that `valueSize` may be: the greatest value is half more. */
export const valueSizeMeanMax = Math.floor(limits.valueSizeMax / 1.5);
/** Beyond it the numbers of the records would not be distinct 32-bit integers. */
export const entriesMax = 2 ** 32;

const keySize = 36;
const wordsMax = 10;
const bufferSize = 1024 * 1024;

const words = (
  'able acid aged also area army away baby back ball band bank base bath bear beat been bird blow blue boat body bond bone book born ' +
  'both bowl bulk burn bush busy call calm came camp card care case cash cast cell chat chip city club coal coast code cold come cook ' +
  'cool cope copy core cost crew crop dark data date dawn days dead deal dean dear debt deep deny desk dial diet disc disk does done ' +
  'door dose down draw dream drew drop dual duke dust duty each earn ease east easy edge else even ever evil exit face fact fail fair ' +
  'fall farm fast fate fear feed feel feet fell felt file fill film find fine fire firm fish five flat flow food foot ford form fort ' +
  'four free from fuel full fund gain game garden gate gave gear gene gift girl give glad goal goes gold golf gone good gray great grew ' +
  'grey grow gulf hair half hall hand hang hard harm hate have head hear heat held help here hero high hill hint hold holiday home hope ' +
  'host hour huge hunt idea inch into iron island item jack join jump jury just keen keep kept kick kind king knee knew know lack lady ' +
  'laid lake land lane last late lead leaf left less life lift like line link list little live load loan lock logo long look'
).split(' ');
const wordBytes = words.map((word) => Buffer.from(word));
const wordSizeMax = Math.max(...words.map((word) => word.length));
const hexPairs = Uint16Array.from({ length: 256 }, (_, byte) => Buffer.from(byte.toString(16).padStart(2, '0')).readUInt16LE());

/** Many words in a row, which sized values are cut out of: one copy is much faster than word by word. */
const passage = Buffer.from(Array.from({ length: 2 ** 15 }, (_, i) => `${words[mix(i) % words.length]} `).join(''));
const passageStarts = Uint32Array.from([...passage.keys()].filter((i) => i === 0 || passage[i - 1] === 0x20));

/** Streams of numbers that one record draws from: four for the key, one for the value. */
const streamCount = 5;

/** Record `index` of a seed, as text. */
export function recordOf(seed: number, index: number, valueSize?: number): { key: string; value: string } {
  const line = Buffer.alloc(lineSizeMaxOf(valueSize));
  const end = writeLine(line, 0, streamsOf(seed), index, valueSize);
  return { key: line.toString('latin1', 0, keySize), value: line.toString('latin1', keySize + 1, end - 1) };
}

/** The whole file, in buffers of about 1 MiB that are the caller's. */
export function* generateLines({ entries, seed, valueSize }: GenerateOptions): Generator<Buffer> {
  const streams = streamsOf(seed);
  const lineSizeMax = lineSizeMaxOf(valueSize);
  for (let index = 0; index < entries; ) {
    const lines = Buffer.allocUnsafeSlow(Math.max(bufferSize, lineSizeMax));
    let end = 0;
    while (index < entries && end + lineSizeMax <= lines.length) end = writeLine(lines, end, streams, index++, valueSize);
    yield lines.subarray(0, end);
  }
}

/** The start of each stream: the seed's low and high half, stirred. */
function streamsOf(seed: number): Uint32Array {
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32) >>> 0;
  return Uint32Array.from({ length: streamCount }, (_, stream) => mix(mix(low + Math.imul(stream + 1, 0x9e3779b9)) ^ high));
}

function lineSizeMaxOf(valueSize: number | undefined): number {
  const valueSizeMax = valueSize === undefined ? wordsMax * (wordSizeMax + 1) : valueSize + Math.ceil(valueSize / 2);
  return keySize + 1 + valueSizeMax + 1;
}

/** Writes one line with its newline at `at`; returns the offset after it. */
function writeLine(target: Buffer, at: number, streams: Uint32Array, index: number, valueSize: number | undefined): number {
  let end = writeKey(target, at, streams, index);
  target[end++] = 0x20;
  const random = mix((index ^ streams[4]!) + 0x9e3779b9);
  end = valueSize === undefined ? writeWords(target, end, random) : writeSized(target, end, random, valueSize);
  target[end++] = 0x0a;
  return end;
}

function writeKey(target: Buffer, at: number, streams: Uint32Array, index: number): number {
  // The version digit 4 and the variant bits 10 stand in the second and third word, so the first stays a bijection of the index.
  const a = mix(index ^ streams[0]!);
  const b = (mix(index ^ streams[1]!) & 0xffff0fff) | 0x00004000;
  const c = (mix(index ^ streams[2]!) & 0x3fffffff) | 0x80000000;
  const d = mix(index ^ streams[3]!);
  let end = writeHex16(target, at, a >>> 16);
  end = writeHex16(target, end, a);
  target[end++] = 0x2d;
  end = writeHex16(target, end, b >>> 16);
  target[end++] = 0x2d;
  end = writeHex16(target, end, b);
  target[end++] = 0x2d;
  end = writeHex16(target, end, c >>> 16);
  target[end++] = 0x2d;
  end = writeHex16(target, end, c);
  end = writeHex16(target, end, d >>> 16);
  return writeHex16(target, end, d);
}

function writeHex16(target: Buffer, at: number, n: number): number {
  const high = hexPairs[(n >>> 8) & 0xff]!;
  const low = hexPairs[n & 0xff]!;
  target[at] = high;
  target[at + 1] = high >>> 8;
  target[at + 2] = low;
  target[at + 3] = low >>> 8;
  return at + 4;
}

function writeWords(target: Buffer, at: number, random: number): number {
  const wordCount = 1 + (random % wordsMax);
  let state = random;
  let end = at;
  for (let i = 0; i < wordCount; i++) {
    if (i > 0) target[end++] = 0x20;
    state = mix(state + 0x9e3779b9);
    end = writeWord(target, end, state);
  }
  return end;
}

/** A piece of the passage, from the start of a word on, of a size drawn evenly from half of `valueSize` to half more. */
function writeSized(target: Buffer, at: number, random: number, valueSize: number): number {
  const half = Math.floor(valueSize / 2);
  const size = valueSize - half + (random % (2 * half + 1));
  const valueEnd = at + size;
  let from = passageStarts[mix(random + 0x9e3779b9) % passageStarts.length]!;
  for (let end = at; end < valueEnd; from = 0) end += passage.copy(target, end, from, Math.min(passage.length, from + valueEnd - end));
  // The value does not end in a space that nobody would see.
  if (size > 0 && target[valueEnd - 1] === 0x20) target[valueEnd - 1] = 0x73;
  return valueEnd;
}

function writeWord(target: Buffer, at: number, random: number): number {
  const word = wordBytes[random % wordBytes.length]!;
  for (let i = 0; i < word.length; i++) target[at + i] = word[i]!;
  return at + word.length;
}

/** A bijection of 32-bit integers that stirs well: the finalizer of MurmurHash3 with better constants (Wellons, "lowbias32"). */
function mix(n: number): number {
  let h = n;
  h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  return (h ^ (h >>> 15)) >>> 0;
}
