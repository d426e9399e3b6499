// How far a split, a backup or a restore is, on standard error: one line that is redrawn on a terminal, now and then a plain line elsewhere.

import type { WriteStream } from 'node:tty';
import { formatDuration, formatSize } from '../../shared/quantities.ts';
import type { SplitProgress } from './split-options.ts';

const redrawIntervalMs = 100;
const plainIntervalMs = 5_000;
const barWidth = 24;

const phaseNames = {
  read: 'reading',
  seal: 'writing slices',
  sync: 'syncing',
  publish: 'publishing',
  verify: 'verifying',
  compare: 'comparing',
  store: 'backing up',
  fetch: 'restoring',
  check: 'checking',
} as const satisfies Record<SplitProgress['phase'], string>;

export type ProgressDisplay = {
  readonly show: (progress: SplitProgress) => void;
  /** A line of its own, above what is drawn. */
  readonly say: (message: string) => void;
  /** Takes away what is drawn. */
  readonly close: () => void;
};

/** `now` is in milliseconds. */
export function openProgressDisplay(
  stream: Pick<WriteStream, 'write' | 'isTTY'>,
  now: () => number = () => performance.now(),
): ProgressDisplay {
  const startedMs = now();
  let phase: { name: SplitProgress['phase']; startedMs: number } = { name: 'read', startedMs };
  let shownMs = startedMs;
  const clear = (): void => void (stream.isTTY && stream.write('\r\x1b[K'));
  return {
    show: (progress) => {
      const nowMs = now();
      if (progress.phase !== phase.name) phase = { name: progress.phase, startedMs: nowMs };
      if (nowMs - shownMs < (stream.isTTY ? redrawIntervalMs : plainIntervalMs)) return;
      shownMs = nowMs;
      const line = formatProgress(progress, nowMs - phase.startedMs);
      stream.write(stream.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
    },
    say: (message) => {
      clear();
      stream.write(`pavostore: ${message}\n`);
    },
    close: clear,
  };
}

/** `reading ████████──── 52 %  1.2 GiB of 2.4 GiB  410 MiB/s  12.6 s left`, as far as that is known; left is until the end of all phases. */
export function formatProgress({ phase, doneBytes, totalBytes, phasesToCome = 0 }: SplitProgress, elapsedMs: number): string {
  const name = phaseNames[phase];
  if (phase === 'sync' || phase === 'publish') return name;
  if (phase === 'verify' || phase === 'compare') return `${name} ${doneBytes} of ${totalBytes} slices`;
  const rate = elapsedMs > 0 ? (1_000 * doneBytes) / elapsedMs : 0;
  const speed = `${formatSize(Math.round(rate))}/s`;
  if (totalBytes === undefined || totalBytes === 0) return `${name}  ${formatSize(doneBytes)}  ${speed}`;
  const share = Math.min(1, doneBytes / totalBytes);
  const filled = Math.round(barWidth * share);
  const bar = '█'.repeat(filled) + '─'.repeat(barWidth - filled);
  const bytesLeft = totalBytes - doneBytes + phasesToCome * totalBytes;
  const left = rate > 0 ? `  ${formatDuration((1_000 * bytesLeft) / rate)} left` : '';
  return `${name} ${bar} ${Math.round(100 * share)} %  ${formatSize(doneBytes)} of ${formatSize(totalBytes)}  ${speed}${left}`;
}
