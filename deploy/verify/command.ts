// `pavostore verify`: reads all of the published version, or of another one, and names what is damaged; with `--repair` it mends that.

import { commonOptions, defineCommand, exitCode } from '../../shared/command.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { placeFlags, placeOptionsIn } from '../../shared/place-flags.ts';
import { formatCount, formatSize } from '../../shared/quantities.ts';
import type { VerifyReport } from './verify.ts';

export const verifyCommand = defineCommand({
  command: 'verify',
  describe: 'check every byte of a version, and mend what is damaged',
  options: {
    data: commonOptions.data,
    version: { type: 'string', describe: 'id of the version; by default the published one', requiresArg: true },
    repair: { type: 'boolean', default: false, describe: 'bring what is missing or damaged from --members, --backup, --source' },
    members: commonOptions.members,
    backup: { type: 'string', describe: 'folder or s3://bucket/prefix with a backup', requiresArg: true },
    source: { type: 'string', describe: 'folder or s3://bucket/prefix where versions come from', requiresArg: true },
    ...placeFlags,
    json: commonOptions.json,
  },
  examples: [
    ['verify', 'checks what is published in ./data'],
    ['verify --data /srv/data --json', 'the same of another folder, for machines'],
    ['verify --repair --members 127.0.0.1:7070,127.0.0.1:7071', 'mends it with what these shards keep'],
    ['verify --repair --backup /mnt/backup', 'mends it from a backup'],
  ],
  run: async ({ data, version, json, ...args }) => {
    const report = args.repair ? await repair(data, version, args) : await verify(data, version);
    const { problems } = report;
    if (json) console.log(JSON.stringify({ ...report, whole: problems.length === 0 }));
    else for (const line of [...problems, formatReport(report)]) console.log(line);
    if (problems.length > 0) process.exitCode = exitCode.failed;
  },
});

type RepairFlags = {
  readonly members?: string | undefined;
  readonly backup?: string | undefined;
  readonly source?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  readonly credentials?: string | undefined;
};

// The other flags are of no effect then: where containers have them as variables, `verify` should work all the same.
async function verify(data: string, version: string | undefined): Promise<VerifyReport> {
  const { verifyDataSet } = await import('./verify.ts');
  return await verifyDataSet(data, version);
}

async function repair(data: string, version: string | undefined, args: RepairFlags): Promise<VerifyReport> {
  const { members, backup, source } = args;
  if ((members ?? backup ?? source) === undefined)
    throw new PavostoreError('usage', '--repair needs --members, --backup or --source: somebody has to have a good copy');
  const { repairDataSet } = await import('./repair.ts');
  const options = placeOptionsIn(args);
  return await repairDataSet(data, version, {
    members,
    backup: backup === undefined ? undefined : { place: backup, options },
    source: source === undefined ? undefined : { place: source, options },
    onEvent: (message) => console.error(message),
  });
}

/** The last line for people. */
function formatReport({ id, sequence, sliceCount, entries, sliceBytes, problems }: VerifyReport): string {
  if (problems.length > 0) return `version ${id ?? 'unknown'}: ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`;
  const published = sequence === undefined ? '' : `, sequence ${sequence}`;
  return `version ${id}${published}: whole. ${formatCount(entries)} entries in ${sliceCount} slices, ${formatSize(sliceBytes)}`;
}
