// A shard whose store takes connections and says nothing: a real server, and real files. It must follow what is published all the same.

import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Shard } from '../../shard/shard.ts';
import { usualCare } from '../../shard/slice-care.ts';
import type { PlaceSpec } from '../../shard/slice-source.ts';
import { currentPath, formatCurrent, manifestPath, versionPath } from '../../shared/data-set.ts';
import type { Manifest } from '../../shared/manifest.ts';
import { publishRecords } from '../data-sets.ts';
import { makeFolder } from '../deploy/data-folder.ts';
import { accountEnv } from '../object-store/places.ts';

/** It counts who came. */
async function startSilentStore(): Promise<{ readonly endpoint: string; readonly asked: () => number }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on('error', () => {});
    onTestFinished(() => void socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => connections };
}

test('the version before is served while a store says nothing of the published one, and a newer one is followed at once', async () => {
  const { endpoint, asked } = await startSilentStore();
  const place = (name: string): PlaceSpec => ({ place: `s3://${name}/`, options: { endpoint } });
  for (const [name, value] of Object.entries(accountEnv)) vi.stubEnv(name, value);
  onTestFinished(() => void vi.unstubAllEnvs());
  const dataDir = join(await makeFolder(), 'data');
  mkdirSync(dataDir);
  const publish = (value: string, sequence: number): Manifest =>
    publishRecords(dataDir, new Map([['k', Buffer.from(value)]]), { sliceCount: 2, sequence });
  const one = publish('one', 1);
  const two = publish('two', 2);
  writeFileSync(currentPath(dataDir), formatCurrent({ sequence: 2, id: two.id, previousId: one.id }));
  writeFileSync(manifestPath(versionPath(dataDir, two.id)), 'damaged');

  const shard = new Shard({
    dataDir,
    host: '127.0.0.1',
    port: 0,
    members: undefined,
    name: 'tested',
    zone: undefined,
    replicas: 1,
    memory: undefined,
    stateDir: undefined,
    leaveGraceMs: 0,
    care: { ...usualCare, backup: place('backup'), source: place('source') },
    logLevel: 'silent',
  });
  await shard.start();
  // More than a look that waits for a manifest, far less than a store that says nothing.
  const soon = { timeout: 10_000, interval: 50 };
  await vi.waitFor(() => expect([shard.isReady, shard.serving?.id]).toEqual([true, one.id]), soon);
  expect(shard.status().refused).toMatchObject([{ id: two.id, sequence: 2 }]);
  expect(asked()).toBeGreaterThan(0);

  const three = publish('three', 3);
  await vi.waitFor(() => expect([shard.isReady, shard.serving?.id]).toEqual([true, three.id]), soon);
  const closedMs = performance.now();
  await shard.close();
  expect(performance.now() - closedMs).toBeLessThan(5_000);
}, 40_000);
