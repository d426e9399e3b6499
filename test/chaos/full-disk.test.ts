// Disks that are full, under real commands and processes: what fails says so and changes nothing, and what is served stays served.

import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { program, withoutOwnVariables } from '../../deploy/serve/supervised-process.ts';
import { SupervisedProcess } from '../../shared/supervised-process.ts';
import { runProgram } from '../cluster/program.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import { publishRecords } from '../data-sets.ts';
import { ask, getRequest, percentEncode } from '../raw-http.ts';
import { filler, SmallDisk, whyNoSmallDisk } from './small-disk.ts';

const skipped = whyNoSmallDisk();
if (skipped !== undefined) console.log(`full-disk.test.ts: skipped: ${skipped}`);
const testOnDisk = test.skipIf(skipped !== undefined);

const MiB = 2 ** 20;
const waiting = { timeout: 30_000, interval: 50 } as const;
const records = new Map(Array.from({ length: 1_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i} `.repeat(80))]));
const text = (word: string, times = 80): string =>
  Array.from({ length: 1_000 }, (_, i) => `key-${i} ${`${word} ${i} `.repeat(times)}`).join('\n');

let folder: string;
let disks: SmallDisk[];
let children: SupervisedProcess[];
let deaths: string[];
/** What the processes have logged. */
let logged: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pavostore-full-'));
  [disks, children, deaths, logged] = [[], [], [], ''];
});
afterEach(async () => {
  await Promise.all(children.map(async (child) => await child.stop()));
  for (const disk of disks) disk.close();
  rmSync(folder, { recursive: true, force: true });
  expect(deaths).toEqual([]);
});

function mount(name: string, sizeBytes: number): SmallDisk {
  const disk = new SmallDisk(join(folder, name), sizeBytes);
  disks.push(disk);
  return disk;
}

async function start(...args: string[]): Promise<{ address: string; child: SupervisedProcess }> {
  const child = new SupervisedProcess({
    title: args[0]!,
    onDeath: (message) => deaths.push(message),
    spawn: () => {
      const spawned = spawn(process.execPath, [program, ...args], {
        stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
        env: { ...process.env, ...withoutOwnVariables() },
        detached: true,
      });
      spawned.stderr!.on('data', (bytes: Buffer) => {
        logged += bytes.toString();
      });
      return spawned;
    },
  });
  children.push(child);
  return { address: `127.0.0.1:${await child.start()}`, child };
}

async function said(address: string, key: string): Promise<string> {
  const { status, body } = await ask(address, getRequest(`/get?key=${percentEncode(key)}`));
  return status === 200 ? body.toString() : `${status} ${(JSON.parse(body.toString()) as { code: string }).code}`;
}

async function untilReady(address: string): Promise<void> {
  await vi.waitFor(async () => expect((await ask(address, getRequest('/health/ready'))).status).toBe(200), waiting);
}

function filesIn(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name !== filler)
    .sort();
}

testOnDisk('a split and a publish onto a full disk fail, say so, leave nothing, and what is served stays served', async () => {
  const disk = mount('data', 48 * MiB);
  const data = disk.folder;
  const [first, second] = [join(folder, 'first.data'), join(folder, 'second.data')];
  writeFileSync(first, text('first'));
  writeFileSync(second, text('second'));
  const run = async (...args: string[]) => await runProgram([...args, '--data', data]);
  expect((await run('split', first)).exitCode).toBe(0);
  const { address } = await start('shard', '--data', data, '--port', '0');
  await untilReady(address);
  const current = readFileSync(join(data, 'current'));
  const value = `${'first 7 '.repeat(80)}`;
  expect(await said(address, 'key-7')).toBe(value);

  const before = filesIn(data);
  // Of a file it is known how much room it takes; of a pipe it is not, and the disk is full in the middle.
  for (const input of [
    { file: second, freeBytes: MiB },
    { file: '-', freeBytes: 20 * MiB, stdin: text('third', 3_000) },
  ]) {
    disk.fill(input.freeBytes);
    const { exitCode, stderr } = await runProgram(['split', input.file, '--data', data], input.stdin ? { input: input.stdin } : {});
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('disk_short')]);
    expect([filesIn(data), readFileSync(join(data, 'current')).equals(current)]).toEqual([before, true]);
  }
  disk.makeRoom();
  expect((await run('split', second, '--no-publish')).exitCode).toBe(0);
  const other = readdirSync(join(data, 'versions')).find((id) => !current.includes(id))!;
  const whole = filesIn(data);
  // Without any room, and with some that ends in the middle.
  for (const freePages of [0, 1, 2]) {
    disk.fill(4_096 * freePages);
    const { exitCode, stderr } = await run('publish', other);
    if (exitCode === 0 && freePages > 0) break;
    expect([freePages, exitCode, stderr]).toEqual([freePages, 1, expect.stringContaining('disk_short')]);
    expect([freePages, filesIn(data), readFileSync(join(data, 'current')).equals(current)]).toEqual([freePages, whole, true]);
    expect(await said(address, 'key-7')).toBe(value);
  }

  disk.makeRoom();
  expect((await run('publish', other)).exitCode).toBe(0);
  await vi.waitFor(async () => expect(await said(address, 'key-7')).toBe('second 7 '.repeat(80)), waiting);
});

testOnDisk('a shard that fetches its slices onto a full disk serves them from memory, and says why', async () => {
  const disk = mount('empty', MiB);
  publishRecords(join(folder, 'data'), records, { sliceCount: 64 });
  const port = nextPorts(2);
  const members = [`127.0.0.1:${port}`, `127.0.0.1:${port + 1}`];
  const shard = async (i: number, dataDir: string, ...args: string[]) =>
    await start('shard', '--data', dataDir, '--port', String(port + i), '--members', members.join(','), '--replicas', '2', ...args);
  await shard(0, join(folder, 'data'), '--leave-grace', '0s');
  await untilReady(members[0]!);
  // There is room for the manifest and for some of the slices.
  disk.fill(MiB / 3);
  const { child } = await shard(1, disk.folder, '--leave-grace', '0s');
  let wrong = 0;
  await vi.waitFor(async () => {
    for (const [key, value] of [...records].slice(0, 50)) {
      const answer = await said(members[1]!, key);
      if (answer !== value.toString() && !/^(503|421) /.test(answer)) wrong++;
    }
    expect((await ask(members[1]!, getRequest('/health/ready'))).status).toBe(200);
  }, waiting);
  expect(wrong).toBe(0);
  for (const [key, value] of records) expect(await said(members[1]!, key)).toBe(value.toString());
  const { unmended } = JSON.parse((await ask(members[1]!, getRequest('/status'))).body.toString()) as {
    unmended: { slices: [number, number][] }[];
  };
  const inMemoryOnly = unmended.flatMap(({ slices }) => slices).reduce((sum, [from, to]) => sum + to - from + 1, 0);
  console.log(`${inMemoryOnly} of 64 slices are in memory only`);
  expect(inMemoryOnly).toBeGreaterThan(10);
  expect(inMemoryOnly).toBeLessThan(64);
  expect(logged).toMatch(/fetched into memory only: .*the disk is full/);
  // While it runs it tries again and again to put the others into their files.
  await child.stop();
  expect(filesIn(disk.folder).filter((name) => name.includes('.tmp'))).toEqual([]);
});

testOnDisk('a shard whose --state is full stops in order all the same, and starts again', async () => {
  const disk = mount('state', 65_536);
  disk.fill();
  const large = new Map(Array.from({ length: 1_000 }, (_, i) => [`key ${i}`, Buffer.from(`value of ${i} `.repeat(2_000))]));
  publishRecords(join(folder, 'data'), large, { sliceCount: 64 });
  for (const round of [1, 2]) {
    // Less than the data: what is hot is remembered.
    const args = ['--data', join(folder, 'data'), '--state', disk.folder, '--memory', '18MiB'];
    const { address, child } = await start('shard', ...args, '--port', '0');
    await untilReady(address);
    for (const [key, value] of [...large].slice(0, 200)) expect(await said(address, key)).toBe(value.toString());
    await child.stop();
    expect(logged.match(/hot keys.*ENOSPC/g)).toHaveLength(round);
  }
  expect(filesIn(disk.folder)).toEqual([]);
});
