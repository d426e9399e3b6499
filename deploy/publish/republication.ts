// What `rollback` and `pin` have in common: a version that was published before, or lies in DATA at least, becomes the published one.

import { commonOptions, type Options } from '../../shared/command.ts';
import { waitFlags, waitSettingsIn } from './wait-flags.ts';

export const republicationFlags = {
  data: commonOptions.data,
  force: { type: 'boolean', default: false, describe: 'publish it even if it is damaged' },
  ...waitFlags,
  json: commonOptions.json,
} as const satisfies Record<string, Options>;

type RepublicationArguments = {
  readonly data: string;
  /** How the version's id begins. */
  readonly id: string | undefined;
  readonly force: boolean;
  readonly router: string | undefined;
  readonly wait: string;
  readonly json: boolean;
};

/** `done`: as in `AnnouncedCommand`. Throws what `act` of rollback.ts throws, `version_not_served`, `interrupted`. */
export async function republish(
  args: RepublicationArguments,
  { act, done }: { readonly act: 'rollbackVersion' | 'pinVersion'; readonly done: string },
): Promise<void> {
  const acts = await import('./rollback.ts');
  const { findVersionId } = await import('./version-list.ts');
  const { runAnnounced } = await import('./announced-command.ts');
  const { data: dataDir, force, json } = args;
  const wait = waitSettingsIn(args);
  const id = args.id === undefined ? undefined : await findVersionId(dataDir, args.id);
  await runAnnounced({ act: async (watch) => await acts[act]({ dataDir, id, force, ...watch }), done, wait, json });
}
