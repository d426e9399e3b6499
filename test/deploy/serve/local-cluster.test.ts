// A local cluster that is stopped while it starts: whatever it was just doing, nothing of it is left running.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LocalCluster } from '../../../deploy/serve/local-cluster.ts';
import { nextPorts } from '../../cluster/test-ports.ts';
import { publishRecords } from '../../data-sets.ts';

const shards = 2;
const shardPort = nextPorts(shards + 1);
const dataDir = mkdtempSync(join(tmpdir(), 'pavostore-start-'));

beforeAll(() => publishRecords(dataDir, new Map([['key', Buffer.from('value')]]), { sliceCount: 4 }));
afterAll(() => rmSync(dataDir, { recursive: true }));

// It looks for free ports first, a turn of the event loop or more for each, and then starts its processes all at once.
test.each([1, 2])(
  'with --routers %i, stopped at any turn of its start, it starts nothing after that, and stops what it had started',
  async (routers) => {
    let startedCount = 0;
    for (let turns = 0; startedCount < 3; turns++) {
      const options = { dataDir, host: '127.0.0.1', port: 0, shardPort, shards, replicas: 1, routers, logLevel: 'silent' };
      const cluster = new LocalCluster({ ...options, onEvent: () => {} });
      const refused = expect(cluster.start()).rejects.toMatchObject({ code: expect.stringMatching(/^(interrupted|child_failed)$/) });
      for (let i = 0; i < turns; i++) await turn();
      if (cluster.shards.length > 0) startedCount++;
      await cluster.stop();
      await refused;
      const children = cluster.shards.length > 0 ? [...cluster.routers, ...cluster.shards] : [];
      expect(children.map(({ title, pid }) => [title, pid])).toEqual(children.map(({ title }) => [title, undefined]));
    }
  },
);
