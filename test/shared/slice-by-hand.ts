// A second writer of slice files, for tests: nothing of shared/, no cleverness, and it writes what it is told, wrong or not.
// All checksums fit whatever was written, so that only a check of the meaning can find what is wrong.

export type SliceByHand = {
  readonly sliceIndex: number;
  readonly sliceCount: number;
  /** The records of each bucket, as `recordByHand` makes them. */
  readonly buckets: readonly (readonly Uint8Array[])[];
  /** What is to stand instead of the right thing. */
  readonly wrong?: {
    readonly entryCount?: number;
    readonly bucketCount?: number;
    readonly directory?: readonly number[];
    readonly bucketCrcs?: readonly number[];
    /** Changes the header before its CRC is taken. */
    readonly header?: (header: Buffer) => void;
  };
};

export function recordByHand(key: Uint8Array | string, value: Uint8Array | string): Uint8Array {
  return Buffer.concat([varint(Buffer.from(key).length), varint(Buffer.from(value).length), Buffer.from(key), Buffer.from(value)]);
}

export function sliceByHand({ sliceIndex, sliceCount, buckets, wrong = {} }: SliceByHand): Buffer {
  const bucketBytes = buckets.map((records) => Buffer.concat(records));
  const starts = bucketBytes.map((_, bucket) => Buffer.concat(bucketBytes.slice(0, bucket)).length);
  const records = Buffer.concat(bucketBytes);
  const directory = Buffer.concat((wrong.directory ?? [...starts, records.length]).map(u32));
  const bucketCrcs = Buffer.concat((wrong.bucketCrcs ?? bucketBytes.map(crc32ByHand)).map(u32));

  const header = Buffer.concat([
    Buffer.from([0x89, 0x50, 0x41, 0x56, 0x4f, 0x0d, 0x0a, 0x1a]),
    u32(1),
    u32(96),
    Buffer.from('murmur3_x86_32\0\0'),
    u32(sliceIndex),
    u32(sliceCount),
    u32(wrong.entryCount ?? buckets.flat().length),
    u32(wrong.bucketCount ?? buckets.length),
    ...[u32(96), u32(directory.length), u32(crc32ByHand(directory))],
    ...[u32(96 + directory.length), u32(bucketCrcs.length), u32(crc32ByHand(bucketCrcs))],
    ...[u32(96 + directory.length + bucketCrcs.length), u32(records.length), u32(crc32ByHand(records))],
    Buffer.alloc(8),
  ]);
  wrong.header?.(header);
  return Buffer.concat([header, u32(crc32ByHand(header)), directory, bucketCrcs, records]);
}

/** CRC-32 of ISO 3309, a bit at a time. */
export function crc32ByHand(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function varint(n: number): Buffer {
  const bytes: number[] = [];
  for (let rest = n; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

function u32(n: number): Buffer {
  return Buffer.from([n % 256, Math.floor(n / 256) % 256, Math.floor(n / 65_536) % 256, Math.floor(n / 16_777_216) % 256]);
}
