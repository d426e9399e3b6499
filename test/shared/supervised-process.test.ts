import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { SupervisedProcess } from '../../shared/supervised-process.ts';

const program = `process.send({ kind: 'listening', port: 7 }); process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1000)`;
const good = () => spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
const bad = () => spawn('/nowhere/to/be/found', { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });

test('a child that cannot be started just when it should be started again is one more death, not that of its parent', async () => {
  const spawns = [
    good,
    bad,
    () => {
      throw new Error('spawn EMFILE');
    },
    good,
  ];
  const deaths: string[] = [];
  const child = new SupervisedProcess({ title: 'child', spawn: () => spawns.shift()!(), onDeath: (message) => deaths.push(message) });
  expect(await child.start()).toBe(7);
  const first = child.pid!;
  process.kill(first, 'SIGKILL');
  await vi.waitFor(() => expect(spawns).toEqual([]), { timeout: 20_000 });
  const delayMs = limits.restartDelayMinMs;
  expect(deaths).toEqual([
    `child ended (SIGKILL); it starts again in ${delayMs} ms`,
    `child ended (spawn /nowhere/to/be/found ENOENT); it starts again in ${2 * delayMs} ms`,
    `child ended (spawn EMFILE); it starts again in ${4 * delayMs} ms`,
  ]);
  expect(child.pid).not.toBe(first);
  await child.stop();
});

test('a child that cannot be started at all fails the start, and says why', async () => {
  const child = new SupervisedProcess({ title: 'child', spawn: bad, onDeath: () => {} });
  await expect(child.start()).rejects.toMatchObject({ code: 'child_failed', message: expect.stringContaining('ENOENT') });
  await child.stop();
});

/** It has begun to start when it is told to end, and tells that it listens all the same. */
const slow = `process.on('SIGTERM', () => process.send({ kind: 'listening', port: 7 })); process.send({ kind: 'starting' }); setInterval(() => {}, 1000)`;

test('a child that is stopped while it starts is not started, though it listens, and neither is one that was stopped before', async () => {
  const spawned: ChildProcess[] = [];
  const spawnSlow = (): ChildProcess => {
    const child = spawn(process.execPath, ['-e', slow], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    child.on('message', ({ kind }: { kind: string }) => (kind === 'listening' ? child.kill('SIGKILL') : undefined));
    spawned.push(child);
    return child;
  };
  const deaths: string[] = [];
  const child = new SupervisedProcess({ title: 'child', spawn: spawnSlow, onDeath: (message) => deaths.push(message) });
  const refused = expect(child.start()).rejects.toMatchObject({ code: 'interrupted' });
  await once(spawned[0]!, 'message');
  await child.stop();
  await refused;
  await expect(child.start()).rejects.toMatchObject({ code: 'interrupted' });
  expect([spawned.length, child.pid, deaths]).toEqual([1, undefined, []]);
});
