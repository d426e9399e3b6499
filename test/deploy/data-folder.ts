// A folder of its own for each test, what a data set in it holds, and the processes and waits that tests of `deploy` need.

import '../cluster/compile-cache.ts';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { loadSlice, readCurrent, readManifest, slicePath, versionPath } from '../../shared/data-set.ts';
import { recordsOf } from '../../shared/slice-layout.ts';

const program = fileURLToPath(new URL('../../deploy/pavostore.ts', import.meta.url));

/** A new folder, gone when the test is over. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pavostore-deploy-'));
  onTestFinished(async () => await rm(folder, { recursive: true, force: true }));
  return folder;
}

/** All records of the published version, keys and values one character a byte. */
export async function readRecords(dataDir: string): Promise<Map<string, string>> {
  const current = await readCurrent(dataDir);
  const { id, identity } = await readManifest(dataDir, current?.id);
  const records = new Map<string, string>();
  for (const [sliceIndex, expected] of identity.slices.entries()) {
    const path = slicePath(versionPath(dataDir, id), sliceIndex);
    const slice = await loadSlice(path, sliceIndex, identity.sliceCount, expected);
    for (const { keyStart, valueStart, end } of recordsOf(slice, path)) {
      const key = slice.bytes.toString('latin1', keyStart, valueStart);
      records.set(key, slice.bytes.toString('latin1', valueStart, end));
    }
  }
  return records;
}

/** The bytes of a version's files by name, one character a byte. */
export function filesOf(dataDir: string, id: string): Map<string, string> {
  const entries = readdirSync(versionPath(dataDir, id), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(entries.map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name), 'latin1')]));
}

/** What lies in a data folder beside `current`, `publications.json`, `versions` and what the test expects: nothing, when all was tidied up. */
export async function findDebris(dataDir: string, expected: readonly string[] = []): Promise<string[]> {
  return (await readdir(dataDir)).filter((name) => !['current', 'publications.json', 'versions', ...expected].includes(name));
}

export type Finished = {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** A `pavostore` process; killed when the test is over. */
export function startPavostore(args: readonly string[], env: NodeJS.ProcessEnv = {}): { child: ChildProcess; finished: Promise<Finished> } {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, ...env }, stdio: 'pipe' });
  onTestFinished(() => void child.kill('SIGKILL'));
  // A process that ends before it has read its input is what some tests are about.
  child.stdin.on('error', () => {});
  const closed = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => child.on('close', (...how) => resolve(how)));
  const finished = Promise.all([closed, text(child.stdout), text(child.stderr)]).then(([[exitCode, signal], stdout, stderr]) => ({
    exitCode,
    signal,
    stdout,
    stderr,
  }));
  return { child, finished };
}

/** Runs `pavostore` to its end, with `input` as its standard input. */
export async function runPavostore(args: readonly string[], input: string | Buffer = '', env: NodeJS.ProcessEnv = {}): Promise<Finished> {
  const { child, finished } = startPavostore(args, env);
  child.stdin!.end(input);
  return await finished;
}

const progressLine = /^(reading|writing slices|syncing|publishing|verifying|comparing|backing up|restoring|checking)\b.*\n/gm;

/** Without the lines that say how far it is: what takes more than 5 s writes some to its standard error. */
export function withoutProgress({ stderr, ...rest }: Finished): Finished {
  return { ...rest, stderr: stderr.replace(progressLine, '') };
}

/** Returns what `look` gives as soon as that is something; throws when it is nothing for too long. */
export async function waitFor<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  const deadlineMs = performance.now() + 30_000;
  while (performance.now() < deadlineMs) {
    const found = await look();
    if (found !== undefined) return found;
    await delay(5);
  }
  throw new Error(`waited 30 s for ${what}`);
}
