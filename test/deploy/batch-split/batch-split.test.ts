import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { finishSplit } from '../../../deploy/batch-split/finish-split.ts';
import { mapPart } from '../../../deploy/batch-split/map-part.ts';
import { sealRange } from '../../../deploy/batch-split/seal-range.ts';
import { parsePart, parseRange } from '../../../deploy/batch-split/work-folder.ts';
import { splitFiles } from '../../../deploy/split/split.ts';
import type { SourceOptions } from '../../../deploy/split/split-options.ts';
import { verifyDataSet } from '../../../deploy/verify/verify.ts';
import { readManifest, slicesPath, versionPath } from '../../../shared/data-set.ts';
import { findDebris, makeFolder, runPavostore, startPavostore, waitFor } from '../data-folder.ts';
import { hostileText } from '../reslice/hostile-text.ts';
import { unsyncedEnv } from '../unsynced.ts';

type Steps = { readonly files: readonly string[]; readonly workDir: string; readonly partCount: number; readonly options?: SourceOptions };

async function mapAll({ files, workDir, partCount, options }: Steps): Promise<void> {
  for (let index = 0; index < partCount; index++) {
    await mapPart({ ...options, files, workDir, part: { index, count: partCount }, jobs: 1, bounds: { chunkSize: 5_000 } });
  }
}

async function sealAll(workDir: string, ranges: readonly string[]): Promise<void> {
  for (const range of ranges) await sealRange({ workDir, range: parseRange(range), jobs: 2 });
}

/** The slice files and all of the manifest but its time. */
async function readVersion(dataDir: string, id: string): Promise<unknown> {
  const folder = slicesPath(versionPath(dataDir, id));
  const names = (await readdir(folder)).sort();
  const files = await Promise.all(names.map(async (name) => await readFile(join(folder, name))));
  return { names, files, ...(await readManifest(dataDir, id)), createdAt: '' };
}

const lines = (count: number): string => Array.from({ length: count }, (_, i) => `key-${(i * 7) % (count / 2)} value ${i}\n`).join('');

test('four processes map and seal, one of each killed and started again: byte for byte what split makes', async () => {
  const folder = await makeFolder();
  const file = join(folder, 'input');
  await writeFile(file, Buffer.concat([hostileText(), Buffer.from(lines(200_000)), hostileText()]));
  const alone = await splitFiles({ files: [file], dataDir: join(folder, 'alone') });
  const workDir = join(folder, 'work');
  const dataDir = join(folder, 'data');
  const map = (index: number): string[] => ['split-map', '--work', workDir, '--part', `${index}/4`, '--jobs', '1', file];
  const seal = (index: number): string[] => [
    'split-seal',
    '--work',
    workDir,
    '--jobs',
    '1',
    '--ranges',
    `${64 * index}-${64 * index + 63}`,
  ];
  for (const argsOf of [map, seal]) {
    await killInTheMiddle(workDir, argsOf(2));
    const runs = await Promise.all([0, 1, 2, 3].map((index) => runPavostore(argsOf(index))));
    for (const run of runs)
      expect(run).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^(part|range) .* (complete|sealed): /) });
  }
  const finished = await runPavostore(['split-finish', '--work', workDir, '--data', dataDir, '--json']);
  expect(finished.exitCode).toBe(0);
  expect(JSON.parse(finished.stdout)).toMatchObject({ id: alone.id, published: true, totals: alone.totals });
  expect(await readVersion(dataDir, alone.id)).toEqual(await readVersion(join(folder, 'alone'), alone.id));
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id: alone.id, problems: [] });
  expect(await findDebris(dataDir)).toEqual([]);
});

/** Starts a step, kills it when it has begun to write, and checks that it is not complete. */
async function killInTheMiddle(workDir: string, args: readonly string[]): Promise<void> {
  const before = await namesIn(workDir);
  const { child, finished } = startPavostore(args, unsyncedEnv);
  await waitFor(async () => await findBegun(workDir, before), 'a step at work');
  child.kill('SIGKILL');
  expect((await finished).signal).toBe('SIGKILL');
  expect((await namesIn(workDir)).filter((name) => !before.includes(name))).toEqual([expect.stringMatching(/^\.tmp-/)]);
}

async function findBegun(workDir: string, before: readonly string[]): Promise<true | undefined> {
  for (const name of (await namesIn(workDir)).filter((found) => !before.includes(found))) {
    for (const begun of [join('part', '000.spill'), join('version', 'slices')]) {
      if (await stat(join(workDir, name, begun)).catch(() => undefined)) return true;
    }
  }
  return undefined;
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}

test.for<[string, SourceOptions, number, string[]]>([
  ['the default count', {}, 7, ['0-255']],
  ['one slice', { sliceCount: 1, duplicates: 'first' }, 3, ['0-0', '1-255']],
  ['16 slices and uneven ranges', { sliceCount: 16 }, 1, ['0-17', '18-99', '100-255']],
  ['512 slices', { sliceCount: 512, badLines: 'skip' }, 4, ['128-255', '0-127']],
])('several files, plain and compressed, in any number of parts, make what split makes: %s', async ([, options, partCount, ranges]) => {
  const folder = await makeFolder();
  const text = hostileText();
  const mark = Buffer.from('\ufeff');
  const contents: [string, Buffer][] = [
    ['one', Buffer.concat([mark, text.subarray(0, 300_000), Buffer.from('\n')])],
    ['two.gz', gzipSync(Buffer.concat([mark, Buffer.from(lines(3_000))]))],
    ['none', Buffer.alloc(0)],
    ['three', Buffer.from(`${lines(2_000)}${options.badLines === 'skip' ? 'bad\n\nworse' : ''}\nkey-1 last`)],
    ['four.gz', gzipSync(Buffer.from('key-2 last of all'))],
  ];
  const files = contents.map(([name]) => join(folder, name));
  for (const [index, [, bytes]] of contents.entries()) await writeFile(files[index]!, bytes);
  // The first file is cut in the middle of a line: its last one may be no record.
  const sourceOptions: SourceOptions = { badLines: 'skip', ...options };
  const aloneDir = join(folder, 'alone');
  const alone = await splitFiles({ files, dataDir: aloneDir, ...sourceOptions });
  const workDir = join(folder, 'work');
  const dataDir = join(folder, 'data');
  await mapAll({ files, workDir, partCount, options: sourceOptions });
  await sealAll(workDir, ranges);
  const report = await finishSplit({ workDir, dataDir, jobs: 2 });
  expect(report).toMatchObject({ id: alone.id, totals: alone.totals, published: true, reused: false });
  expect(await readVersion(dataDir, report.id)).toEqual(await readVersion(aloneDir, alone.id));
  expect(await readFile(report.rejectsPath!)).toEqual(await readFile(alone.rejectsPath!));
});

test('the Kubernetes Jobs read every part and seal every range', async () => {
  const text = await readFile(new URL('../../../deploy/kubernetes/split-job.yaml', import.meta.url), 'utf8');
  const [map, seal, finish] = parseAllDocuments(text).map((document) => document.toJS() as Job);
  const argsOf = ({ spec }: Job): string[] => spec.template.spec.containers[0]!.args;
  const part = argsOf(map!)[argsOf(map!).indexOf('--part') + 1]!;
  for (let index = 0; index < map!.spec.completions; index++) {
    expect(parsePart(part.replace('$(JOB_COMPLETION_INDEX)', String(index)))).toEqual({ index, count: map!.spec.completions });
  }
  const ranges = Array.from({ length: seal!.spec.completions }, (_, index) => {
    const { env } = seal!.spec.template.spec.containers[0]!;
    const variables = { ...Object.fromEntries(env!.map(({ name, value }) => [name, value])), JOB_COMPLETION_INDEX: String(index) };
    const script = argsOf(seal!)[0]!.replace('exec node /app/deploy/pavostore.ts', 'echo');
    const { stdout } = spawnSync('/bin/sh', ['-c', script], { env: variables, encoding: 'utf8' });
    return parseRange(stdout.trim().split(' ').at(-1)!);
  });
  expect(ranges.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i))).toEqual(
    Array.from({ length: 256 }, (_, i) => i),
  );
  expect([argsOf(map!)[0], argsOf(finish!)[0]]).toEqual(['split-map', 'split-finish']);
});

type Job = {
  readonly spec: {
    readonly completions: number;
    readonly template: { readonly spec: { readonly containers: readonly { args: string[]; env?: { name: string; value: string }[] }[] } };
  };
};

async function makeInput(text: string): Promise<{ folder: string; files: string[]; workDir: string; dataDir: string }> {
  const folder = await makeFolder();
  const files = [join(folder, 'input')];
  await writeFile(files[0]!, text);
  return { folder, files, workDir: join(folder, 'work'), dataDir: join(folder, 'data') };
}

test('a step that lacks what it needs names it, and a step done twice does nothing the second time', async () => {
  const { files, workDir, dataDir } = await makeInput(lines(1_000));
  const seal = (range: string): Promise<unknown> => sealRange({ workDir, range: parseRange(range), jobs: 1 });
  await expect(seal('0-255')).rejects.toMatchObject({ code: 'part_missing' });
  for (const index of [0, 2]) await mapPart({ files, workDir, part: { index, count: 4 }, jobs: 1 });
  await expect(seal('0-255')).rejects.toMatchObject({
    code: 'part_missing',
    message: `${workDir}: of 4 parts these are not complete: 1, 3`,
  });
  for (const index of [0, 1, 2, 3]) {
    const report = await mapPart({ files, workDir, part: { index, count: 4 }, jobs: 1 });
    expect(report.reused).toBe(index % 2 === 0);
  }
  await seal('64-99');
  await expect(finishSplit({ workDir, dataDir })).rejects.toMatchObject({
    code: 'part_missing',
    message: `${workDir}: these ranges are not sealed: 0-63, 100-255`,
  });
  await sealAll(workDir, ['0-63', '100-255']);
  expect(await seal('64-99')).toMatchObject({ reused: true });
  const first = await finishSplit({ workDir, dataDir, publish: false });
  expect(first).toMatchObject({ published: false, reused: false });
  expect(await finishSplit({ workDir, dataDir })).toMatchObject({ id: first.id, published: true, reused: true });
  await seal('0-0');
  await expect(finishSplit({ workDir, dataDir })).rejects.toMatchObject({
    code: 'part_malformed',
    message: `${workDir}: these ranges are sealed more than once: 0-0; remove one`,
  });
});

test('parts of other files, other options or another division do not mix', async () => {
  const { files, workDir } = await makeInput(lines(1_000));
  const part = { index: 0, count: 2 };
  await mapPart({ files, workDir, part, jobs: 1 });
  await expect(mapPart({ files, workDir, part, jobs: 1, keepCr: true })).rejects.toMatchObject({ code: 'part_malformed' });
  await mapPart({ files, workDir, part: { index: 1, count: 2 }, jobs: 1, keepCr: true });
  const seal = sealRange({ workDir, range: parseRange('0-255') });
  await expect(seal).rejects.toMatchObject({ code: 'part_malformed', message: expect.stringContaining('part-0001-of-0002') });
  await mapPart({ files, workDir, part: { index: 1, count: 3 }, jobs: 1 });
  await expect(sealRange({ workDir, range: parseRange('0-255') })).rejects.toMatchObject({
    code: 'part_malformed',
    message: expect.stringContaining('others are of'),
  });
});

test('a bad line and a duplicate are named by their lines in the file, whichever part they are in', async () => {
  const good = Array.from({ length: 999 }, (_, i) => `key-${i} value\n`).join('');
  const { files, workDir } = await makeInput(`${good}bad\n`);
  const options = { duplicates: 'error' } as const;
  await expect(mapAll({ files, workDir, partCount: 3, options })).rejects.toMatchObject({
    code: 'line_malformed',
    message: `${files[0]}, line 1000: no separator (space): "bad"`,
  });
  await rm(workDir, { recursive: true });
  await writeFile(files[0]!, `${good}key-7 again\n`);
  await mapAll({ files, workDir, partCount: 3, options });
  await expect(sealRange({ workDir, range: parseRange('0-255') })).rejects.toMatchObject({
    code: 'key_duplicated',
    message: `${files[0]}, line 1000: key "key-7" is already on ${files[0]}, line 8; records with a key that came before: 1`,
  });
});

test('damage between the steps is found: in a spill file, in a report, in a slice', async () => {
  const { files, workDir, dataDir } = await makeInput(lines(1_000));
  await mapAll({ files, workDir, partCount: 2 });
  const spill = join(workDir, 'part-0001-of-0002', '009.spill');
  const bytes = await readFile(spill);
  await writeFile(spill, bytes.subarray(1));
  await expect(sealAll(workDir, ['0-255'])).rejects.toMatchObject({ code: 'spill_malformed', message: expect.stringContaining(spill) });
  await writeFile(spill, bytes);
  await sealAll(workDir, ['0-255']);
  const slice = join(workDir, 'seal-000-255', 'slices', '0009.slice');
  const sliceBytes = await readFile(slice);
  sliceBytes[sliceBytes.length - 1]! ^= 1;
  await writeFile(slice, sliceBytes);
  await expect(finishSplit({ workDir, dataDir })).rejects.toMatchObject({ code: 'slice_malformed' });
  await rm(slice);
  await expect(finishSplit({ workDir, dataDir })).rejects.toMatchObject({ code: 'part_malformed', message: `${slice}: no such file` });
  await writeFile(join(workDir, 'part-0000-of-0002', 'report.json'), '{');
  await expect(finishSplit({ workDir, dataDir })).rejects.toMatchObject({ code: 'part_malformed' });
  expect(await findDebris(dataDir)).toEqual([]);
});

test('what cannot be is wrong usage; what has no size has no parts; no record is no version', async () => {
  for (const text of ['', '1', '3/3', '-1/3', '1/0', '0/5000', '1/2/3']) expect(() => parsePart(text)).toThrow('i/n is needed');
  for (const text of ['', '7', '9-8', '0-256', '-1-3']) expect(() => parseRange(text)).toThrow('a-b is needed');
  const { files, workDir } = await makeInput('\n\n');
  await expect(mapPart({ files: ['-'], workDir, part: { index: 0, count: 1 } })).rejects.toMatchObject({ code: 'input_unreadable' });
  await mapAll({ files, workDir, partCount: 2 });
  await expect(sealAll(workDir, ['0-255'])).rejects.toMatchObject({ code: 'version_refused' });
  await mkdir(join(workDir, 'other'));
  expect(await runPavostore(['split-map', '--work', workDir, '--part', '2/2', files[0]!])).toMatchObject({ exitCode: 2 });
});
