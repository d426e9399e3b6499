// The healer where DATA cannot be written: over a fetcher that is not there, since a test that runs as root can write everywhere.

import { fstatSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { copyIndex, openDiskSlice } from '../../shard/disk-slice.ts';
import { noHealCounts, SliceHealer, type SliceHealerOptions } from '../../shard/heal.ts';
import { HeldVersion } from '../../shard/held-version.ts';
import type { FetchOutcome } from '../../shard/slice-fetch.ts';
import type { SliceFetcher } from '../../shard/slice-fetcher.ts';
import { PavostoreError } from '../../shared/errors.ts';
import type { SliceIndex } from '../../shared/key-hash.ts';
import { readSlice, viewSlice } from '../../shared/slice-layout.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { encodeRecords } from '../data-sets.ts';
import { makeFolder } from '../deploy/data-folder.ts';

const slice = 1 as SliceIndex;
const records = new Map(Array.from({ length: 50 }, (_, i) => [`key ${i}`, Buffer.from(`value ${i}`)]));
const { manifest, files } = encodeRecords(records, 2);

const nobody: FetchOutcome = { from: undefined, isBusy: false, failures: [], slice: undefined };

function inMemory(): FetchOutcome {
  const bytes = new SharedArrayBuffer(files[slice]!.length);
  files[slice]!.copy(Buffer.from(bytes));
  return { ...nobody, from: 'replica', slice: { header: readSlice(Buffer.from(bytes), 'slice').header, bytes } };
}

async function makeHealer(
  fetcher: Pick<SliceFetcher, 'fetch' | 'findFileFault'>,
  sourcesOf: SliceHealerOptions['sourcesOf'] = async () => [{ kind: 'replica', address: 'a:1' }],
) {
  const version = new HeldVersion(manifest, 1);
  version.markLoading(slice);
  version.keep(slice, viewSlice(Buffer.from(files[slice]!), readSlice(files[slice]!, 'slice').header));
  const counts = noHealCounts();
  const onChange = vi.fn();
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const healer = new SliceHealer({
    dataDir: join(await makeFolder(), 'data'),
    fetcher: fetcher as SliceFetcher,
    counts,
    log: log as never,
    sourcesOf,
    isHeld: () => true,
    onChange,
  });
  onTestFinished(() => healer.close());
  return { healer, version, counts, onChange, log };
}

test('a slice comes back into memory alone, and is reported until its file is whole', async () => {
  const targets: string[] = [];
  const { healer, version, counts, onChange } = await makeHealer({
    findFileFault: async () => 'damaged',
    fetch: async (_wanted, _sources, target) => {
      targets.push(target.kind);
      if (target.kind === 'file') throw new PavostoreError('data_unwritable', 'read-only');
      return inMemory();
    },
  });
  healer.serveNoMore(version, slice, 'read', 'test');
  expect([version.stateOf(slice), onChange.mock.calls.length]).toEqual(['corrupt', 1]);
  await vi.waitFor(() => expect(version.stateOf(slice)).toBe('kept'), waiting);
  expect([targets, counts.healed.replica, counts.corruptFound.read]).toEqual([['file', 'memory'], 1, 1]);
  expect(version.slices[slice]!.bytes.equals(files[slice]!)).toBe(true);
  expect(healer.unmendedOf(version)).toEqual([[slice, slice]]);
  healer.fileIsWhole(version, slice);
  expect(healer.unmendedOf(version)).toEqual([]);
});

test('a slice that nobody has stays corrupt, alone; it is tried again, and said once', async () => {
  let tries = 0;
  const { healer, version, counts, log } = await makeHealer({
    findFileFault: async () => 'damaged',
    fetch: async () => (++tries < 2 ? nobody : { ...nobody, from: 'backup' }),
  });
  healer.serveNoMore(version, slice, 'memory', 'test');
  await vi.waitFor(() => expect(tries).toBe(1), waiting);
  expect(version.stateOf(slice)).toBe('corrupt');
  await vi.waitFor(() => expect(version.stateOf(slice)).toBe('absent'), waiting);
  expect([counts.healed.backup, log.error.mock.calls.length]).toEqual([1, 2]);
});

test('a slice that was given up meanwhile is left alone', async () => {
  let isGiven = false;
  const { healer, version, counts } = await makeHealer({
    findFileFault: async () => {
      version.free(slice);
      isGiven = true;
      return undefined;
    },
    fetch: async () => nobody,
  });
  healer.serveNoMore(version, slice, 'memory', 'test');
  await vi.waitFor(() => expect(isGiven).toBe(true), waiting);
  await new Promise(setImmediate);
  expect([version.stateOf(slice), counts.healed.own]).toEqual(['absent', 0]);
});

test('a slice on disk that is closed while the others are asked who has it stays open for its healing, and is closed once', async () => {
  const path = join(await makeFolder(), 'slice');
  writeFileSync(path, files[slice]!);
  const whole = readSlice(files[slice]!, 'slice');
  const diskSlice = openDiskSlice(path, whole.header, copyIndex(whole));
  const { ino } = fstatSync(diskSlice.fd);
  const inos: number[] = [];
  const { healer, version, log } = await makeHealer(
    {
      findFileFault: async () => 'damaged',
      fetch: async (_wanted, [own]) => {
        if (own?.kind === 'open') inos.push(fstatSync(own.fd).ino);
        return { ...nobody, from: 'open' };
      },
    },
    async () => {
      version.markCorrupt(slice);
      return [];
    },
  );
  version.moveToDisk(slice, diskSlice);
  healer.mendFile(version, slice, 'test');
  await vi.waitFor(() => expect(inos).toEqual([ino]), waiting);
  await vi.waitFor(() => expect([diskSlice.readers, diskSlice.isClosed]).toEqual([0, true]), waiting);
  await new Promise(setImmediate);
  expect(log.error).not.toHaveBeenCalled();
});
