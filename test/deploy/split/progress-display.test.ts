import { expect, test } from 'vitest';
import { formatProgress, openProgressDisplay } from '../../../deploy/split/progress-display.ts';
import { sealPerRead } from '../../../deploy/split/split.ts';

const MiB = 2 ** 20;

test('progress is a bar with rate and time left where the end is known', () => {
  expect(formatProgress({ phase: 'read', doneBytes: 256 * MiB, totalBytes: 1024 * MiB }, 2_000)).toBe(
    'reading ██████────────────────── 25 %  256 MiB of 1.00 GiB  128 MiB/s  6.0 s left',
  );
  expect(formatProgress({ phase: 'read', doneBytes: 256 * MiB, totalBytes: 1024 * MiB, phasesToCome: 2 }, 2_000)).toBe(
    'reading ██████────────────────── 25 %  256 MiB of 1.00 GiB  128 MiB/s  22.0 s left',
  );
  expect(formatProgress({ phase: 'read', doneBytes: 256 * MiB, totalBytes: undefined }, 2_000)).toBe('reading  256 MiB  128 MiB/s');
  expect(formatProgress({ phase: 'seal', doneBytes: 0, totalBytes: 100 }, 0)).toBe(
    'writing slices ──────────────────────── 0 %  0 B of 100 B  0 B/s',
  );
  expect(formatProgress({ phase: 'sync', doneBytes: 0, totalBytes: undefined }, 0)).toBe('syncing');
});

test.for([
  [true, 11],
  [false, 1],
] as const)('on a terminal (%s) the line is redrawn ten times a second, elsewhere there is one every few', ([isTTY, count]) => {
  const written: string[] = [];
  let nowMs = 0;
  const stream = {
    isTTY,
    write: (text: string) => {
      written.push(text);
      return true;
    },
  };
  const display = openProgressDisplay(stream as unknown as NodeJS.WriteStream, () => nowMs);
  for (nowMs = 0; nowMs <= (isTTY ? 1_100 : 9_000); nowMs += 10) display.show({ phase: 'read', doneBytes: nowMs, totalBytes: 10_000 });
  expect(written).toHaveLength(count);
  display.say('watch out');
  display.close();
  expect(written.join('')).toContain('pavostore: watch out\n');
  expect(written.at(-1)).toBe(isTTY ? '\r\x1b[K' : 'pavostore: watch out\n');
});

test('the second pass is taken for longer where digests are slow', () => {
  // Of two measured splits of 100 M entries: 74 s beside 37 s of reading, and 43 s beside 46 s, which the disk held up.
  expect(sealPerRead(345e6)).toBeCloseTo(2, 1);
  expect(sealPerRead(1.4e9)).toBeCloseTo(1.2, 1);
});
