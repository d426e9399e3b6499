// How the tools ask a router: its address from `--router`, its problems as our own errors.

import type { Options } from '../../shared/command.ts';
import { type ErrorCode, errorTable, PavostoreError } from '../../shared/errors.ts';
import { HttpClient } from '../../shared/http-client.ts';
import { limits } from '../../shared/limits.ts';
import { parseAddress } from '../../shared/member-source.ts';

export const routerOptions = {
  router: { type: 'string', default: 'http://127.0.0.1:8080', describe: 'URL of a router', requiresArg: true },
} as const satisfies Record<string, Options>;

export type AskRouter = (path: string, request?: { method: 'POST'; headers: Record<string, string>; body: string }) => Promise<Buffer>;

/** Runs `use` with a way to ask the router; throws `router_unreachable`, or the problem's own code when it is not a 200. */
export async function withRouter(url: string, use: (ask: AskRouter) => Promise<void>): Promise<void> {
  const address = parseAddress(url);
  const client = new HttpClient();
  const ask: AskRouter = async (path, request) => {
    const reply = await client
      .fetch(address, path, { deadlineMs: limits.toolDeadlineMs, sizeMax: limits.toolReplySizeMax, ...request })
      .catch((cause: Error) => {
        throw new PavostoreError('router_unreachable', `http://${address}${path}: ${cause.message || cause.name}`, { cause });
      });
    if (reply.status === 200) return reply.body;
    const { code, detail } = problemIn(reply.body);
    throw new PavostoreError(code ?? 'router_unreachable', `http://${address}${path}: ${reply.status} ${detail}`);
  };
  try {
    await use(ask);
  } finally {
    await client.close();
  }
}

function problemIn(body: Buffer): { code: ErrorCode | undefined; detail: string } {
  try {
    const { code, detail } = JSON.parse(body.toString()) as { code?: string; detail?: string };
    return { code: code !== undefined && Object.hasOwn(errorTable, code) ? (code as ErrorCode) : undefined, detail: detail ?? '' };
  } catch {
    return { code: undefined, detail: '' };
  }
}
