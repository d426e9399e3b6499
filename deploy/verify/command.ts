// `pavostore verify`: reads all of the published version, or of another one, and names what is damaged.

import { commonOptions, defineCommand, exitCode } from '../../shared/command.ts';
import { formatCount, formatSize } from '../../shared/quantities.ts';
import type { VerifyReport } from './verify.ts';

export const verifyCommand = defineCommand({
  command: 'verify',
  describe: 'check every byte of a version',
  options: {
    data: commonOptions.data,
    version: { type: 'string', describe: 'id of the version; by default the published one', requiresArg: true },
    json: commonOptions.json,
  },
  examples: [
    ['verify', 'checks what is published in ./data'],
    ['verify --data /srv/data --json', 'the same of another folder, for machines'],
  ],
  run: async ({ data, version, json }) => {
    const { verifyDataSet } = await import('./verify.ts');
    const report = await verifyDataSet(data, version);
    const { problems } = report;
    if (json) console.log(JSON.stringify({ ...report, whole: problems.length === 0 }));
    else for (const line of [...problems, formatReport(report)]) console.log(line);
    if (problems.length > 0) process.exitCode = exitCode.failed;
  },
});

/** The last line for people. */
function formatReport({ id, sequence, sliceCount, entries, sliceBytes, problems }: VerifyReport): string {
  if (problems.length > 0) return `version ${id ?? 'unknown'}: ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`;
  const published = sequence === undefined ? '' : `, sequence ${sequence}`;
  return `version ${id}${published}: whole. ${formatCount(entries)} entries in ${sliceCount} slices, ${formatSize(sliceBytes)}`;
}
