// `pavostore status`: what a router knows of the cluster.

import { commonOptions, defineCommand, exitCode } from '../../shared/command.ts';
import { formatCount, formatSize } from '../../shared/quantities.ts';
import { countSlices, type SliceRanges } from '../../shared/slice-ranges.ts';
import { routerOptions, withRouter } from './router-client.ts';

type RouterStatus = {
  readonly state: string;
  readonly degraded: boolean;
  readonly version: { readonly id: string; readonly sequence: number; readonly sliceCount: number } | null;
  readonly slicesAbsent: Readonly<Record<string, SliceRanges>>;
  readonly members: readonly {
    readonly name: string;
    readonly address: string;
    readonly alive: boolean;
    readonly state: string;
    readonly slicesKept: number;
    readonly keys?: number;
  }[];
  readonly memory: { readonly rss: number };
  readonly uptimeSeconds: number;
};

export const statusCommand = defineCommand({
  command: 'status',
  describe: 'show the cluster as a router sees it; exit code 1 when a slice has no holder',
  options: { ...routerOptions, json: commonOptions.json },
  examples: [
    ['status', 'of the router on this machine'],
    ['status --router http://10.0.0.5:8080 --json', 'of another, for a program'],
  ],
  run: async (args) => {
    await withRouter(args.router, async (ask) => {
      const reply = await ask('/status');
      const status = JSON.parse(reply.toString()) as RouterStatus;
      console.log(args.json ? reply.toString() : describe(status));
      if (!status.version || status.degraded) process.exitCode = exitCode.failed;
    });
  },
});

function describe(status: RouterStatus): string {
  const { version, members } = status;
  const absent = Object.entries(status.slicesAbsent).map(([code, ranges]) => `${countSlices(ranges)} ${code}`);
  const rows = [['member', 'address', 'state', 'slices', 'keys asked'], ...members.map(rowOf)];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return [
    `router   ${status.state}${status.degraded ? ', degraded' : ''}, up ${status.uptimeSeconds} s, ${formatSize(status.memory.rss)}`,
    `version  ${version ? `${version.id}, sequence ${version.sequence}, ${version.sliceCount} slices` : 'none yet'}`,
    ...(absent.length > 0 ? [`absent   ${absent.join(', ')}`] : []),
    '',
    ...rows.map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    ),
  ].join('\n');
}

function rowOf(member: RouterStatus['members'][number]): string[] {
  return [
    member.name,
    member.address,
    member.alive ? member.state : 'not answering',
    String(member.slicesKept),
    formatCount(member.keys ?? 0),
  ];
}
