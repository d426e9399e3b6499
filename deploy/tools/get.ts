// `pavostore get KEY…`: asks a router, as curl would, without the escaping.

import { commonOptions, defineCommand, exitCode } from '../../shared/command.ts';
import { type ErrorCode, PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { routerOptions, withRouter } from './router-client.ts';

type MgetResult =
  | { readonly status: 'found'; readonly value: string; readonly encoding?: 'base64' }
  | { readonly status: 'missing' }
  | { readonly status: 'unavailable'; readonly code: ErrorCode };

export const getCommand = defineCommand({
  command: 'get <keys..>',
  describe: 'look keys up and print their values',
  positionals: { keys: { type: 'string', array: true, demandOption: true, describe: 'the keys' } },
  options: {
    ...routerOptions,
    base64: { type: 'boolean', default: false, describe: 'the keys are given in base64: for bytes that are not text' },
    json: commonOptions.json,
  },
  examples: [
    ['get foo', "print foo's value, its bytes as they are"],
    ['get foo bar --json', 'both, as the router answers'],
  ],
  run: async (args) => {
    const keys = args.keys.map((key) => keyBytesOf(String(key), args.base64));
    await withRouter(args.router, async (ask) => {
      if (keys.length > limits.mgetKeysMax) throw new PavostoreError('usage', `${keys.length} keys; at most ${limits.mgetKeysMax} at once`);
      const reply = await ask('/mget', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ keys: keys.map((key) => ({ base64: key.toString('base64') })) }),
      });
      const { results } = JSON.parse(reply.toString()) as { results: readonly MgetResult[] };
      if (args.json) process.stdout.write(reply);
      else for (const [i, result] of results.entries()) printResult(keys[i]!, result, keys.length > 1);
      if (results.some(({ status }) => status !== 'found')) process.exitCode = exitCode.failed;
    });
  },
});

/** One key: its value's bytes. Several: lines of the input's form. What has no value goes to standard error. */
function printResult(key: Buffer, result: MgetResult, isOneOfMany: boolean): void {
  if (result.status !== 'found') {
    console.error(`${key}: ${result.status === 'missing' ? 'not found' : result.code}`);
    return;
  }
  const value = Buffer.from(result.value, result.encoding ?? 'utf8');
  if (isOneOfMany) process.stdout.write(Buffer.concat([key, Buffer.from(' '), value, Buffer.from('\n')]));
  else process.stdout.write(process.stdout.isTTY ? Buffer.concat([value, Buffer.from('\n')]) : value);
}

function keyBytesOf(text: string, isBase64: boolean): Buffer {
  const bytes = Buffer.from(text, isBase64 ? 'base64' : 'utf8');
  // Buffer skips what is not base64: what it read must say the same again.
  if (isBase64 && bytes.toString('base64').replace(/=+$/, '') !== text.replace(/=+$/, '')) {
    throw new PavostoreError('usage', `key ${JSON.stringify(text.slice(0, 80))}: not valid base64`);
  }
  if (bytes.length < 1 || bytes.length > limits.keySizeMax) {
    throw new PavostoreError(
      'usage',
      `key ${JSON.stringify(text.slice(0, 80))}: ${bytes.length} bytes; 1 to ${limits.keySizeMax} are needed`,
    );
  }
  return bytes;
}
