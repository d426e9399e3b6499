// The flags of what moves slices to or from a place.

import { type Options, wholeNumber } from '../../shared/command.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { ObjectStore } from '../../shared/object-store.ts';
import { placeFlags, placeOptionsIn } from '../../shared/place-flags.ts';
import { formatSize, parseSize } from '../../shared/quantities.ts';

export const transferFlags = {
  ...placeFlags,
  parallel: {
    type: 'number',
    default: limits.storeParallelDefault,
    describe: 'slices, and parts of large ones, at a time',
    requiresArg: true,
  },
  rate: { type: 'string', describe: 'at most so much a second, both ways together: 20MiB [no bound]', requiresArg: true },
} as const satisfies Record<string, Options>;

export type TransferArgs = Parameters<typeof placeOptionsIn>[0] & { readonly parallel: number; readonly rate?: string | undefined };

/** Runs `act` with the place that the flags describe, and closes it. Throws `usage`. */
export async function withPlace<T>(place: string, args: TransferArgs, act: (store: ObjectStore) => Promise<T>): Promise<T> {
  const rate = rateOf(args.rate);
  const parallel = wholeNumber('--parallel', args.parallel, 1, limits.storeParallelMax);
  const { openPlace } = await import('../../shared/place.ts');
  const store = openPlace(place, { ...placeOptionsIn(args), parallel, rate });
  try {
    return await act(store);
  } finally {
    await store.close();
  }
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const rate = parseSize(text.replace(/\/s$/, ''));
  if (rate < limits.storeRateMin) throw new PavostoreError('usage', `--rate ${text}: at least ${formatSize(limits.storeRateMin)} a second`);
  return rate;
}
