// The split as a process: what it prints, how it ends, and what it leaves when it is killed or the disk is full.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { splitFiles } from '../../../deploy/split/split.ts';
import { verifyDataSet } from '../../../deploy/verify/verify.ts';
import { limits } from '../../../shared/limits.ts';
import { findDebris, makeFolder, readRecords, runPavostore, startPavostore, waitFor } from '../data-folder.ts';

const lines = (count: number): string => Array.from({ length: count }, (_, i) => `key-${i} value-${i}\n`).join('');

async function publishSmall(dataDir: string): Promise<string> {
  const file = `${dataDir}.small`;
  await writeFile(file, 'old 1\n');
  return (await splitFiles({ files: [file], dataDir, sliceCount: 4 })).id;
}

/** A split of an endless standard input that has spilled some of it; returns the process and its temporary folder. */
async function startEndlessSplit(dataDir: string): Promise<ReturnType<typeof startPavostore> & { temporaryDir: string }> {
  const split = startPavostore(['split', '-', '--data', dataDir]);
  // More than a chunk, so that the first is cut off and spilled.
  split.child.stdin!.write(lines(900_000));
  const temporaryDir = await waitFor(async () => await findSpilled(dataDir), 'spilled records');
  return { ...split, temporaryDir };
}

async function findSpilled(dataDir: string): Promise<string | undefined> {
  for (const name of await readdir(dataDir)) {
    if (!name.startsWith('.tmp-')) continue;
    const spill = await stat(join(dataDir, name, '000.spill')).catch(() => undefined);
    if (spill && spill.size > 0) return join(dataDir, name);
  }
  return undefined;
}

test('a split that is killed leaves what was published, and the next one tidies up after it', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const id = await publishSmall(dataDir);
  const { child, finished, temporaryDir } = await startEndlessSplit(dataDir);
  child.kill('SIGKILL');
  expect((await finished).signal).toBe('SIGKILL');
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id, problems: [] });

  // Its heartbeat is still young: it might be alive, in another container.
  const file = join(dataDir, '..', 'input');
  await writeFile(file, 'new 1\n');
  await splitFiles({ files: [file], dataDir, sliceCount: 4 });
  expect(await readRecords(dataDir)).toEqual(new Map([['new', '1']]));
  expect((await stat(temporaryDir)).isDirectory()).toBe(true);

  const longAgo = Date.now() / 1_000 - 2 * (limits.heartbeatStaleMs / 1_000);
  await utimes(join(temporaryDir, 'heartbeat'), longAgo, longAgo);
  await splitFiles({ files: [file], dataDir, sliceCount: 4 });
  expect(await findDebris(dataDir)).toEqual([]);
});

test.for([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends a split with exit code %d and leaves nothing behind', async ([signal, exitCode]) => {
  const dataDir = join(await makeFolder(), 'data');
  const id = await publishSmall(dataDir);
  const { child, finished } = await startEndlessSplit(dataDir);
  child.kill(signal);
  expect(await finished).toMatchObject({ exitCode, stdout: '', stderr: expect.stringContaining(`ended by ${signal} [interrupted]`) });
  expect(await findDebris(dataDir)).toEqual([]);
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id, problems: [] });
});

test('two splits at once both work, and one of them is published', async () => {
  const folder = await makeFolder();
  const dataDir = join(folder, 'data');
  const files = ['one', 'two', 'three'].map((name) => join(folder, name));
  await writeFile(files[0]!, lines(2_000));
  await writeFile(files[1]!, lines(1_000));
  await writeFile(files[2]!, lines(2_000));
  const runs = await Promise.all(files.map((file) => runPavostore(['split', file, '--data', dataDir, '--slices', '16', '--json'])));
  const reports = runs.map(({ exitCode, stdout, stderr }) => {
    // Whoever waits for the others says so.
    const waits = `pavostore: ${join(dataDir, 'publish.lock')}: another process is publishing; waiting for it\n`;
    expect(stderr.replace(waits, '')).not.toContain('pavostore:');
    expect(exitCode).toBe(0);
    return JSON.parse(stdout) as { id: string; sequence: number };
  });
  expect(new Set(reports.map(({ sequence }) => sequence)).size).toBe(3);
  const last = reports.reduce((a, b) => (a.sequence > b.sequence ? a : b));
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id: last.id, sequence: last.sequence, problems: [] });
  for (const { id } of reports) expect((await verifyDataSet(dataDir, id)).problems).toEqual([]);
  expect(reports[0]!.id).toBe(reports[2]!.id);
  expect(await findDebris(dataDir)).toEqual([]);
});

test('a full disk ends the split with an error and leaves what was published', async (context) => {
  const folder = await makeFolder();
  const mounted = join(folder, 'disk');
  await mkdir(mounted);
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=18m', 'tmpfs', mounted], { encoding: 'utf8' });
  if (mount.status !== 0) context.skip(`a small file system cannot be mounted: ${mount.stderr || mount.error?.message}`);
  onTestFinished(() => void spawnSync('umount', ['-l', mounted]));
  const dataDir = join(mounted, 'data');
  const file = join(folder, 'small');
  await writeFile(file, 'old 1\n');
  const { id } = await splitFiles({ files: [file], dataDir, sliceCount: 4 });

  const large = join(folder, 'large');
  await writeFile(large, lines(1_000_000));
  const known = await runPavostore(['split', large, '--data', dataDir]);
  expect(known).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/the split needs about [\d.]+ MiB, [\d.]+ MiB are free \[disk_short\]/),
  });
  const unknown = await runPavostore(['split', '-', '--data', dataDir], await readFile(large));
  expect(unknown).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('the disk is full (ENOSPC) [disk_short]') });
  expect(await findDebris(dataDir)).toEqual([]);
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id, problems: [] });
});

test('the report is for people, or JSON for machines; --no-publish leaves what is published', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const id = await publishSmall(dataDir);
  const input = '\ufeffa 1\r\n\r\nbad\nb 2\na 3';
  const skipped = await runPavostore(
    ['split', '-', '--data', dataDir, '--bad-lines', 'skip', '--slices', '2', '--no-publish', '--json'],
    input,
  );
  expect(skipped.exitCode).toBe(0);
  const report = JSON.parse(skipped.stdout) as Record<string, unknown>;
  expect(report).toMatchObject({
    published: false,
    reused: false,
    sliceCount: 2,
    inputBytes: Buffer.byteLength(input),
    totals: { entries: 2, keyBytes: 2, valueBytes: 2, lines: 5, duplicates: 1, rejectedLines: 1, blankLines: 1 },
    rejectsPath: join(dataDir, 'rejects.txt'),
  });
  expect(await readFile(join(dataDir, 'rejects.txt'), 'utf8')).toBe('bad\n');
  expect(await verifyDataSet(dataDir, undefined)).toMatchObject({ id });
  expect(await verifyDataSet(dataDir, report.id as string)).toMatchObject({ entries: 2, problems: [] });

  const published = await runPavostore(['split', '-', '--data', dataDir, '--slices', '2', '--separator', 'tab'], 'a b\tc\n');
  expect(published).toMatchObject({ exitCode: 0 });
  expect(published.stdout).toMatch(/^version {5}[0-9a-f]{32}, published, sequence \d+\nentries {5}1\n/);
  expect(await readRecords(dataDir)).toEqual(new Map([['a b', 'c']]));
});

test('wrong usage ends with exit code 2, a failure with 1; the message is on standard error', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const wrong = [
    ['split'],
    ['split', '-', '--slices', '3'],
    ['split', '-', '--duplicates', 'both'],
    ['split', '-', '--separator', 'tab', '--separator', ','],
  ];
  const usage = await Promise.all(wrong.map((args) => runPavostore([...args, '--data', dataDir], 'a 1\n')));
  for (const { exitCode, stdout, stderr } of usage) {
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toContain('pavostore --help');
  }
  const failure = await runPavostore(['split', '-', '--data', dataDir], 'a 1\nbad\n');
  expect(failure).toMatchObject({
    exitCode: 1,
    stdout: '',
    stderr: expect.stringContaining('pavostore: standard input, line 2: no separator (space): "bad" [line_malformed]\n'),
  });
  expect(await findDebris(dataDir)).toEqual([]);
});

test('a reader that stops early ends generate in silence', async () => {
  const { child, finished } = startPavostore(['generate', '--entries', '100000000']);
  await once(child.stdout!, 'data');
  child.stdout!.destroy();
  expect(await finished.catch(() => undefined)).toBeUndefined();
  if (child.exitCode === null) await once(child, 'exit');
  expect(child.exitCode).toBe(0);
});
