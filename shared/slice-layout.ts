// Slice file, format 1: the only page that knows its bytes, for writing and for reading.
//
//        0  magic 89 50 41 56 4F 0D 0A 1A        the order of all numbers is little endian
//        8  u32 format version = 1
//       12  u32 header length = 96
//       16  hash name, 16 bytes, ASCII, zero padded
//       32  u32 slice index      36  u32 slice count
//       40  u32 entry count      44  u32 bucket count
//       48  directory:    u32 offset, u32 length, u32 CRC-32
//       60  bucket CRCs:  u32 offset, u32 length, u32 CRC-32
//       72  records:      u32 offset, u32 length, u32 CRC-32
//       84  8 bytes, zero
//       92  u32 CRC-32 of bytes 0 to 91
//       96  directory: for each bucket u32 where it starts in the records, then u32 where the last one ends
//        .  bucket CRCs: for each bucket u32 CRC-32 of its records
//        .  records: varint key length, varint value length, key, value; in the order (hash, key bytes)
//
// The sections follow each other without gaps to the end of the file. One look-up reads one pair of
// directory entries and one contiguous bucket. The header names no version. docs/slice-format.md says the same for people.

import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { crc32 } from 'node:zlib';
import { combineCrc32 } from './crc32-combine.ts';
import { PavostoreError } from './errors.ts';
import { bitsOf, bucketIndexOf, isPowerOfTwo, keyHash32, keyHashName, type SliceIndex, sliceIndexOf } from './key-hash.ts';
import { limits } from './limits.ts';
import { readVarint, varintSize, writeVarint } from './varint.ts';
import { asWordBuffer, copyWords, type WordBuffer } from './word-copy.ts';

// Directories are read through Uint32Array, whose order is the machine's.
assert(endianness() === 'LE', 'Pavostore runs on little-endian machines');

export const sliceFormat = 1;
export const sliceHeaderSize = 96;

const magic = Buffer.from([0x89, 0x50, 0x41, 0x56, 0x4f, 0x0d, 0x0a, 0x1a]);
const headerCrcAt = 92;
const hashNameSize = 16;

export type Section = { readonly offset: number; readonly length: number; readonly crc32: number };

export type SliceHeader = {
  readonly sliceIndex: SliceIndex;
  readonly sliceCount: number;
  readonly entryCount: number;
  readonly bucketCount: number;
  readonly directory: Section;
  readonly bucketCrcs: Section;
  readonly records: Section;
};

/** A slice in memory, ready for look-ups. The views share `bytes`, which nobody may change. */
export type Slice = {
  readonly header: SliceHeader;
  readonly bytes: Buffer;
  /** The same bytes, to copy values from. */
  readonly words: WordBuffer;
  readonly directory: Uint32Array;
  readonly sliceBits: number;
  readonly bucketBits: number;
};

/** Where a look-up puts what it found: one object that the caller keeps and reuses. */
export type Match = { valueStart: number; valueEnd: number };

export const lookup = { found: 0, missing: 1, corrupt: 2 } as const;
export type LookupOutcome = (typeof lookup)[keyof typeof lookup];

/** The records of one slice in their order: `bytes` from `starts[i]` to `ends[i]` is record i as it stands in the file. */
export type OrderedRecords = {
  readonly bytes: Buffer;
  readonly hashes: Uint32Array;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
};

/** The power of two that puts more than 4 and at most 8 entries into a bucket on average; never more buckets than there are hash bits. */
export function bucketCountFor(entryCount: number, sliceCount: number): number {
  const wanted = Math.ceil(entryCount / limits.bucketEntriesMax);
  const bits = wanted <= 1 ? 0 : 32 - Math.clz32(wanted - 1);
  return 2 ** Math.min(bits, 32 - bitsOf(sliceCount));
}

/** The size of the whole slice file in bytes. */
export function sliceSizeOf(entryCount: number, recordsSize: number, sliceCount: number): number {
  return sliceHeaderSize + 8 * bucketCountFor(entryCount, sliceCount) + 4 + recordsSize;
}

/** The size in bytes of one record in a slice. */
export function recordSizeOf(keySize: number, valueSize: number): number {
  return varintSize(keySize) + varintSize(valueSize) + keySize + valueSize;
}

/** Writes the two lengths that precede a record's key and value; returns the offset of the key. */
export function writeRecordHead(target: Uint8Array, at: number, keySize: number, valueSize: number): number {
  return writeVarint(target, writeVarint(target, at, keySize), valueSize);
}

/**
 * The whole slice file of the records `from` (inclusive) to `to` (exclusive), which must be in order, without
 * duplicates, and all of this slice. The caller has checked that it fits `limits.sliceSizeMax`.
 */
export function encodeSlice(options: {
  sliceIndex: SliceIndex;
  sliceCount: number;
  records: OrderedRecords;
  from: number;
  to: number;
}): Buffer {
  const { sliceIndex, sliceCount, records, from, to } = options;
  const { bytes, hashes, starts, ends } = records;
  const entryCount = to - from;
  let recordsSize = 0;
  for (let i = from; i < to; i++) recordsSize += ends[i]! - starts[i]!;
  const bucketCount = bucketCountFor(entryCount, sliceCount);
  const size = sliceSizeOf(entryCount, recordsSize, sliceCount);
  assert(size <= limits.sliceSizeMax, 'a slice is at most 1 GiB');

  const file = Buffer.allocUnsafeSlow(size);
  const directoryAt = sliceHeaderSize;
  const bucketCrcsAt = directoryAt + 4 * (bucketCount + 1);
  const recordsAt = bucketCrcsAt + 4 * bucketCount;
  const directory = new Uint32Array(file.buffer, directoryAt, bucketCount + 1);
  const bucketCrcs = new Uint32Array(file.buffer, bucketCrcsAt, bucketCount);
  const sliceBits = bitsOf(sliceCount);
  const bucketBits = bitsOf(bucketCount);

  const source = asWordBuffer(bytes);
  const target = asWordBuffer(file);
  let record = from;
  let end = recordsAt;
  let recordsCrc = 0;
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    const bucketAt = end;
    directory[bucket] = bucketAt - recordsAt;
    while (record < to && bucketIndexOf(hashes[record]!, sliceBits, bucketBits) === bucket) {
      end = copyWords(target, end, source, starts[record]!, ends[record]!);
      record++;
    }
    const bucketCrc = crc32(file.subarray(bucketAt, end));
    bucketCrcs[bucket] = bucketCrc;
    recordsCrc = combineCrc32(recordsCrc, bucketCrc, end - bucketAt);
  }
  directory[bucketCount] = end - recordsAt;
  assert(record === to && end === size, 'every record belongs to a bucket, in order');

  writeHeader(file, {
    sliceIndex,
    sliceCount,
    entryCount,
    bucketCount,
    directory: sectionOf(file, directoryAt, bucketCrcsAt),
    bucketCrcs: sectionOf(file, bucketCrcsAt, recordsAt),
    records: { offset: recordsAt, length: size - recordsAt, crc32: recordsCrc },
  });
  return file;
}

/**
 * Reads and checks a header. `fileSize` is the size of the whole file in bytes; `what` names the file in messages.
 * Throws `slice_malformed`.
 */
export function readSliceHeader(bytes: Buffer, fileSize: number, what: string): SliceHeader {
  const refuse = (reason: string): PavostoreError => new PavostoreError('slice_malformed', `${what}: ${reason}`);
  if (bytes.length < sliceHeaderSize || fileSize < sliceHeaderSize) {
    throw refuse(`${Math.min(bytes.length, fileSize)} bytes, shorter than a header of ${sliceHeaderSize}`);
  }
  if (!bytes.subarray(0, magic.length).equals(magic)) throw refuse('no slice file: the first 8 bytes are not the magic number');
  const format = bytes.readUInt32LE(8);
  if (format !== sliceFormat) throw refuse(`slice format ${format}; this Pavostore reads format ${sliceFormat}`);
  const crc = crc32(bytes.subarray(0, headerCrcAt));
  const crcRead = bytes.readUInt32LE(headerCrcAt);
  if (crcRead !== crc) throw refuse(`header CRC ${hex(crcRead)}, computed ${hex(crc)}`);
  const headerLength = bytes.readUInt32LE(12);
  if (headerLength !== sliceHeaderSize) throw refuse(`header length ${headerLength}, not ${sliceHeaderSize}`);
  const hashName = bytes.toString('latin1', 16, 16 + hashNameSize).replace(/\0+$/, '');
  if (hashName !== keyHashName) throw refuse(`key hash ${JSON.stringify(hashName)}, not ${keyHashName}`);

  const sliceCount = bytes.readUInt32LE(36);
  if (!isPowerOfTwo(sliceCount) || sliceCount > limits.sliceCountMax) {
    throw refuse(`slice count ${sliceCount} is not a power of two up to ${limits.sliceCountMax}`);
  }
  const sliceIndex = bytes.readUInt32LE(32);
  if (sliceIndex >= sliceCount) throw refuse(`slice index ${sliceIndex} of ${sliceCount} slices`);
  if (fileSize > limits.sliceSizeMax) throw refuse(`${fileSize} bytes, more than ${limits.sliceSizeMax}`);
  const entryCount = bytes.readUInt32LE(40);
  const bucketCount = bytes.readUInt32LE(44);
  const bucketCountDue = bucketCountFor(entryCount, sliceCount);
  if (bucketCount !== bucketCountDue) throw refuse(`${bucketCount} buckets for ${entryCount} entries, not ${bucketCountDue}`);
  if (bytes.readUInt32LE(84) !== 0 || bytes.readUInt32LE(88) !== 0) throw refuse('the reserved bytes 84 to 91 are not zero');

  const header: SliceHeader = {
    sliceIndex: sliceIndex as SliceIndex,
    sliceCount,
    entryCount,
    bucketCount,
    directory: readSection(bytes, 48),
    bucketCrcs: readSection(bytes, 60),
    records: readSection(bytes, 72),
  };
  let at = sliceHeaderSize;
  const lengths = { directory: 4 * (bucketCount + 1), bucketCrcs: 4 * bucketCount, records: header.records.length };
  for (const name of ['directory', 'bucketCrcs', 'records'] as const) {
    const { offset, length } = header[name];
    if (offset !== at || length !== lengths[name]) {
      throw refuse(`section ${name} at ${offset}, length ${length}; expected at ${at}, length ${lengths[name]}`);
    }
    at += length;
  }
  if (at !== fileSize) throw refuse(`its sections end at ${at}, the file at ${fileSize}`);
  return header;
}

/** The slice in `bytes`, the whole file, aligned to 4 bytes, after checking all of it but each bucket's own CRC. Throws `slice_malformed`. */
export function readSlice(bytes: Buffer, what: string): Slice {
  const header = readSliceHeader(bytes, bytes.length, what);
  for (const name of ['directory', 'bucketCrcs', 'records'] as const) {
    const { offset, length, crc32: crcRead } = header[name];
    const crc = crc32(bytes.subarray(offset, offset + length));
    if (crcRead !== crc) throw new PavostoreError('slice_malformed', `${what}: CRC of ${name} is ${hex(crcRead)}, computed ${hex(crc)}`);
  }
  return viewSlice(bytes, header);
}

/** The slice in `bytes`, which `readSlice` has checked before, in this process or in a worker of it. */
export function viewSlice(bytes: Buffer, header: SliceHeader): Slice {
  assert(bytes.byteOffset % 4 === 0, 'a slice is aligned to 4 bytes: its directory is read in place');
  return {
    header,
    bytes,
    words: asWordBuffer(bytes),
    directory: new Uint32Array(bytes.buffer, bytes.byteOffset + header.directory.offset, header.bucketCount + 1),
    sliceBits: bitsOf(header.sliceCount),
    bucketBits: bitsOf(header.bucketCount),
  };
}

/**
 * Looks up the key in `keyBytes` from `keyStart` to `keyEnd`, whose hash is `hash` and whose slice this is. When it
 * answers `found`, `match` holds the value's place in `slice.bytes`; `corrupt` when the bucket contradicts itself.
 */
export function findRecord(
  slice: Slice,
  hash: number,
  keyBytes: Uint8Array,
  keyStart: number,
  keyEnd: number,
  match: Match,
): LookupOutcome {
  if (!findBucket(slice, hash, place)) return lookup.corrupt;
  return findInBucket(slice.bytes, place.start, place.end, keyBytes, keyStart, keyEnd, match);
}

/** Where a bucket lies in the bytes of its slice. */
export type BucketPlace = { start: number; end: number };

const place: BucketPlace = { start: 0, end: 0 };

/** Puts the place of the hash's bucket into `found`; false when the directory contradicts itself. */
export function findBucket(slice: Slice, hash: number, found: BucketPlace): boolean {
  const bucket = bucketIndexOf(hash, slice.sliceBits, slice.bucketBits);
  const { offset, length } = slice.header.records;
  const start = slice.directory[bucket]!;
  const end = slice.directory[bucket + 1]!;
  found.start = offset + start;
  found.end = offset + end;
  return start <= end && end <= length;
}

/** The scan of one bucket, from `start` to `end` in `bytes`. The full key is compared, always. */
export function findInBucket(
  bytes: Uint8Array,
  start: number,
  end: number,
  keyBytes: Uint8Array,
  keyStart: number,
  keyEnd: number,
  match: Match,
): LookupOutcome {
  const keySizeWanted = keyEnd - keyStart;
  let at = start;
  while (at < end) {
    // A number of one byte, as most are, is what it is.
    let keySize = bytes[at]!;
    if (keySize < 0x80) at++;
    else {
      keySize = readVarint(bytes, at, end);
      if (keySize < 0) return lookup.corrupt;
      at += varintSize(keySize);
    }
    const valueSize = readVarint(bytes, at, end);
    if (valueSize < 0) return lookup.corrupt;
    at += varintSize(valueSize);
    const valueStart = at + keySize;
    const next = valueStart + valueSize;
    if (next > end) return lookup.corrupt;
    // Of keys of one size most differ in their last byte.
    if (keySize === keySizeWanted && bytes[valueStart - 1] === keyBytes[keyEnd - 1]) {
      let i = 0;
      while (i < keySize && bytes[at + i] === keyBytes[keyStart + i]) i++;
      if (i === keySize) {
        match.valueStart = valueStart;
        match.valueEnd = next;
        return lookup.found;
      }
    }
    at = next;
  }
  return lookup.missing;
}

/** Where one record stands in the bytes of its slice: key from `keyStart` to `valueStart`, value from there to `end`. */
export type RecordPlace = { readonly keyStart: number; readonly valueStart: number; readonly end: number };

/**
 * All records of a slice in order, each checked: lengths within their bounds, the key in its slice and its bucket, the
 * order strict, the bucket's CRC right, the count as the header says. Throws `slice_malformed`. For verify, diff and reslice: slow.
 */
export function* recordsOf(slice: Slice, what: string): Generator<RecordPlace> {
  const { header, bytes, directory, sliceBits, bucketBits } = slice;
  const refuse = (reason: string): PavostoreError => new PavostoreError('slice_malformed', `${what}: ${reason}`);
  const recordsAt = header.records.offset;
  if (directory[0] !== 0 || directory[header.bucketCount] !== header.records.length) {
    throw refuse(
      `its directory runs from ${directory[0]} to ${directory[header.bucketCount]}, its records from 0 to ${header.records.length}`,
    );
  }
  let entryCount = 0;
  let last: RecordPlace | undefined;
  let lastHash = 0;
  for (let bucket = 0; bucket < header.bucketCount; bucket++) {
    const bucketEnd = recordsAt + directory[bucket + 1]!;
    let at = recordsAt + directory[bucket]!;
    if (at > bucketEnd || bucketEnd > bytes.length)
      throw refuse(`bucket ${bucket} runs from ${at} to ${bucketEnd}, out of order or beyond the file`);
    const crc = crc32(bytes.subarray(at, bucketEnd));
    const crcRead = bytes.readUInt32LE(header.bucketCrcs.offset + 4 * bucket);
    if (crc !== crcRead) throw refuse(`CRC of bucket ${bucket} is ${hex(crcRead)}, computed ${hex(crc)}`);
    while (at < bucketEnd) {
      const place = readRecordPlace(bytes, at, bucketEnd);
      if (!place) throw refuse(`the record at ${at} in bucket ${bucket} is malformed`);
      const hash = keyHash32(bytes, place.keyStart, place.valueStart);
      if (sliceIndexOf(hash, sliceBits) !== header.sliceIndex || bucketIndexOf(hash, sliceBits, bucketBits) !== bucket) {
        throw refuse(
          `the key of the record at ${at} hashes to ${hex(hash)}, which is not in bucket ${bucket} of slice ${header.sliceIndex}`,
        );
      }
      if (last && (hash < lastHash || (hash === lastHash && compareKeys(bytes, last, place) >= 0))) {
        throw refuse(`the record at ${at} is not greater than the one before it in the order (hash, key)`);
      }
      yield place;
      last = place;
      lastHash = hash;
      entryCount++;
      at = place.end;
    }
  }
  if (entryCount !== header.entryCount) throw refuse(`${entryCount} records, but its header says ${header.entryCount}`);
}

/** The record at `at`, or undefined when it does not end by `end` or breaks a limit. */
export function readRecordPlace(bytes: Uint8Array, at: number, end: number): RecordPlace | undefined {
  const keySize = readVarint(bytes, at, end);
  if (keySize < 1 || keySize > limits.keySizeMax) return undefined;
  const valueSizeAt = at + varintSize(keySize);
  const valueSize = readVarint(bytes, valueSizeAt, end);
  if (valueSize < 0 || valueSize > limits.valueSizeMax) return undefined;
  const keyStart = valueSizeAt + varintSize(valueSize);
  const valueStart = keyStart + keySize;
  return valueStart + valueSize <= end ? { keyStart, valueStart, end: valueStart + valueSize } : undefined;
}

function compareKeys(bytes: Buffer, a: RecordPlace, b: RecordPlace): number {
  return bytes.compare(bytes, b.keyStart, b.valueStart, a.keyStart, a.valueStart);
}

function writeHeader(file: Buffer, header: SliceHeader): void {
  file.fill(0, 0, sliceHeaderSize);
  magic.copy(file, 0);
  file.writeUInt32LE(sliceFormat, 8);
  file.writeUInt32LE(sliceHeaderSize, 12);
  file.write(keyHashName, 16, hashNameSize, 'latin1');
  file.writeUInt32LE(header.sliceIndex, 32);
  file.writeUInt32LE(header.sliceCount, 36);
  file.writeUInt32LE(header.entryCount, 40);
  file.writeUInt32LE(header.bucketCount, 44);
  writeSection(file, 48, header.directory);
  writeSection(file, 60, header.bucketCrcs);
  writeSection(file, 72, header.records);
  file.writeUInt32LE(crc32(file.subarray(0, headerCrcAt)), headerCrcAt);
}

function sectionOf(file: Buffer, start: number, end: number): Section {
  return { offset: start, length: end - start, crc32: crc32(file.subarray(start, end)) };
}

function writeSection(file: Buffer, at: number, section: Section): void {
  file.writeUInt32LE(section.offset, at);
  file.writeUInt32LE(section.length, at + 4);
  file.writeUInt32LE(section.crc32, at + 8);
}

function readSection(file: Buffer, at: number): Section {
  return { offset: file.readUInt32LE(at), length: file.readUInt32LE(at + 4), crc32: file.readUInt32LE(at + 8) };
}

function hex(n: number): string {
  return n.toString(16).padStart(8, '0');
}
