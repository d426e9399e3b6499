// Backups and restores as real processes against a real S3-compatible server, killed in the middle, with the store going away.
// The long form: BACKUP_BYTES=1000000000 npm run test:chaos -- test/chaos/backup.test.ts

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { readCurrent, versionPath } from '../../shared/data-set.ts';
import { type Finished, runPavostore, startPavostore } from '../deploy/data-folder.ts';
import { account, accountEnv, bucket, makeRoot, startS3 } from '../object-store/places.ts';

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
const bytesWanted = Number(process.env.BACKUP_BYTES ?? 40_000_000);
console.log(`the kills of backup.test.ts: TEST_SEED=${seed}`);
const part = 16 * 1024 * 1024;
const waiting = { timeout: 120_000, interval: 2 } as const;
const env = { ...accountEnv, HOME: '/nowhere' };

/** A version of `bytesWanted` bytes in slices of one to two parts. */
let data: { dataDir: string; id: string; size: number; slices: number };

const root = mkdtempSync(join(tmpdir(), 'pavostore-backup-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

beforeAll(async () => {
  const slices = 2 ** Math.ceil(Math.log2(bytesWanted / (2 * part)));
  const dataDir = join(root, 'data');
  const generate = startPavostoreFor([
    'generate',
    '--entries',
    String(Math.round(bytesWanted / 1_040)),
    '--value-size',
    '1000',
    '--seed',
    String(seed),
  ]);
  const split = startPavostoreFor(['split', '-', '--data', dataDir, '--slices', String(slices)]);
  const ended = once(split, 'close');
  await pipeline(generate.stdout!, split.stdin!);
  expect((await ended)[0]).toBe(0);
  const { id } = (await readCurrent(dataDir))!;
  data = { dataDir, id, size: sizeOf(join(versionPath(dataDir, id), 'slices')), slices };
}, 300_000);

function startPavostoreFor(args: readonly string[]): ChildProcess {
  const program = fileURLToPath(new URL('../../deploy/pavostore.ts', import.meta.url));
  return spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Numbers from 0 to 1, the same for the same seed. */
let drawn = 0;
function draw(): number {
  return createHash('sha256').update(`${seed} ${drawn++}`).digest().readUInt32LE() / 2 ** 32;
}

/** All bytes below a folder. */
function sizeOf(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { recursive: true }).reduce((sum, name) => {
    const stats = statSync(join(folder, String(name)), { throwIfNoEntry: false });
    return sum + (stats?.isFile() ? stats.size : 0);
  }, 0);
}

async function digestsOf(dataDir: string, id: string): Promise<Record<string, string>> {
  const folder = versionPath(dataDir, id);
  const digests: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true }).map(String).sort()) {
    const path = join(folder, name);
    if (!statSync(path).isFile()) continue;
    const digest = createHash('sha256');
    for await (const chunk of createReadStream(path)) digest.update(chunk as Buffer);
    digests[name] = digest.digest('hex');
  }
  return digests;
}

const placeArgs = (endpoint: string): string[] => [`s3://${bucket}/a/place`, '--endpoint', endpoint];
const backupArgs = (endpoint: string, ...args: string[]): string[] => [
  'backup',
  '--data',
  data.dataDir,
  '--json',
  '--to',
  ...placeArgs(endpoint),
  ...args,
];

/** Whatever happens, no secret is told. */
function expectDiscreet({ stdout, stderr }: Finished): void {
  for (const secret of [account.secretAccessKey, account.sessionToken]) expect(stdout + stderr).not.toContain(secret);
}

async function run(args: readonly string[], variables: NodeJS.ProcessEnv = env): Promise<Finished> {
  const finished = await runPavostore(args, '', variables);
  expectDiscreet(finished);
  return finished;
}

async function runDone(args: readonly string[], variables: NodeJS.ProcessEnv = env): Promise<Record<string, unknown>> {
  const finished = await run(args, variables);
  expect(finished).toMatchObject({ exitCode: 0 });
  return JSON.parse(finished.stdout) as Record<string, unknown>;
}

/** Starts a command and kills it as soon as `look` says so; false when it was done before. */
async function killWhen(args: readonly string[], look: () => boolean): Promise<boolean> {
  const { child, finished } = startPavostore(args, env);
  let isDone = false;
  void finished.then(() => {
    isDone = true;
  });
  await vi.waitFor(() => expect(look() || isDone).toBe(true), waiting);
  child.kill('SIGKILL');
  const end = await finished;
  expectDiscreet(end);
  return end.signal === 'SIGKILL';
}

test('a backup and a restore that are killed again and again end byte for byte as the original', async () => {
  const server = await startS3({ partSizeMin: 5 * 1024 * 1024 });
  let kills = 0;
  for (let round = 0; round < 3; round++) {
    const until = server.bytesIn + data.size * (0.1 + 0.2 * draw());
    if (!(await killWhen(backupArgs(server.endpoint), () => server.bytesIn > until))) break;
    kills++;
    // Nothing half done is taken for a backup.
    expect((await run(backupArgs(server.endpoint, '--check'))).exitCode).toBe(1);
  }
  expect(kills).toBeGreaterThan(0);
  const report = await runDone(backupArgs(server.endpoint));
  expect(report).toMatchObject({ id: data.id, latest: true });
  // What was under way when it was killed goes twice, what was stored does not.
  expect(server.bytesIn).toBeLessThan(data.size + kills * 5 * part + 1_000_000);
  expect(server.uploadIds()).toEqual([]);
  console.log(
    `backup: ${data.size} bytes in ${data.slices} slices, killed ${kills} times, ${server.bytesIn} bytes received; last run ${JSON.stringify(report)}`,
  );
  expect(await runDone(backupArgs(server.endpoint, '--deep'))).toMatchObject({ sentSlices: 0, foundSlices: data.slices });
  expect(await runDone(backupArgs(server.endpoint, '--check', '--deep'))).toMatchObject({ good: true });

  const dataDir = join(makeRoot(), 'restored');
  const restoreArgs = ['restore', '--data', dataDir, '--json', '--from', ...placeArgs(server.endpoint)];
  let isKilled = false;
  for (let round = 0; round < 2; round++) {
    const until = data.size * (0.2 + 0.2 * draw()) * (round + 1);
    if (!(await killWhen(restoreArgs, () => sizeOf(dataDir) > until))) break;
    isKilled = true;
    expect(await readCurrent(dataDir)).toBeUndefined();
  }
  expect(isKilled).toBe(true);
  const sent = server.bytesOut;
  const restored = await runDone(restoreArgs);
  console.log(`restore: last run ${JSON.stringify(restored)}`);
  expect(server.bytesOut - sent).toBeLessThan(data.size * 0.9);
  expect(await digestsOf(dataDir, data.id)).toEqual(await digestsOf(data.dataDir, data.id));
  expect((await run(['verify', '--data', dataDir])).exitCode).toBe(0);
});

test('an object that somebody changed or swapped in the store is never published', async () => {
  const server = await startS3({ partSizeMin: 5 * 1024 * 1024 });
  await runDone(backupArgs(server.endpoint, '--no-verify'));
  const keys = server.keys(bucket).filter((key) => key.includes('/slices/'));
  const [one, other] = keys.map((key) => server.objectPath(bucket, key)) as [string, string];
  const original = readFileSync(one);
  const flipped = Buffer.from(original);
  flipped[Math.floor(draw() * flipped.length)]! ^= 1 << Math.floor(draw() * 8);
  const dataDir = join(makeRoot(), 'restored');
  const restoreArgs = ['restore', '--data', dataDir, '--json', '--from', ...placeArgs(server.endpoint)];
  for (const bytes of [flipped, readFileSync(other)]) {
    writeFileSync(one, bytes);
    expect(await run(restoreArgs)).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringContaining('[object_corrupt]') });
    expect([await readCurrent(dataDir), existsSync(join(dataDir, 'versions'))]).toEqual([undefined, false]);
    expect((await run(backupArgs(server.endpoint, '--check', '--deep'))).exitCode).toBe(1);
  }
  rmSync(one);
  expect(await run(restoreArgs)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('[object_missing]') });
  expect((await run(backupArgs(server.endpoint, '--check'))).exitCode).toBe(1);
});

/** The store as a process; killed when the test is over. */
async function startStore(storeRoot: string, port = 0): Promise<{ child: ChildProcess; endpoint: string }> {
  const script = fileURLToPath(new URL('../object-store/s3-server-process.ts', import.meta.url));
  const child = spawn(process.execPath, [script, storeRoot, bucket, String(port)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { child, endpoint: line.toString().trim() };
}

test('a store that goes away in the middle is a clear error without loss, one that comes back soon is none', async () => {
  const storeRoot = makeRoot();
  const { child, endpoint } = await startStore(storeRoot);
  const port = Number(new URL(endpoint).port);
  // Slow enough that it is never done before the store is gone.
  const args = backupArgs(endpoint, '--rate', String(Math.round(data.size / 2)));
  const first = startPavostore(args, env);
  await vi.waitFor(() => expect(sizeOf(storeRoot)).toBeGreaterThan(0.2 * data.size), waiting);
  child.kill('SIGKILL');
  const failed = await first.finished;
  expectDiscreet(failed);
  expect(failed).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringMatching(/tried 6 times\) \[store_unreachable\]\n$/) });

  const again = await startStore(storeRoot, port);
  const second = startPavostore(args, env);
  const before = sizeOf(storeRoot);
  await vi.waitFor(() => expect(sizeOf(storeRoot)).toBeGreaterThan(before + 0.1 * data.size), waiting);
  again.child.kill('SIGKILL');
  await once(again.child, 'close');
  await startStore(storeRoot, port);
  const done = await second.finished;
  expectDiscreet(done);
  expect(done).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(done.stdout)).toMatchObject({ id: data.id, latest: true });
  expect(await runDone(backupArgs(endpoint, '--check', '--deep'))).toMatchObject({ good: true });
});

test('--rate keeps the rate', async () => {
  const server = await startS3({ partSizeMin: 5 * 1024 * 1024 });
  const input = Array.from({ length: 8_000 }, (_, i) => `key${i} ${'v'.repeat(1_000)}\n`).join('');
  const dataDir = join(makeRoot(), 'data');
  const split = await runPavostore(['split', '-', '--data', dataDir, '--slices', '4', '--json'], input);
  const { sliceBytes } = (JSON.parse(split.stdout) as { totals: { sliceBytes: number } }).totals;
  const args = ['backup', '--data', dataDir, '--json', '--to', ...placeArgs(server.endpoint), '--rate', '4MiB/s'];
  const report = (await runDone(args)) as { seconds: number };
  // Sent and read back, but for the tenth of a second that is free.
  expect(report.seconds).toBeGreaterThan((2 * sliceBytes) / (4 * 1024 * 1024) - 0.2);
});

test('credentials that are wrong, missing or in a file', async () => {
  const server = await startS3();
  const wrong = { ...env, AWS_SECRET_ACCESS_KEY: 'wrong' };
  expect(await run(backupArgs(server.endpoint), wrong)).toMatchObject({
    exitCode: 1,
    stdout: '',
    stderr: expect.stringContaining('[store_refused]'),
  });
  const none = { ...process.env, HOME: '/nowhere', AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', AWS_SESSION_TOKEN: '' };
  expect(await run(backupArgs(server.endpoint), none)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('AWS_ACCESS_KEY_ID') });
  const path = join(makeRoot(), 'credentials');
  writeFileSync(
    path,
    `[default]\naws_access_key_id=${account.accessKeyId}\naws_secret_access_key=${account.secretAccessKey}\naws_session_token=${account.sessionToken}\n`,
  );
  const listed = await run(backupArgs(server.endpoint, '--check', '--credentials', path), none);
  expect(listed).toMatchObject({ exitCode: 1, stdout: expect.stringContaining('no backup is there') });
});
