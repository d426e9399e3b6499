// What `publish`, `rollback` and `pin` have in common: the work with its progress, the result printed, and the wait until it is served.

import type { Current } from '../../shared/data-set.ts';
import { runUntilSignal } from '../split/interruption.ts';
import { openProgressDisplay } from '../split/progress-display.ts';
import type { VerifyOptions } from '../verify/verify.ts';
import { type WaitSettings, waitUntilServed } from './wait-flags.ts';

/** What the work is given. */
export type Watch = { readonly onWarning: (message: string) => void; readonly signal: AbortSignal; readonly verify: VerifyOptions };

export type AnnouncedCommand = {
  readonly act: (watch: Watch) => Promise<Current>;
  /** `published`, `rolled back`, `pinned`. */
  readonly done: string;
  readonly wait: WaitSettings;
  readonly json: boolean;
};

/** Prints the result in any case once `current` is replaced. Throws what `act` throws, `version_not_served`, `interrupted`. */
export async function runAnnounced({ act, done, wait, json }: AnnouncedCommand): Promise<void> {
  const progress = openProgressDisplay(process.stderr);
  const verify: VerifyOptions = {
    onProgress: (doneCount, total) => progress.show({ phase: 'verify', doneBytes: doneCount, totalBytes: total }),
  };
  await runUntilSignal(async (signal) => {
    try {
      const current = await act({ onWarning: progress.say, signal, verify });
      progress.close();
      const result = { id: current.id, sequence: current.sequence, previousId: current.previousId ?? null };
      if (!json) console.log(`version ${current.id} ${done}, sequence ${current.sequence}, before it ${current.previousId ?? 'none'}`);
      const outcome = await waitUntilServed(current, wait, { say: progress.say, signal }).then(
        () => ({ error: undefined }),
        (error: unknown) => ({ error }),
      );
      const isServed = wait.routers.length === 0 ? null : outcome.error === undefined;
      if (json) console.log(JSON.stringify({ ...result, served: isServed }));
      else if (isServed) console.log(`served by ${wait.routers.join(', ')}`);
      if (outcome.error !== undefined) throw outcome.error;
    } finally {
      progress.close();
    }
  });
}
