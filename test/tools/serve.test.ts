// `pavostore serve` as a user starts and stops it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { waiting } from '../cluster/cluster-harness.ts';
import { nextPorts } from '../cluster/test-ports.ts';
import { ask, getRequest } from '../raw-http.ts';

const program = fileURLToPath(new URL('../../deploy/pavostore.ts', import.meta.url));

/** A variable that the processes of a test inherit from each other. */
const marker = 'SERVE_TEST_FOLDER';

let folder: string;
let server: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pavostore-serve-'));
  writeFileSync(join(folder, 'first.data'), 'foo bar\nbaz is none\nempty \n');
  writeFileSync(join(folder, 'second.data'), 'foo something else\n');
});
afterEach(async () => {
  if (server?.exitCode === null && server.signalCode === null) {
    server.kill('SIGTERM');
    await once(server, 'exit');
  }
  await vi.waitFor(() => expect(processesOf(folder)).toEqual([]), waiting);
  expect(readdirSync(join(folder, 'data')).sort()).toEqual(['current', 'publications.json', 'versions']);
  rmSync(folder, { recursive: true });
});

/** Starts a cluster; resolves to the router's address when it says that it serves. */
async function serve(...args: readonly string[]): Promise<{ address: string; said: () => string }> {
  server = spawn(process.execPath, [program, 'serve', '--port', '0', '--shard-port', String(nextPorts(3)), '--data', 'data', ...args], {
    cwd: folder,
    env: { ...process.env, [marker]: folder },
  });
  let said = '';
  for (const stream of [server.stdout!, server.stderr!]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const address = await vi.waitFor(() => {
    if (server!.exitCode !== null) throw new Error(`it ended: ${said}`);
    const found = /curl 'http:\/\/(127\.0\.0\.1:\d+)\/get\?key=/.exec(said);
    expect(found, said).not.toBeNull();
    return found![1]!;
  }, waiting);
  expect(processesOf(folder).length).toBeGreaterThan(2);
  return { address, said: () => said };
}

const get = async (address: string, key: string): Promise<string> => (await ask(address, getRequest(`/get?key=${key}`))).body.toString();

/** Running processes of this test: its children and theirs have the marker. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${marker}=${folder}\0`);
    } catch {
      return false;
    }
  });
}

test('a file is one command from being served; the same again is not split again, another one is', async () => {
  const first = await serve('first.data', '--shards', '2');
  expect([await get(first.address, 'foo'), await get(first.address, 'baz'), await get(first.address, 'empty')]).toEqual([
    'bar',
    'is none',
    '',
  ]);
  expect(first.said()).toMatch(/serving 3 entries/);
  // The router listens seconds after its port was chosen: the kernel must not give it away meanwhile.
  expect(Number(first.address.split(':')[1])).toBeLessThan(32_768);
  server!.kill('SIGINT');
  expect(await once(server!, 'exit')).toEqual([0, null]);

  const again = await serve('--filename', './first.data', '--shards', '1');
  expect(again.said()).not.toMatch(/split/);
  server!.kill('SIGTERM');
  expect(await once(server!, 'exit')).toEqual([0, null]);

  const second = await serve('second.data', '--shards', '1');
  expect(await get(second.address, 'foo')).toBe('something else');
  expect(JSON.parse((await ask(second.address, getRequest('/mget?key=baz'))).body.toString()).results).toEqual([
    { key: 'baz', status: 'missing' },
  ]);
});

test('a parent that is killed leaves nothing behind', async () => {
  await serve('first.data', '--shards', '1');
  server!.kill('SIGKILL');
  await once(server!, 'exit');
});

test('a port that is taken ends it at once, and nothing is left', async () => {
  const { address } = await serve('first.data', '--shards', '1');
  const port = address.split(':')[1]!;
  const other = spawn(
    process.execPath,
    [program, 'serve', '--port', port, '--shard-port', String(nextPorts(1)), '--shards', '1', '--data', 'data', 'first.data'],
    { cwd: folder, env: { ...process.env, [marker]: folder } },
  );
  let said = '';
  other.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  expect(await once(other, 'close')).toEqual([1, null]);
  expect(said).toContain(port);
  expect(await get(address, 'foo')).toBe('bar');
});

/** Resolves when the process has begun to heed signals: before, they end it. To be seen from SIGHUP, which it asks for last, and Node never by itself. */
async function untilItHeeds(pid: number): Promise<void> {
  const bit = 1n << BigInt(constants.signals.SIGHUP - 1);
  const isCaught = (): boolean => (BigInt(`0x${/SigCgt:\t(\w+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]}`) & bit) !== 0n;
  while (!isCaught()) await pause(1);
}

test.each([1, 2])('told to end at any moment of its start, with --routers %i, it ends, and leaves nothing behind', async (routers) => {
  const args = ['first.data', '--shards', '2', '--routers', String(routers)];
  await serve(...args);
  server!.kill('SIGTERM');
  expect(await once(server!, 'exit')).toEqual([0, null]);
  const ports = ['--port', '0', '--shard-port', String(nextPorts(3))];
  // At first it looks for ports; then its processes start, and each of them listens; at last all wait for the slices.
  for (const afterMs of [0, 10, 100, 300, 700, 1_200]) {
    server = spawn(process.execPath, [program, 'serve', ...ports, '--data', 'data', ...args], {
      cwd: folder,
      env: { ...process.env, [marker]: folder },
    });
    await untilItHeeds(server.pid!);
    await pause(afterMs);
    server.kill('SIGTERM');
    expect([afterMs, ...(await once(server, 'exit'))]).toEqual([afterMs, 0, null]);
    expect(processesOf(folder)).toEqual([]);
  }
});
