import { mkdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { splitFiles } from '../../../deploy/split/split.ts';
import { isUpToDate, type SplitOptions } from '../../../deploy/split/split-options.ts';
import { findDebris, makeFolder, readRecords } from '../data-folder.ts';

const text = Buffer.from(Array.from({ length: 5_000 }, (_, i) => `key-${i} value-${i}\n`).join(''));
// With a checksum, as the command line tool writes it.
const zstdOf = (bytes: Uint8Array): Buffer => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
const packings = { gz: gzipSync(text), zst: zstdOf(text) } as const;
const kinds = ['gz', 'zst'] as const;

/** Splits one file of that name and content; keeps what is in its data folder. */
async function splitBytes(folder: string, name: string, bytes: Uint8Array, options: Partial<SplitOptions> = {}): Promise<number> {
  const file = join(folder, name);
  await writeFile(file, bytes);
  const report = await splitFiles({ files: [file], dataDir: join(folder, 'data'), sliceCount: 1, jobs: 1, ...options });
  return report.totals.entries;
}

describe.for(kinds)('a .%s file', (kind) => {
  const packed = packings[kind];
  const pack = kind === 'gz' ? gzipSync : zstdOf;

  test('may have several parts, one after the other, that are cut anywhere', async () => {
    const folder = await makeFolder();
    const parts = [text.subarray(0, 17), text.subarray(17, 17), text.subarray(17, 1_001), text.subarray(1_001)].map((part) => pack(part));
    expect(await splitBytes(folder, `input.${kind}`, Buffer.concat(parts))).toBe(5_000);
  });

  test.for([
    ['garbage', Buffer.from('garbage')],
    ['zeros', Buffer.alloc(100)],
    ['a zero', Buffer.alloc(1)],
    ['half of a magic number', packed.subarray(0, 1)],
    ['a part that is cut off', packed.subarray(0, 50)],
    ['much garbage', Buffer.alloc(600_000, 0x55)],
    ['many zeros', Buffer.alloc(600_000)],
  ] as const)('with %s behind its end is an error', async ([, garbage]) => {
    const folder = await makeFolder();
    const split = splitBytes(folder, `input.${kind}`, Buffer.concat([packed, garbage]));
    await expect(split).rejects.toMatchObject({ code: 'input_unreadable', message: expect.stringContaining(`input.${kind}: `) });
    expect(await findDebris(join(folder, 'data'))).toEqual([]);
  });

  test('that is cut off is an error', async () => {
    const folder = await makeFolder();
    for (const size of [0, 1, 10, packed.length >> 1, packed.length - 1]) {
      const split = splitBytes(folder, `input.${kind}`, packed.subarray(0, size));
      await expect(split, `${size} bytes`).rejects.toMatchObject({ code: 'input_unreadable', message: expect.stringContaining('cut off') });
    }
  });

  test('that is damaged is an error', async () => {
    const folder = await makeFolder();
    for (const at of [0, packed.length >> 1, packed.length - 3]) {
      const damaged = Buffer.from(packed);
      damaged[at]! ^= 0xff;
      await expect(splitBytes(folder, `input.${kind}`, damaged), `byte ${at}`).rejects.toMatchObject({
        code: expect.stringMatching(/input_unreadable|line_malformed/),
      });
    }
  });
});

test('an input that grows, or whose time changes, while it is read is an error, and nothing is published', async () => {
  const folder = await makeFolder();
  const file = join(folder, 'input');
  const changes = [
    () => writeFile(file, 'late 1\n', { flag: 'a' }),
    () => utimes(file, 1, 1),
    () => writeFile(`${file}.new`, text).then(() => rm(file)),
  ];
  for (const change of changes) {
    let changed: Promise<unknown> | undefined;
    const onProgress = (): void => {
      changed ??= change();
    };
    await expect(splitBytes(folder, 'input', text, { onProgress })).rejects.toMatchObject({ code: 'input_unreadable' });
    await changed;
  }
  expect(await findDebris(join(folder, 'data'))).toEqual([]);
});

test('missing files, folders and files named twice are errors that name them', async () => {
  const folder = await makeFolder();
  const file = join(folder, 'input');
  const link = join(folder, 'link');
  await writeFile(file, text);
  await symlink(file, link);
  await mkdir(join(folder, 'folder'));
  const failure = async (...files: string[]): Promise<string> =>
    await splitFiles({ files, dataDir: join(folder, 'data') }).then(
      () => 'no failure',
      (error: Error) => error.message,
    );
  expect(await failure(join(folder, 'nowhere'))).toBe(`${join(folder, 'nowhere')}: no such file`);
  expect(await failure(join(folder, 'folder'))).toBe(`${join(folder, 'folder')}: it is a folder; name the files`);
  expect(await failure(file, file)).toBe(`${file}: it is named twice`);
  expect(await failure(file, link)).toBe(`${link}: it is the same file as ${file}`);
  expect(await failure('-', '-')).toBe('standard input: it is named twice');
  expect(await failure()).toBe('name a file to split, or - for standard input');
});

test('a data folder is up to date as long as files and options are the same', async () => {
  const folder = await makeFolder();
  const dataDir = join(folder, 'data');
  const file = join(folder, 'input');
  await writeFile(file, 'a 1\na 2\n');
  expect(await isUpToDate(dataDir, [file])).toBe(false);
  await splitFiles({ files: [file], dataDir, sliceCount: 2 });
  expect(await isUpToDate(dataDir, [file], { sliceCount: 2 })).toBe(true);
  expect(await isUpToDate(dataDir, [file, file], { sliceCount: 2 })).toBe(false);
  expect(await isUpToDate(dataDir, [file])).toBe(false);
  expect(await isUpToDate(dataDir, [file], { sliceCount: 2, duplicates: 'first' })).toBe(false);
  expect(await isUpToDate(dataDir, [file], { sliceCount: 2, separator: ' ' })).toBe(true);
  expect(await isUpToDate(dataDir, ['-'], { sliceCount: 2 })).toBe(false);
  expect(await isUpToDate(dataDir, [join(folder, 'other')], { sliceCount: 2 })).toBe(false);
  await writeFile(file, 'a 1\na 3\n');
  await utimes(file, 1, 1);
  expect(await isUpToDate(dataDir, [file], { sliceCount: 2 })).toBe(false);
  expect(await readRecords(dataDir)).toEqual(new Map([['a', '2']]));
});
