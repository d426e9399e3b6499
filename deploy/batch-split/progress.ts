// What a step shows while it runs, and how a signal ends it: as `split` does.

import { runUntilSignal } from '../split/interruption.ts';
import { openProgressDisplay, type ProgressDisplay } from '../split/progress-display.ts';

export type Watch = {
  readonly onProgress: ProgressDisplay['show'];
  readonly onWarning: ProgressDisplay['say'];
  readonly signal: AbortSignal;
};

/** Runs `act` with a display on standard error, which is gone when this returns. Throws `interrupted` after a signal. */
export async function runWithProgress<T>(act: (watch: Watch) => Promise<T>): Promise<T> {
  const progress = openProgressDisplay(process.stderr);
  try {
    return await runUntilSignal((signal) => act({ onProgress: progress.show, onWarning: progress.say, signal }));
  } finally {
    progress.close();
  }
}
