// The commands as a user runs them: exit codes, what they print, and the wait for routers, which here are fakes that serve what the test says.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { judgeStatus, untilServed } from '../../../deploy/publish/served.ts';
import { listVersions } from '../../../deploy/publish/version-list.ts';
import { waitSettingsIn } from '../../../deploy/publish/wait-flags.ts';
import { readCurrent } from '../../../shared/data-set.ts';
import { publishRecords } from '../../data-sets.ts';
import { makeFolder, runPavostore } from '../data-folder.ts';

const current = { sequence: 9, id: 'c'.repeat(32), previousId: undefined };

/** A router that answers `/status` with whatever `status` gives at that moment; resolves to its address. */
async function fakeRouter(status: () => unknown): Promise<string> {
  const server = createServer((_request, response) => response.end(JSON.stringify(status())));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close().closeAllConnections());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('waiting until routers serve a version', () => {
  test('ends when the last of them serves it whole, or a later one', async () => {
    let polls = 0;
    const serving = (sequence: number): object => ({ version: { id: current.id, sequence }, degraded: false });
    const steps = [{ version: null }, serving(8), { ...serving(9), degraded: true, slicesAbsent: { slice_loading: [[0, 2]] } }, serving(9)];
    const slow = await fakeRouter(() => steps[Math.min(polls++, steps.length - 1)]);
    const ahead = await fakeRouter(() => serving(10));
    const said: string[] = [];
    const signal = new AbortController().signal;
    await untilServed({ routers: [slow, ahead], current, waitMs: 30_000, onProgress: (line) => said.push(line), signal });
    expect(polls).toBe(steps.length);
    expect(said).toEqual([
      `router ${slow} serves no version yet`,
      `router ${ahead} serves ${current.id}, sequence 10`,
      `router ${slow} serves ${current.id}, sequence 8`,
      `router ${slow} serves ${current.id}, sequence 9, without 3 of its slices`,
      `router ${slow} serves ${current.id}, sequence 9`,
    ]);
  });

  test('asks of every worker behind a port that it serves it', () => {
    const version = { id: current.id, sequence: 9 };
    const judge = (second: object) =>
      judgeStatus(
        {
          version,
          workers: [
            { worker: 1, state: 'ready', version },
            { worker: 2, state: 'ready', ...second },
          ],
        },
        current,
      );
    expect(judge({ version })).toMatchObject({ serves: true });
    expect(judge({ version: { ...version, sequence: 8, id: 'a'.repeat(32) } })).toMatchObject({
      serves: false,
      text: expect.stringContaining(`worker 2 serves ${'a'.repeat(32)}`),
    });
    expect(judge({ state: 'starting' })).toMatchObject({ serves: false, text: expect.stringContaining('worker 2 is starting') });
  });

  test('fails after its time and says who is late and why; a signal ends it', async () => {
    const late = await fakeRouter(() => ({ version: { id: 'a'.repeat(32), sequence: 8 }, degraded: false }));
    const wait = { routers: [late, '127.0.0.1:1'], current, onProgress: () => {} };
    const outcome = untilServed({ ...wait, waitMs: 1, signal: new AbortController().signal });
    await expect(outcome).rejects.toMatchObject({
      code: 'version_not_served',
      message: expect.stringContaining(`${late} serves ${'a'.repeat(32)}`),
    });
    await expect(outcome).rejects.toThrow(/127\.0\.0\.1:1 does not answer: .*ECONNREFUSED/);
    const controller = new AbortController();
    const endless = untilServed({ ...wait, waitMs: 60_000, signal: controller.signal });
    controller.abort(new Error('told to end'));
    await expect(endless).rejects.toThrow('told to end');
  });

  test('takes nothing for granted in a status', () => {
    expect(judgeStatus({}, current).serves).toBe(false);
    expect(judgeStatus({ version: { id: current.id, sequence: 9 } }, current).serves).toBe(true);
  });
});

test('publish, versions, rollback, pin and prune say what they did, and fail with 1 where it is not done or not served', async () => {
  const folder = await makeFolder();
  const dataDir = join(folder, 'data');
  const records = (value: string): Map<string, Buffer> => new Map(['a', 'b', 'c', 'd'].map((key) => [key, Buffer.from(value)]));
  const next = publishRecords(dataDir, records('2'), { sliceCount: 2 });
  const first = publishRecords(dataDir, records('1'), { sliceCount: 2 });
  const small = publishRecords(join(folder, 'other'), new Map([['a', Buffer.from('3')]]), { sliceCount: 2 });
  await runPavostore(['split', '-', '--data', dataDir, '--slices', '2', '--no-publish'], 'a 3\n');
  const router = await fakeRouter(() => ({ version: { id: 'any', sequence: 2 ** 52 }, degraded: false }));
  const run = async (...args: string[]): ReturnType<typeof runPavostore> => await runPavostore([...args, '--data', dataDir]);

  const published = await run('publish', next.id.slice(0, 8), '--router', `http://${router}`);
  expect(published).toMatchObject({ exitCode: 0 });
  expect(published.stdout).toMatch(
    new RegExp(`^version ${next.id} published, sequence \\d+, before it ${first.id}\nserved by ${router}\n$`),
  );
  const refused = await run('publish', small.id, '--json');
  expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
  expect(refused.stderr).toMatch(/1 entries, 75\.0 % less than the 4 .*--force publishes it all the same \[version_refused\]\n$/);
  const notServed = await run('rollback', '--router', '127.0.0.1:1', '--wait', '0s', '--json');
  expect(notServed).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('[version_not_served]') });
  expect(JSON.parse(notServed.stdout)).toMatchObject({ id: first.id, previousId: next.id, served: false });
  expect((await readCurrent(dataDir))?.id).toBe(first.id);

  expect(await run('pin', '--no-wait', '--router', '127.0.0.1:1')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/ pinned, /),
  });
  const listed = await run('versions');
  expect(listed.stdout).toMatch(new RegExp(`\n${first.id}  [-0-9]{10} [:0-9]{8} UTC  \\d+ +4 +2 +\\d+ B +current, pinned\n`));
  expect(listed.stdout).toMatch(new RegExp(`\n${small.id}  - +- +1 +2 +\\d+ B +refused\n  1 entries, 75`));
  const pruned = await run('prune', '--dry-run', '--json');
  expect(pruned).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('no --members') });
  expect(JSON.parse(pruned.stdout)).toMatchObject({ dryRun: true, removed: [] });
  await run('backup', '--to', join(folder, 'place'));
  const ofBackup = await run('prune', '--backup', join(folder, 'place'), '--keep', '1', '--json');
  expect(JSON.parse(ofBackup.stdout)).toMatchObject({
    dryRun: false,
    removed: [],
    kept: [{ id: first.id, reason: 'the latest there' }],
    removedSlices: 0,
  });
});

test('a split while a version is pinned fails, or with --if-pinned keep only says so; the new version is in place either way', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const split = async (records: string, ...args: string[]): ReturnType<typeof runPavostore> =>
    await runPavostore(['split', '-', '--data', dataDir, '--slices', '2', '--json', ...args], records);
  const first = JSON.parse((await split('a 1\n')).stdout) as { id: string };
  await runPavostore(['pin', '--data', dataDir]);
  const pinned = await readCurrent(dataDir);

  expect(await split('a 2\n')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('[version_pinned]') });
  const kept = await split('a 3\n', '--if-pinned', 'keep');
  expect(kept).toMatchObject({ exitCode: 0, stderr: expect.stringContaining(`version ${first.id} is pinned and stays published`) });
  const report = JSON.parse(kept.stdout) as { id: string; published: boolean };
  expect(report.published).toBe(false);
  expect(await readCurrent(dataDir)).toEqual(pinned);
  expect((await listVersions(dataDir)).versions.map(({ id }) => id)).toContain(report.id);
  // What is pinned already is no other case, and without a pin the flag changes nothing.
  expect(await split('a 1\n', '--if-pinned', 'keep')).toMatchObject({ exitCode: 0 });
  await runPavostore(['unpin', '--data', dataDir]);
  expect(JSON.parse((await split('a 3\n', '--if-pinned', 'keep')).stdout)).toMatchObject({ id: report.id, published: true });
});

test('routers and the time to wait are checked before anything is done', () => {
  expect(waitSettingsIn({ router: 'http://a:1, b:2', wait: '5s' })).toEqual({ routers: ['a:1', 'b:2'], waitMs: 5_000 });
  expect(waitSettingsIn({ router: undefined, wait: '10m' }).routers).toEqual([]);
  for (const wait of [false, 'false', '0']) expect(waitSettingsIn({ router: 'a:1', wait })).toEqual({ routers: [], waitMs: 0 });
  for (const [router, wait] of [
    [' ', '1s'],
    ['a:1', 'soon'],
    ['a:1', '25h'],
    ['ftp://a', '1s'],
  ] as const) {
    expect(() => waitSettingsIn({ router, wait }), `${router} ${wait}`).toThrow(/is needed|is not a duration|only http/);
  }
});
