// A backup and a restore that end at each of their acts in turn: what was there before stays whole, or what is new is.

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backupVersion } from '../../deploy/backup/backup.ts';
import { checkBackup } from '../../deploy/backup/check.ts';
import { restoreVersion } from '../../deploy/backup/restore.ts';
import { type Disk, realDisk } from '../../deploy/publish/disk.ts';
import { readCurrent } from '../../shared/data-set.ts';
import type { Manifest } from '../../shared/manifest.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { openPlace } from '../../shared/place.ts';
import { readPlaceCurrent } from '../../shared/place-layout.ts';
import { publishRecords } from '../data-sets.ts';
import { filesOf } from '../deploy/data-folder.ts';
import { makeRoot } from '../object-store/places.ts';

function publish(dataDir: string, name: string, sequence: number): Manifest {
  return publishRecords(dataDir, new Map([[name, Buffer.from('value')]]), { sliceCount: 2, sequence });
}

type Act = (...args: unknown[]) => Promise<unknown>;

/** The acts of `target` until number `crashAt`, which throws: done or not, as `isDone` says of it. All later ones throw. */
function crashing<T extends object>(target: T, crashAt: number, isDone: (name: string) => boolean): { acts: T; count: () => number } {
  let count = 0;
  const acts = new Proxy(target, {
    get: (_, name: string) => {
      const found = Reflect.get(target, name) as unknown;
      if (typeof found !== 'function' || name === 'close') return found;
      return async (...args: unknown[]) => {
        count++;
        if (count > crashAt || (count === crashAt && !isDone(name))) throw new Error('crash');
        const result = await (found as Act).apply(target, args);
        if (count === crashAt) throw new Error('crash');
        return result;
      };
    },
  });
  return { acts, count: () => count };
}

test.for([true, false])(
  'a crash at any act on the place leaves its latest whole, and the next backup ends it (the act done: %s)',
  async (isDone) => {
    const dataDir = join(makeRoot(), 'data');
    let isOver = false;
    let crashes = 0;
    for (; !isOver; crashes++) {
      const store = openPlace(join(makeRoot(), 'place'));
      const old = publish(dataDir, 'old', 1);
      await backupVersion({ dataDir, store });
      const newer = publish(dataDir, 'new', 2);
      const { acts } = crashing<ObjectStore>(store, crashes + 1, () => isDone);
      isOver = (await backupVersion({ dataDir, store: acts, parallel: 1 }).catch(({ message }: Error) => message)) !== 'crash';
      const { id } = (await readPlaceCurrent(store))!.current;
      expect([old.id, newer.id]).toContain(id);
      for (const whole of [old.id, id])
        expect((await checkBackup({ dataDir, store, id: whole, deep: true, ageMaxMs: 1e15 })).problems).toEqual([]);
      expect(await backupVersion({ dataDir, store })).toMatchObject({ id: newer.id, latest: true });
      expect((await checkBackup({ dataDir, store, deep: true })).problems).toEqual([]);
    }
    expect(crashes).toBeGreaterThan(10);
  },
);

test('a crash at any act of a restore on the disk leaves what is published whole: the old version or the new one', async () => {
  const store = openPlace(join(makeRoot(), 'place'));
  const source = join(makeRoot(), 'data');
  const restored = publish(source, 'new', 2);
  await backupVersion({ dataDir: source, store });
  const outcomes = new Set<string>();
  let isOver = false;
  for (let crashAt = 1; !isOver; crashAt++) {
    const dataDir = join(makeRoot(), 'data');
    const old = publish(dataDir, 'old', 1);
    const oldFiles = filesOf(dataDir, old.id);
    const { acts } = crashing<Disk>(realDisk, crashAt, () => false);
    isOver = (await restoreVersion({ dataDir, store, disk: acts }).catch(({ message }: Error) => message)) !== 'crash';
    const { id } = (await readCurrent(dataDir))!;
    outcomes.add(id);
    expect(filesOf(dataDir, old.id)).toEqual(oldFiles);
    if (id !== old.id) expect(filesOf(dataDir, id)).toEqual(filesOf(source, restored.id));
    expect(await restoreVersion({ dataDir, store })).toMatchObject({ id: restored.id, published: true });
    expect(filesOf(dataDir, restored.id)).toEqual(filesOf(source, restored.id));
  }
  expect(outcomes.size).toBe(2);
  expect(outcomes).toContain(restored.id);
});
