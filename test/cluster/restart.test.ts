// All processes of a cluster die at once and come back while `current` names a version that nobody can read: by force, by hand, by a disk
// that lost it.
// What was published before it is served then, whole.

import { rm, truncate, writeFile } from 'node:fs/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { publishPlaced } from '../../deploy/publish/publish.ts';
import { type Current, currentPath, formatCurrent, manifestPath, slicePath, versionPath } from '../../shared/data-set.ts';
import { PublishedData } from '../chaos/published-data.ts';
import { ask, getRequest, percentEncode } from '../raw-http.ts';
import { statusOf, TestCluster, waiting } from './cluster-harness.ts';

const shards = 2;
let cluster: TestCluster | undefined;
let data: PublishedData;
let a: Current;
let b: Current;

afterEach(async () => {
  await cluster?.close({ deaths: shards + 1 });
  cluster = undefined;
});

/** A cluster that serves B, published after A. */
async function startCluster(): Promise<TestCluster> {
  return await TestCluster.start({
    shards,
    replicas: 2,
    routerArgs: ['--deadline', '30s'],
    prepare: async (dataDir) => {
      data = new PublishedData(dataDir, 300);
      a = await data.publishNew(16);
      b = await data.publishNew(16);
    },
  });
}

/** Every process dies before any can mend what was damaged just now; their supervisor starts them again. */
function killAll({ cluster: { shards: children, router } }: TestCluster): void {
  for (const child of [...children, router]) process.kill(child.pid!, 'SIGKILL');
}

async function untilServed({ address }: TestCluster, { id }: Current): Promise<void> {
  await vi.waitFor(async () => expect(await statusOf(address)).toMatchObject({ version: { id }, degraded: false }), waiting);
}

async function expectAnswersOf({ address }: TestCluster, { id }: Current): Promise<void> {
  for (const [i, key] of data.keys.entries()) {
    const { status, body } = await ask(address, getRequest(`/get?key=${percentEncode(key)}`));
    expect([key, status === 404 ? null : body.toString()]).toEqual([key, data.answerOf(id, i)]);
  }
}

const manifestOf = (dataDir: string): string => manifestPath(versionPath(dataDir, b.id));

test.for<[string, (dataDir: string) => Promise<unknown>]>([
  [
    'that was forced though it does not verify, and whose manifest is cut short by now',
    async (dataDir) => {
      await truncate(slicePath(versionPath(dataDir, b.id), 3), 50);
      await publishPlaced({ dataDir, act: 'publish', id: b.id, guards: { maxShrink: undefined, force: true }, verify: { jobs: 1 } });
      await truncate(manifestOf(dataDir), 100);
    },
  ],
  [
    'that somebody wrote there by hand, and whose manifest is gone',
    async (dataDir) => {
      await rm(manifestOf(dataDir));
      await writeFile(currentPath(dataDir), formatCurrent({ sequence: b.sequence + 1, id: b.id, previousId: a.id }));
    },
  ],
])('a whole cluster that is restarted while current names a version %s serves the one before, every key', async ([, damage]) => {
  cluster = await startCluster();
  await untilServed(cluster, b);
  await expectAnswersOf(cluster, b);
  await damage(cluster.dataDir);
  killAll(cluster);
  await untilServed(cluster, a);
  await expectAnswersOf(cluster, a);
});
