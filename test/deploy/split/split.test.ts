import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { splitFiles } from '../../../deploy/split/split.ts';
import type { SplitOptions } from '../../../deploy/split/split-options.ts';
import { PavostoreError } from '../../../shared/errors.ts';
import { encodeRecords } from '../../data-sets.ts';
import { findDebris, makeFolder, readRecords } from '../data-folder.ts';
import { splitPlainly } from './plain-split.ts';

type Packing = 'plain' | 'gz' | 'zst' | 'stdin';

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
const idOf = (records: ReadonlyMap<string, string>, sliceCount: number): string =>
  encodeRecords(new Map([...records].map(([key, value]) => [key, bytesOf(value)])), sliceCount).manifest.id;

// Few keys, so that they repeat; bytes that mean something to a scanner; and any other.
const anyByte = fc.oneof(
  fc.constantFrom(' ', '\t', ',', '\r', 'a', 'b', '\0', '\xef', '\xbb', '\xbf', '\xff'),
  fc.integer({ min: 0, max: 255 }).map((n) => String.fromCharCode(n)),
);
const anyText = fc.array(anyByte, { maxLength: 12 }).map((bytes) => bytes.join('').replaceAll('\n', ''));
const anyKey = fc.oneof(fc.constantFrom('a', 'b', 'ab', 'key-1', 'key-2', 'k'.repeat(2048)), anyText);
const anyLine = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(anyKey, fc.constantFrom(' ', ' ', ' ', '\t', ','), anyText).map((parts) => parts.join('')) },
  { weight: 2, arbitrary: anyText },
  { weight: 1, arbitrary: fc.constantFrom('', '\r', ' ', 'k'.repeat(2049), `${'k'.repeat(2049)} v`, ` ${'v'.repeat(40)}`) },
);
const anyFile = fc
  .tuple(
    fc.constantFrom('', '', '\xef\xbb\xbf'),
    fc.array(fc.tuple(anyLine, fc.constantFrom('\n', '\n', '\r\n')), { maxLength: 40 }),
    fc.boolean(),
  )
  .map(
    ([mark, lines, cut]) =>
      mark +
      lines
        .map((line) => line.join(''))
        .join('')
        .slice(0, cut ? -1 : undefined),
  );

/** Writes the files as they are to be packed, and says what `splitFiles` takes for them. */
async function packFiles(
  folder: string,
  files: readonly string[],
  packings: readonly Packing[],
): Promise<Pick<SplitOptions, 'files' | 'stdin'>> {
  const names: string[] = [];
  let stdin: Readable | undefined;
  for (const [index, file] of files.entries()) {
    const packing = packings[index]!;
    const bytes = bytesOf(file);
    if (packing === 'stdin' && !stdin) {
      stdin = Readable.from(bytes.length === 0 ? [] : [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]);
      names.push('-');
      continue;
    }
    const name = join(folder, `input-${index}${packing === 'gz' || packing === 'zst' ? `.${packing}` : ''}`);
    await writeFile(name, packing === 'gz' ? gzipSync(bytes) : packing === 'zst' ? zstdCompressSync(bytes) : bytes);
    names.push(name);
  }
  return { files: names, stdin };
}

const labelOf = (name: string): string => (name === '-' ? 'standard input' : name);

test('any input, cut and packed in any way, becomes the version that a plain Map becomes', async () => {
  const folder = await makeFolder();
  let run = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        files: fc.array(anyFile, { minLength: 1, maxLength: 3 }),
        packings: fc.array(fc.constantFrom<Packing>('plain', 'plain', 'gz', 'zst', 'stdin'), { minLength: 3, maxLength: 3 }),
        jobs: fc.constantFrom(1, 1, 2, 3),
        sliceCount: fc.constantFrom(1, 2, 8, 16),
        chunkSize: fc.integer({ min: 16, max: 300 }),
        sealMemoryMax: fc.constantFrom(64, 300, 2 ** 20),
        separator: fc.constantFrom(' ', 'tab', ','),
        keepCr: fc.boolean(),
        duplicates: fc.constantFrom('last', 'last', 'first', 'error'),
        badLines: fc.constantFrom('skip', 'skip', 'error'),
      }),
      async ({ files, packings, chunkSize, sealMemoryMax, ...options }) => {
        const dataDir = join(folder, `run-${run++}`);
        await mkdir(dataDir);
        const packed = await packFiles(dataDir, files, packings);
        const rejectsPath = join(dataDir, 'rejects');
        const separator = options.separator === 'tab' ? '\t' : options.separator;
        const plain = splitPlainly(files, { ...options, separator });
        const split = splitFiles({ ...options, ...packed, dataDir, rejectsPath, bounds: { chunkSize, sealMemoryMax } });
        const placeOf = ({ fileIndex, lineNumber }: { fileIndex: number; lineNumber: number }): string =>
          `${labelOf(packed.files[fileIndex]!)}, line ${lineNumber}`;
        if (options.badLines === 'error' && plain.firstBad) {
          const error = await split.catch((caught: unknown) => caught);
          expect(error).toMatchObject({ code: 'line_malformed', message: expect.stringContaining(`${placeOf(plain.firstBad)}: `) });
        } else if (plain.records.size === 0) {
          await expect(split).rejects.toMatchObject({ code: 'version_refused' });
        } else if (options.duplicates === 'error' && plain.firstDuplicate) {
          const { first, second } = plain.firstDuplicate;
          const error = await split.catch((caught: unknown) => caught);
          expect(error).toMatchObject({ code: 'key_duplicated', message: expect.stringMatching(/came before: \d+$/) });
          expect((error as Error).message.startsWith(`${placeOf(second)}: key `)).toBe(true);
          expect((error as Error).message).toContain(`is already on ${placeOf(first)};`);
        } else {
          const { id, totals } = await split;
          expect(id).toBe(idOf(plain.records, options.sliceCount));
          const { lines, blankLines, duplicates, rejected } = plain;
          expect(totals).toMatchObject({ entries: plain.records.size, lines, blankLines, duplicates, rejectedLines: rejected.length });
          if (options.badLines === 'skip') {
            expect(await readFile(rejectsPath, 'latin1')).toBe(rejected.map((line) => `${line}\n`).join(''));
          }
        }
        const inputs = packed.files.map((name) => name.slice(dataDir.length + 1));
        expect(await findDebris(dataDir, [...inputs, 'rejects'])).toEqual([]);
      },
    ),
    { numRuns: 30 },
  );
});

test('the version is the same whatever the number of workers and the way in which the input comes', async () => {
  const folder = await makeFolder();
  const lines = Array.from({ length: 30_000 }, (_, i) => `key-${(i * 7) % 20_000} value ${i}\n`);
  const whole = [lines.join('')];
  const parts = [lines.slice(0, 11_111).join(''), lines.slice(11_111).join('')];
  const ways: { files: readonly string[]; packings: Packing[]; options?: Partial<SplitOptions> }[] = [
    { files: whole, packings: ['plain'], options: { jobs: 1 } },
    { files: whole, packings: ['plain'], options: { jobs: 2 } },
    { files: whole, packings: ['plain'], options: { jobs: 4, bounds: { chunkSize: 10_000 } } },
    { files: whole, packings: ['stdin'] },
    { files: whole, packings: ['gz'] },
    { files: whole, packings: ['zst'], options: { bounds: { chunkSize: 5_000, sealMemoryMax: 50_000 } } },
    { files: parts, packings: ['gz', 'plain'] },
    { files: parts, packings: ['plain', 'stdin'], options: { sliceCount: 256 } },
  ];
  const ids = [];
  for (const [index, { files, packings, options }] of ways.entries()) {
    const dataDir = join(folder, `data-${index}`);
    await mkdir(dataDir);
    ids.push((await splitFiles({ ...(await packFiles(dataDir, files, packings)), dataDir, sliceCount: 16, ...options })).id);
  }
  const { records } = splitPlainly(whole, { separator: ' ', keepCr: false, duplicates: 'last' });
  expect(ids).toEqual([...ways.slice(1).map(() => idOf(records, 16)), idOf(records, 256)]);
});

/** Splits one text with default rules, unless `options` say otherwise; the records as the data folder has them then. */
async function splitText(input: string | Buffer, options: Partial<SplitOptions> = {}): Promise<Map<string, string>> {
  const folder = await makeFolder();
  const file = join(folder, 'input');
  await writeFile(file, input);
  await splitFiles({ sliceCount: 1, ...options, files: [file], dataDir: join(folder, 'data') });
  return await readRecords(join(folder, 'data'));
}

async function failureOf(promise: Promise<unknown>): Promise<PavostoreError> {
  const error = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(PavostoreError);
  return error as PavostoreError;
}

test('the value is all behind the first separator, and may be empty', async () => {
  expect(await splitText('foo bar\nbaz is none\nempty \n  \n', { badLines: 'skip' })).toEqual(
    new Map([
      ['foo', 'bar'],
      ['baz', 'is none'],
      ['empty', ''],
    ]),
  );
});

test('a CR before the newline is dropped, one of two, unless it is to be kept', async () => {
  expect(await splitText('a 1\r\nb 2\r\r\n\r\nc 3\r')).toEqual(
    new Map([
      ['a', '1'],
      ['b', '2\r'],
      ['c', '3'],
    ]),
  );
  expect(await splitText('a 1\r\n', { keepCr: true })).toEqual(new Map([['a', '1\r']]));
});

test('a byte order mark is skipped at the start of a file and nowhere else', async () => {
  expect(await splitText('\ufeffa 1\n\ufeffb 2\n')).toEqual(
    new Map([
      ['a', '1'],
      ['\xef\xbb\xbfb', '2'],
    ]),
  );
});

test('a duplicate is the last one, the first one or an error, across files in their order', async () => {
  const folder = await makeFolder();
  const files = [join(folder, 'one'), join(folder, 'two')];
  await writeFile(files[0]!, 'a 1\nb 1\na 2\n');
  await writeFile(files[1]!, 'c 1\na 3\nb 2\n');
  const options = { files, dataDir: join(folder, 'data'), sliceCount: 2 };
  expect((await splitFiles({ ...options, duplicates: 'last' })).totals.duplicates).toBe(3);
  expect(await readRecords(options.dataDir)).toEqual(
    new Map([
      ['a', '3'],
      ['b', '2'],
      ['c', '1'],
    ]),
  );
  expect((await splitFiles({ ...options, duplicates: 'first' })).totals.duplicates).toBe(3);
  expect(await readRecords(options.dataDir)).toEqual(
    new Map([
      ['a', '1'],
      ['b', '1'],
      ['c', '1'],
    ]),
  );
  const error = await failureOf(splitFiles({ ...options, duplicates: 'error' }));
  expect(error.message).toBe(`${files[0]}, line 3: key "a" is already on ${files[0]}, line 1; records with a key that came before: 3`);
  expect((await readRecords(options.dataDir)).get('a')).toBe('1');
});

test('a key that comes a hundred thousand times takes no more memory than there is for a slice', async () => {
  const lines = Array.from({ length: 100_000 }, (_, i) => `hot value-${i}\n`).join('');
  const options = { bounds: { sealMemoryMax: 20_000, chunkSize: 5_000 } };
  expect(await splitText(`cold 1\n${lines}other 2\n`, options)).toEqual(
    new Map([
      ['cold', '1'],
      ['hot', 'value-99999'],
      ['other', '2'],
    ]),
  );
  const first = await splitText(`cold 1\n${lines}other 2\n`, { ...options, duplicates: 'first' });
  expect(first.get('hot')).toBe('value-0');
});

test('a value of 8 MiB and a key of 2,048 bytes are records, one byte more is a bad line', async () => {
  const value = 'v'.repeat(8 * 2 ** 20);
  const key = 'k'.repeat(2048);
  const records = await splitText(`${key} ${value}\r\nshort 1\n`);
  expect(records.get(key)).toHaveLength(value.length);
  const tooLong = await failureOf(splitText(`short 1\nlong ${value}v\n`));
  expect(tooLong).toMatchObject({
    code: 'line_malformed',
    message: expect.stringMatching(/line 2: the value is longer than 8388608 bytes: "long vvv/),
  });
  const keyTooLong = await failureOf(splitText(`short 1\n${key}k v\n`));
  expect(keyTooLong.message).toMatch(/line 2: no separator \(space\) after a key of at most 2048 bytes/);
});

test.for<Packing>(['plain', 'stdin', 'gz'])('lines longer than a chunk are rejected whole, from %s', async (packing) => {
  const folder = await makeFolder();
  const long = 'x'.repeat(18 * 2 ** 20);
  const short = 'y'.repeat(9 * 2 ** 20);
  const bad = [`nosep${long}`, ` ${short}`, `key ${short}`, 'short'];
  const text = `a 1\n${bad[0]}\n${bad[1]}\nb 2\n${bad[3]}\nc 3\n${bad[2]}`;
  const dataDir = join(folder, 'data');
  const packed = await packFiles(folder, [text, `${bad[3]}\nd 4`], [packing, 'plain']);
  const { totals, rejectsPath } = await splitFiles({ ...packed, dataDir, badLines: 'skip', sliceCount: 1, bounds: { chunkSize: 2 ** 20 } });
  expect(totals).toMatchObject({ entries: 4, lines: 9, rejectedLines: 5 });
  const rejects = (await readFile(rejectsPath!, 'latin1')).split('\n');
  expect(rejects.map((line) => line.length)).toEqual([bad[0], bad[1], bad[3], bad[2], bad[3], ''].map((line) => line!.length));
  expect(rejects[3] === bad[2]).toBe(true);
  const again = await packFiles(folder, [text], [packing]);
  const error = await failureOf(splitFiles({ ...again, dataDir, bounds: { chunkSize: 2 ** 20 } }));
  expect(error.message).toBe(
    `${labelOf(again.files[0]!)}, line 2: no separator (space) after a key of at most 2048 bytes: "nosep${'x'.repeat(55)}"…`,
  );
});

test('the first bad line of the input is named, whichever worker finds one first', async () => {
  const lines = Array.from({ length: 5_000 }, (_, i) => (i > 2_000 && i % 7 === 0 ? 'bad' : `key-${i} value`));
  const first = lines.indexOf('bad') + 1;
  for (let run = 0; run < 3; run++) {
    const error = await failureOf(splitText(`${lines.join('\n')}\n`, { jobs: 3, bounds: { chunkSize: 100 } }));
    expect(error.message).toMatch(new RegExp(`, line ${first}: no separator \\(space\\): "bad"$`));
  }
});

test('a slice that would be too large is an error that names the slice count needed', async () => {
  const text = Array.from({ length: 2_000 }, (_, i) => `key-${i} ${'v'.repeat(100)}\n`).join('');
  const error = await failureOf(splitText(text, { sliceCount: 2, bounds: { sliceSizeMax: 50_000 } }));
  expect(error).toMatchObject({
    code: 'slice_too_large',
    message: expect.stringMatching(/^slice \d of 2: .* at most 50000; --slices 8 is needed$/),
  });
  await splitText(text, { sliceCount: 8, bounds: { sliceSizeMax: 50_000 } });
  const hopeless = await failureOf(splitText(text, { sliceCount: 2, bounds: { sliceSizeMax: 90 } }));
  expect(hopeless.message).toMatch(/even 4096 slices would be too few$/);
});

test('an input without a record is refused', async () => {
  for (const text of ['', '\n\n', '\ufeff']) expect((await failureOf(splitText(text))).code).toBe('version_refused');
  expect((await failureOf(splitText('bad\n', { badLines: 'skip' }))).code).toBe('version_refused');
});

test('options that cannot be are wrong usage', async () => {
  const wrong: Partial<SplitOptions>[] = [
    { sliceCount: 3 },
    { sliceCount: 8192 },
    { sliceCount: 0 },
    { jobs: 0 },
    { jobs: 1.5 },
    { separator: '' },
    { separator: 'ab' },
    { separator: '\n' },
    { separator: 'é' },
  ];
  for (const options of wrong) expect((await failureOf(splitText('a 1\n', options))).code).toBe('usage');
});

test('an aborted split throws the reason and leaves nothing behind', async () => {
  const folder = await makeFolder();
  const dataDir = join(folder, 'data');
  const controller = new AbortController();
  // Never ends by itself.
  const stdin = new PassThrough();
  stdin.write('a 1\n'.repeat(10_000));
  const onProgress = (): void => controller.abort(new PavostoreError('interrupted', 'enough'));
  const error = await failureOf(
    splitFiles({ files: ['-'], stdin, dataDir, signal: controller.signal, onProgress, bounds: { chunkSize: 1000 } }),
  );
  expect(error.message).toBe('enough');
  expect(await findDebris(dataDir)).toEqual([]);
});
