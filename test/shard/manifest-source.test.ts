import { expect, onTestFinished, test, vi } from 'vitest';
import { type FetchedManifest, ManifestSeeker } from '../../shard/manifest-source.ts';
import { HttpClient } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { formatManifest } from '../../shared/manifest.ts';
import type { ObjectStore, SmallObject } from '../../shared/object-store.ts';
import { encodeRecords } from '../data-sets.ts';

const { manifest } = encodeRecords(new Map([['k', Buffer.from('v')]]), 2);
const found: SmallObject = { bytes: Buffer.from(formatManifest(manifest)), tag: undefined };

/** A place that answers when the test says so. */
class LatePlace {
  asked = 0;
  answer: (object: SmallObject | undefined) => void = () => {};

  get store(): ObjectStore {
    const readSmallObject = async (): Promise<SmallObject | undefined> => {
      this.asked++;
      return await new Promise((resolve) => {
        this.answer = resolve;
      });
    };
    return { place: 'late', readSmallObject } as unknown as ObjectStore;
  }
}

function seek(places: { backup?: LatePlace; source?: LatePlace }): () => Promise<FetchedManifest | undefined> {
  const [client, backup, source] = [new HttpClient(), places.backup?.store, places.source?.store];
  const seeker = new ManifestSeeker({ sources: () => ({ client, members: [], backup, source }), onFailure: () => {} });
  vi.useFakeTimers();
  onTestFinished(async () => {
    vi.useRealTimers();
    seeker.close();
    await client.close();
  });
  return async () => {
    const finding = seeker.find(manifest.id);
    await vi.advanceTimersByTimeAsync(2 * limits.manifestWaitMs);
    return await finding;
  };
}

test('a manifest that comes late is found at a later look, and no place waits for another one', async () => {
  const [backup, source] = [new LatePlace(), new LatePlace()];
  const find = seek({ backup, source });
  expect(await find()).toBeUndefined();
  expect(await find()).toBeUndefined();
  expect([backup.asked, source.asked]).toEqual([1, 1]);
  source.answer(found);
  expect(await find()).toEqual({ from: 'source', manifest });
});

test('a place that does not have it is asked again, but not at each look', async () => {
  const backup = new LatePlace();
  const find = seek({ backup });
  await find();
  backup.answer(undefined);
  for (let waitedMs = 0; waitedMs < limits.manifestRetryDelayMs - 2 * limits.manifestWaitMs; waitedMs += 2 * limits.manifestWaitMs)
    await find();
  expect(backup.asked).toBe(1);
  await vi.advanceTimersByTimeAsync(limits.manifestRetryDelayMs);
  await find();
  expect(backup.asked).toBe(2);
  backup.answer(found);
  expect(await find()).toEqual({ from: 'backup', manifest });
});
