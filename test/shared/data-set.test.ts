import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Current,
  currentPath,
  formatCurrent,
  loadSlice,
  manifestPath,
  openFile,
  parseCurrent,
  readCurrent,
  readFully,
  readManifest,
  readManifestAt,
  slicePath,
  slicesPath,
  versionPath,
} from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest, type Manifest, type ManifestSlice, versionIdOf } from '../../shared/manifest.ts';
import { recordsOf, sliceHeaderSize } from '../../shared/slice-layout.ts';
import { eachBitFlipped, eachTruncated, encodeEntries, entriesOf } from './slice-fixture.ts';

const idA = '0123456789abcdef0123456789abcdef';
const idB = 'f'.repeat(32);

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'pavostore-data-set-'));
});

afterEach(async () => {
  await rm(dataDir, { recursive: true });
});

describe('the file that names the published version', () => {
  const golden: [Current, string][] = [
    [{ sequence: 1767323045678, id: idA, previousId: undefined }, `pavostore-current 1 1767323045678 ${idA} - 1613af5c\n`],
    [{ sequence: 7, id: idB, previousId: idA }, `pavostore-current 1 7 ${idB} ${idA} a8c13352\n`],
  ];

  test.each(golden)('of %j is one line with the CRC-32 of it', (current, line) => {
    expect(formatCurrent(current)).toBe(line);
    expect(parseCurrent(line, 'current')).toEqual(current);
  });

  test('comes back as it was written', () => {
    const anyId = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 32, maxLength: 32 });
    const anyCurrent = fc.record({ sequence: fc.maxSafeNat(), id: anyId, previousId: fc.option(anyId, { nil: undefined }) });
    fc.assert(
      fc.property(anyCurrent, (current) => {
        expect(parseCurrent(formatCurrent(current), 'current')).toEqual(current);
      }),
    );
  });

  test('is refused with any bit changed, and when it ends early, anywhere', () => {
    for (const [, line] of golden) {
      for (const { damaged, bit } of eachBitFlipped(Buffer.from(line))) {
        expect(
          codeOf(() => parseCurrent(damaged.toString(), 'current')),
          `bit ${bit}`,
        ).toBe('current_malformed');
      }
      for (const truncated of eachTruncated(Buffer.from(line))) {
        expect(codeOf(() => parseCurrent(truncated.toString(), 'current'))).toBe('current_malformed');
      }
    }
  });

  test('is refused with anything around it', () => {
    const line = golden[0]![1];
    for (const wrong of [
      `${line}\n`,
      ` ${line}`,
      line + line,
      line.replace('\n', '\r\n'),
      `\ufeff${line}`,
      line.toUpperCase(),
      `${line}\0`,
    ]) {
      expect(codeOf(() => parseCurrent(wrong, 'current'))).toBe('current_malformed');
    }
  });

  test.each([
    ['a newer format', `2 7 ${idA} -`, '171e94c2', /format 2; this Pavostore reads format 1/],
    ['a sequence that would be rounded', `1 9007199254740993 ${idA} -`, 'f80512dd', /sequence 9007199254740993/],
    ['a negative sequence', `1 -7 ${idA} -`, 'a8d4494d', /not one line/],
    ['a path for an id', '1 7 ../../../../../../../../../../etc/ -', '199359d8', /not one line/],
  ])('with %s is refused, though its CRC fits', (_, body, crc, reason) => {
    expect(() => parseCurrent(`pavostore-current ${body} ${crc}\n`, 'current')).toThrow(reason);
  });

  test('may be absent: nothing is published yet', async () => {
    expect(await readCurrent(dataDir)).toBe(undefined);
    expect(await readCurrent(join(dataDir, 'absent'))).toBe(undefined);
    await writeFile(currentPath(dataDir), golden[1]![1]);
    expect(await readCurrent(dataDir)).toEqual(golden[1]![0]);
  });

  test('is refused when it is empty, too large, a link, a dangling link or a folder', async () => {
    const path = currentPath(dataDir);
    await writeFile(path, '');
    await expect(readCurrent(dataDir)).rejects.toMatchObject({ code: 'current_malformed' });
    await writeFile(path, golden[0]![1].padEnd(limits.currentSizeMax + 1));
    await expect(readCurrent(dataDir)).rejects.toThrow(/current: 4097 bytes, at most 4096/);
    await writeFile(join(dataDir, 'elsewhere'), golden[0]![1]);
    for (const target of ['elsewhere', 'nowhere']) {
      await rm(path);
      await symlink(target, path);
      await expect(readCurrent(dataDir)).rejects.toMatchObject({ code: 'current_malformed' });
    }
    await rm(path);
    await mkdir(path);
    await expect(readCurrent(dataDir)).rejects.toMatchObject({ code: 'current_malformed' });
  });
});

describe('the manifest of a version', () => {
  test('is read from the folder of its id', async () => {
    const { manifest } = await writeVersion(2);
    expect(await readManifest(dataDir, manifest.id)).toEqual(manifest);
  });

  test('is missing when it is, and when the id is none', async () => {
    for (const id of [idA, '', '.', '..', '../versions', `${idA}/..`, idA.toUpperCase(), undefined, null, 5]) {
      await expect(readManifest(dataDir, id)).rejects.toMatchObject({ code: 'version_missing' });
    }
  });

  test('of another version is refused: a folder that was renamed, or copied over', async () => {
    const { manifest, versionDir } = await writeVersion(2);
    await rename(versionDir, versionPath(dataDir, idA));
    await expect(readManifest(dataDir, idA)).rejects.toMatchObject({ code: 'manifest_malformed' });
    expect(await readManifestAt(versionPath(dataDir, idA))).toEqual(manifest);
  });

  test('is refused when it is too large, damaged or a link', async () => {
    const { manifest, versionDir } = await writeVersion(2);
    const path = manifestPath(versionDir);
    await truncate(path, limits.manifestSizeMax + 1);
    await expect(readManifest(dataDir, manifest.id)).rejects.toThrow(/8388609 bytes, at most 8388608/);
    await truncate(path, 100);
    await expect(readManifest(dataDir, manifest.id)).rejects.toMatchObject({ code: 'manifest_malformed' });
    await rm(path);
    await writeFile(join(dataDir, 'elsewhere'), formatManifest(manifest));
    await symlink(join(dataDir, 'elsewhere'), path);
    await expect(readManifest(dataDir, manifest.id)).rejects.toMatchObject({ code: 'manifest_malformed' });
  });
});

describe('a slice on disk', () => {
  test('is loaded into memory of its own, so that a worker can hand it over', async () => {
    const { versionDir, slices } = await writeVersion(4);
    for (const [index, expected] of slices.entries()) {
      const slice = await loadSlice(slicePath(versionDir, index), index, 4, expected);
      expect(slice.header).toMatchObject({ sliceIndex: index, sliceCount: 4, entryCount: expected.entries });
      expect([...recordsOf(slice, 'slice')]).toHaveLength(expected.entries);
      expect([slice.bytes.byteOffset, slice.bytes.buffer.byteLength]).toEqual([0, expected.bytes]);
    }
  });

  test('is refused with any byte changed', async () => {
    const { versionDir, slices, files } = await writeVersion(16);
    const path = slicePath(versionDir, 3);
    for (const { damaged, bit } of eachBitFlipped(files[3]!)) {
      // One bit of each byte: the reader's own test takes them all, without a file for each.
      if ((bit & 7) !== ((bit >> 3) & 7)) continue;
      await writeFile(path, damaged);
      expect(await outcomeOf(loadSlice(path, 3, 16, slices[3]!)), `bit ${bit}`).toBe('slice_malformed');
    }
  });

  test('is refused when it ends early, goes on, or is empty', async () => {
    const { versionDir, slices } = await writeVersion(4);
    const path = slicePath(versionDir, 0);
    for (const size of [slices[0]!.bytes - 1, slices[0]!.bytes + 1, sliceHeaderSize, sliceHeaderSize - 1, 0]) {
      await truncate(path, size);
      expect(await outcomeOf(loadSlice(path, 0, 4, slices[0]!))).toBe('slice_malformed');
    }
  });

  test('is refused in the place of another of its version, even one of the same size', async () => {
    // Two slices of one record each whose sizes are equal.
    const { versionDir, slices } = await writeVersion(2, ['key-0', 'key-3']);
    expect(slices[0]!.bytes).toBe(slices[1]!.bytes);
    await rename(slicePath(versionDir, 0), join(dataDir, 'aside'));
    await rename(slicePath(versionDir, 1), slicePath(versionDir, 0));
    await rename(join(dataDir, 'aside'), slicePath(versionDir, 1));
    await expect(loadSlice(slicePath(versionDir, 0), 0, 2, slices[0]!)).rejects.toThrow(/SHA-256 of its header/);
    await expect(loadSlice(slicePath(versionDir, 1), 1, 2, slices[1]!)).rejects.toThrow(/SHA-256 of its header/);
  });

  test('is refused from another version, even with the same keys and the same sizes', async () => {
    const keys = ['key-0', 'key-3'];
    const ours = await writeVersion(2, keys, 'value');
    const theirs = await writeVersion(2, keys, 'VALUE');
    expect(theirs.slices[0]!.bytes).toBe(ours.slices[0]!.bytes);
    await rename(slicePath(theirs.versionDir, 0), slicePath(ours.versionDir, 0));
    await expect(loadSlice(slicePath(ours.versionDir, 0), 0, 2, ours.slices[0]!)).rejects.toThrow(/SHA-256 of its header/);
  });

  test('is refused when it is asked for as another one, or contradicts the manifest in its number of entries', async () => {
    const { versionDir, slices } = await writeVersion(4);
    const [path, expected] = [slicePath(versionDir, 1), slices[1]!];
    await expect(loadSlice(path, 2, 4, expected)).rejects.toThrow(/slice 1 of 4 with \d+ entries; the manifest says 2 of 4/);
    await expect(loadSlice(path, 1, 8, expected)).rejects.toThrow(/the manifest says 1 of 8/);
    const entries = expected.entries + 1;
    await expect(loadSlice(path, 1, 4, { ...expected, entries })).rejects.toThrow(new RegExp(`says 1 of 4 with ${entries}`));
    await expect(loadSlice(path, 1, 4, { ...expected, headerSha256: expected.sha256 })).rejects.toMatchObject({ code: 'slice_malformed' });
  });

  test('is refused through a link, missing when it is missing, and no folder', async () => {
    const { versionDir, slices } = await writeVersion(4);
    await rename(slicePath(versionDir, 0), join(dataDir, 'elsewhere'));
    await expect(loadSlice(slicePath(versionDir, 0), 0, 4, slices[0]!)).rejects.toMatchObject({ code: 'ENOENT' });
    await symlink(join(dataDir, 'elsewhere'), slicePath(versionDir, 0));
    await expect(loadSlice(slicePath(versionDir, 0), 0, 4, slices[0]!)).rejects.toMatchObject({ code: 'ELOOP' });
    await rm(slicePath(versionDir, 0));
    await mkdir(slicePath(versionDir, 0));
    await expect(loadSlice(slicePath(versionDir, 0), 0, 4, slices[0]!)).rejects.toMatchObject({ code: 'slice_malformed' });
  });

  test('lies under a name of at least four digits', () => {
    const names = [0, 7, 4095, 12_345].map((index) => slicePath('/data/versions/ID', index));
    expect(names).toEqual(['0000', '0007', '4095', '12345'].map((digits) => `/data/versions/ID/slices/${digits}.slice`));
  });
});

describe('reading a file to the end of a buffer', () => {
  test('goes on after short reads, from where it was told, and never asks for more than 64 MiB', async () => {
    const content = Buffer.alloc(70 * 2 ** 20, 'pavo');
    const file = fakeFile(content, { readSizeMax: 40 * 2 ** 20 });
    const bytes = Buffer.alloc(content.length - 3);
    await readFully(file.handle, bytes, 3, 'file');
    expect(bytes.equals(content.subarray(3))).toBe(true);
    expect(file.asked).toEqual([64 * 2 ** 20, 30 * 2 ** 20 - 3]);
  });

  test('is refused where the file ends before', async () => {
    const { handle } = fakeFile(Buffer.alloc(10), { readSizeMax: 4 });
    await expect(readFully(handle, Buffer.alloc(8), 3, 'file')).rejects.toThrow(/file: ends at 10, expected 11/);
    await expect(readFully(handle, Buffer.alloc(1), 10, 'file')).rejects.toMatchObject({ code: 'slice_malformed' });
    await readFully(handle, Buffer.alloc(0), 10, 'file');
  });

  test('works on a real file', async () => {
    await writeFile(join(dataDir, 'file'), 'peacock');
    const file = await openFile(join(dataDir, 'file'));
    const bytes = Buffer.alloc(4);
    await readFully(file, bytes, 3, 'file');
    await file.close();
    expect(bytes.toString()).toBe('cock');
  });
});

type WrittenVersion = { manifest: Manifest; versionDir: string; slices: readonly ManifestSlice[]; files: Buffer[] };

/** Writes a version of those keys, by default of 60, into `dataDir`. */
async function writeVersion(sliceCount: number, keys?: readonly string[], value = 'value'): Promise<WrittenVersion> {
  const entries = keys ? keys.map((key): [Buffer, Buffer] => [Buffer.from(key), Buffer.from(value)]) : entriesOf(60);
  const files = Array.from({ length: sliceCount }, (_, index) => encodeEntries(entries, index, sliceCount));
  const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  const slices = files.map(
    (file): ManifestSlice => ({
      entries: file.readUInt32LE(40),
      bytes: file.length,
      headerSha256: sha256(file.subarray(0, sliceHeaderSize)),
      sha256: sha256(file),
    }),
  );
  const identity = { format: 1, hash: 'murmur3_x86_32', sliceCount, slices };
  const counts = {
    entries: entries.length,
    keyBytes: 0,
    valueBytes: 0,
    sliceBytes: 0,
    lines: 0,
    duplicates: 0,
    rejectedLines: 0,
    blankLines: 0,
  };
  const manifest = { id: versionIdOf(identity), identity, totals: counts, source: { files: [], options: {} }, createdAt: '' };
  const versionDir = versionPath(dataDir, manifest.id);
  await mkdir(slicesPath(versionDir), { recursive: true });
  await writeFile(manifestPath(versionDir), formatManifest(manifest));
  await Promise.all(files.map(async (file, index) => await writeFile(slicePath(versionDir, index), file)));
  return { manifest, versionDir, slices, files };
}

/** A file that gives at most `readSizeMax` bytes at a time, and what it was asked for. */
function fakeFile(content: Buffer, { readSizeMax }: { readSizeMax: number }): { handle: FileHandle; asked: number[] } {
  const asked: number[] = [];
  const read = async (target: Buffer, at: number, length: number, position: number): Promise<{ bytesRead: number }> => {
    asked.push(length);
    return { bytesRead: content.copy(target, at, position, position + Math.min(length, readSizeMax)) };
  };
  return { handle: { read } as unknown as FileHandle, asked };
}

async function outcomeOf(act: Promise<unknown>): Promise<unknown> {
  return await act.then(
    () => 'accepted',
    (error) => error.code ?? error,
  );
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof PavostoreError ? error.code : String(error);
  }
  return 'nothing thrown';
}
