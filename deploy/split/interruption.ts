// SIGINT and SIGTERM in the middle of a command: the work is told to stop and to clean up, and the process ends with the exit
// code that a shell gives to one ended by that signal. A second signal ends it at once.

import { constants } from 'node:os';
import { PavostoreError } from '../../shared/errors.ts';

const signals = ['SIGINT', 'SIGTERM'] as const;

/** Runs `act` with a signal that is aborted when the process is told to end. Throws `interrupted` then, whatever `act` throws. */
export async function runUntilSignal<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    process.off(name, onSignal);
    process.exitCode = 128 + constants.signals[name];
    controller.abort(new PavostoreError('interrupted', `ended by ${name}`));
  };
  for (const name of signals) process.once(name, onSignal);
  try {
    return await act(controller.signal);
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    for (const name of signals) process.off(name, onSignal);
  }
}
