import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { DataCopies, newestOf, newestServed, replaceCurrent } from '../../shard/data-copies.ts';
import { noHealCounts } from '../../shard/heal.ts';
import { Shard } from '../../shard/shard.ts';
import {
  type Current,
  currentPath,
  fetchedMarkPath,
  formatCurrent,
  manifestPath,
  parseCurrent,
  publicationsPath,
  readManifest,
  versionPath,
} from '../../shared/data-set.ts';
import type { HttpServer } from '../../shared/http-server.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest, type Manifest } from '../../shared/manifest.ts';
import type { Member } from '../../shared/member-table.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { openPlace } from '../../shared/place.ts';
import { placeManifestName } from '../../shared/place-layout.ts';
import { formatPublications, type Publication } from '../../shared/publications.ts';
import { openTemporaryFolder, restoreMarkPrefix, withTemporaryFolder } from '../../shared/temporary-folder.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { publishRecords } from '../data-sets.ts';
import { findDebris, makeFolder } from '../deploy/data-folder.ts';

const current = (sequence: number): Current => ({ sequence, id: String(sequence % 10).repeat(32), previousId: undefined });

async function replaced(there: string | undefined, next: Current): Promise<number> {
  const dataDir = join(await makeFolder(), 'data');
  mkdirSync(dataDir);
  if (there !== undefined) writeFileSync(currentPath(dataDir), there);
  await withTemporaryFolder(dataDir, async (folder) => await replaceCurrent(dataDir, folder, next));
  expect(await findDebris(dataDir)).toEqual([]);
  return parseCurrent(readFileSync(currentPath(dataDir), 'utf8'), 'current').sequence;
}

test('a current that is missing, damaged or older gives way; one as new or newer stays', async () => {
  expect(await replaced(undefined, current(5))).toBe(5);
  expect(await replaced('damaged', current(5))).toBe(5);
  expect(await replaced(formatCurrent(current(4)), current(5))).toBe(5);
  expect(await replaced(formatCurrent(current(5)), current(5))).toBe(5);
  expect(await replaced(formatCurrent(current(6)), current(5))).toBe(6);
});

test('of all who write it at once, the newest stays', async () => {
  const dataDir = join(await makeFolder(), 'data');
  const write = async (sequence: number): Promise<void> =>
    await withTemporaryFolder(dataDir, async (folder) => await replaceCurrent(dataDir, folder, current(sequence)));
  await write(1);
  for (let round = 0; round < 20; round++) {
    const first = 10 * round + 10;
    await Promise.all([0, 1, 2, 3, 4].map((i) => write(first + i)));
    expect(parseCurrent(readFileSync(currentPath(dataDir), 'utf8'), 'current').sequence).toBe(first + 4);
  }
});

const member = (alive: boolean, sequence: number, kept: readonly (readonly [number, number])[]): Member => {
  const slices = { kept, loading: [], yielding: [], corrupt: [] };
  const versions = [{ id: String(sequence % 10).repeat(32), sequence, sliceCount: 4, slices }];
  const report = { name: 'a', incarnation: 'i', startedMs: 1, counter: 1, state: 'ready', versions } as const;
  return { name: 'a', zone: undefined, address: 'a:1', fixed: true, report, lastAnswerMs: 0, lastListedMs: 0, alive };
};

type CopiesOfTest = { readonly members?: readonly Member[]; readonly source?: ObjectStore; readonly onLog?: (line: string) => void };

function openCopies(dataDir: string, { members = [], source, onLog = () => {} }: CopiesOfTest): DataCopies {
  const log = { info: onLog, warn: onLog } as unknown as HttpServer['log'];
  const copies = new DataCopies({
    ...{ dataDir, source, log, backup: undefined, counts: noHealCounts() },
    members: () => members,
    areMembersKnown: () => true,
  });
  onTestFinished(async () => await copies.close());
  return copies;
}

test('of one publication the current that knows the version before is taken; of two the newer one', () => {
  const known = { ...current(5), previousId: '4'.repeat(32) };
  for (const each of [
    [current(5), known],
    [known, current(5)],
    [undefined, current(5), current(4), known],
  ])
    expect(newestOf(each)).toEqual(known);
  expect(newestOf([known, current(6)])).toEqual(current(6));
  // Two data sets that happened to be published at once: the first who speaks.
  expect(newestOf([{ ...current(5), id: 'f'.repeat(32) }, known])).toEqual({ ...current(5), id: 'f'.repeat(32) });
  expect(newestOf([undefined])).toBeUndefined();
});

test('a current that is lost is taken from members with the version before it, which the list of publications names', async () => {
  const dataDir = join(await makeFolder(), 'data');
  mkdirSync(dataDir);
  const passed = (sequence: number): Publication => {
    const { id } = current(sequence);
    return { act: 'publish', id, sequence, atMs: sequence, outcome: 'passed', reasons: [] };
  };
  const copies = openCopies(dataDir, { members: [member(true, 5, [[0, 3]])] });
  expect(await copies.findCurrent()).toEqual(current(5));
  writeFileSync(publicationsPath(dataDir), formatPublications({ pin: undefined, list: [passed(3), passed(4), passed(5)] }));
  const whole = { ...current(5), previousId: current(4).id };
  expect(await copies.findCurrent()).toEqual(whole);
  writeFileSync(currentPath(dataDir), 'junk');
  expect(await copies.findCurrent()).toEqual(whole);
  writeFileSync(currentPath(dataDir), formatCurrent({ ...current(5), previousId: current(3).id }));
  expect(await copies.findCurrent()).toEqual({ ...current(5), previousId: current(3).id });
});

test('a version that is brought is marked as fetched; one whose manifest was only lost is not', async () => {
  const folder = await makeFolder();
  const [published, place, cache] = ['data', 'place', 'cache'].map((name) => join(folder, name)) as [string, string, string];
  const manifest = publishRecords(published, new Map([['a', Buffer.from('1')]]), { sliceCount: 1 });
  const source = openPlace(place);
  await source.writeSmallObject(placeManifestName(manifest.id), Buffer.from(formatManifest(manifest)));
  rmSync(manifestPath(versionPath(published, manifest.id)));
  for (const [dataDir, isMarked] of [
    [cache, true],
    [published, false],
  ] as const) {
    expect(await openCopies(dataDir, { source }).readManifest(manifest.id)).toEqual(manifest);
    expect(await readManifest(dataDir, manifest.id)).toEqual(manifest);
    expect(existsSync(fetchedMarkPath(versionPath(dataDir, manifest.id)))).toBe(isMarked);
    expect(await findDebris(dataDir)).toEqual([]);
  }
});

test('of versions in a cache that nobody uses those stay that somebody goes back to, or holds, while the source is asked for them', async () => {
  const interval = vi.spyOn(limits, 'unusedLookIntervalMs', 'get').mockReturnValue(0 as 60_000);
  onTestFinished(() => interval.mockRestore());
  const folder = await makeFolder();
  const [published, place, cache] = ['data', 'place', 'cache'].map((name) => join(folder, name)) as [string, string, string];
  const source = openPlace(place);
  const lines: string[] = [];
  const copies = openCopies(cache, { source, onLog: (line) => lines.push(line) });
  const fetchOne = async (key: string): Promise<Manifest> => {
    const manifest = publishRecords(published, new Map([[key, Buffer.from(key)]]), { sliceCount: 1 });
    await source.writeSmallObject(placeManifestName(manifest.id), Buffer.from(formatManifest(manifest)));
    return await copies.readManifest(manifest.id);
  };
  const versions = [await fetchOne('served'), await fetchOne('back'), await fetchOne('held'), await fetchOne('unused')] as const;
  const [served, back, held, unused] = versions;
  lines.length = 0;
  const findObject = source.findObject.bind(source);
  const holding = [served.id];
  vi.spyOn(source, 'findObject').mockImplementation(async (name) => {
    if (name === placeManifestName(back.id))
      writeFileSync(currentPath(cache), formatCurrent({ sequence: 2, id: back.id, previousId: undefined }));
    if (name === placeManifestName(held.id)) holding.push(held.id);
    return await findObject(name);
  });
  await copies.glance(served, { sequence: 1, id: served.id, previousId: undefined }, () => holding);
  await vi.waitFor(() => expect(lines).toEqual([expect.stringContaining(`version ${unused.id} is removed`)]), waiting);
  expect(versions.map(({ id }) => existsSync(versionPath(cache, id)))).toEqual([true, true, true, false]);
});

test('the newest version is the one that a living member keeps something of', () => {
  expect(newestServed([])).toBeUndefined();
  expect(newestServed([member(true, 3, [[0, 0]]), member(true, 4, [[1, 2]]), member(false, 9, [[0, 3]]), member(true, 8, [])])).toEqual(
    current(4),
  );
});

describe('what processes that were killed have left in DATA', () => {
  const start = async (dataDir: string): Promise<void> => {
    const shard = new Shard({
      dataDir,
      host: '127.0.0.1',
      port: 0,
      members: undefined,
      name: 'a',
      zone: undefined,
      replicas: 1,
      memory: undefined,
      stateDir: undefined,
      leaveGraceMs: 0,
      logLevel: 'silent',
    });
    onTestFinished(async () => await shard.close());
    await shard.start();
  };
  const age = (path: string): void => utimesSync(path, 1, 1);

  /** The temporary folder of a process that was killed while it wrote to it. */
  async function killWriter(dataDir: string): Promise<string> {
    const script = `import { writeFileSync } from 'node:fs';
      import { withTemporaryFolder } from '${new URL('../../shared/temporary-folder.ts', import.meta.url)}';
      await withTemporaryFolder('${dataDir}', async (folder) => {
        writeFileSync(folder + '/slice', Buffer.alloc(1_000));
        process.stdout.write(folder);
        await new Promise((resolve) => setTimeout(resolve, 1e9));
      });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [folder] = (await once(child.stdout, 'data')) as [Buffer];
    child.kill('SIGKILL');
    await once(child, 'exit');
    return folder.toString();
  }

  test('goes when a shard starts, once it is old enough, and nothing else does', async () => {
    const dataDir = join(await makeFolder(), 'data');
    const { id } = publishRecords(dataDir, new Map([['a', Buffer.from('a')]]), { sliceCount: 1 });
    const [dead, deadNow] = [await killWriter(dataDir), await killWriter(dataDir)];
    const living = await openTemporaryFolder(dataDir);
    onTestFinished(async () => await living.close());
    const trash = join(dataDir, '.trash-0123456789abcdef');
    mkdirSync(trash);
    const ofRestore = join(dataDir, '.tmp-restore');
    mkdirSync(ofRestore);
    for (const name of ['heartbeat', `${restoreMarkPrefix}${id}`]) writeFileSync(join(ofRestore, name), '');
    for (const path of [join(dead, 'heartbeat'), trash, join(ofRestore, 'heartbeat')]) age(path);
    await start(dataDir);
    await vi.waitFor(async () => expect(await findDebris(dataDir)).toHaveLength(3), waiting);
    expect((await findDebris(dataDir)).map((name) => join(dataDir, name)).sort()).toEqual([deadNow, living.path, ofRestore].sort());
  });

  test('goes while it serves', async () => {
    const interval = vi.spyOn(limits, 'unusedLookIntervalMs', 'get').mockReturnValue(10 as 60_000);
    onTestFinished(() => interval.mockRestore());
    const dataDir = join(await makeFolder(), 'data');
    publishRecords(dataDir, new Map([['a', Buffer.from('a')]]), { sliceCount: 1 });
    const trash = join(dataDir, '.trash-0123456789abcdef');
    mkdirSync(trash);
    age(trash);
    await start(dataDir);
    await vi.waitFor(() => expect(existsSync(trash)).toBe(false), waiting);
    // Not among what was looked at when it started.
    const dead = await killWriter(dataDir);
    expect(existsSync(join(dead, 'slice'))).toBe(true);
    age(join(dead, 'heartbeat'));
    await vi.waitFor(async () => expect(await findDebris(dataDir)).toEqual([]), waiting);
  });
});
