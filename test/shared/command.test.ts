import { afterEach, describe, expect, test, vi } from 'vitest';
import yargs from 'yargs';
import { commonOptions, defineCommand, exitCode, type Options, variableOf, wholeNumber, withEnvironment } from '../../shared/command.ts';
import { PavostoreError } from '../../shared/errors.ts';

const options = {
  ...commonOptions,
  port: { type: 'number', default: 7070, describe: 'port' },
  memory: { type: 'string', describe: 'size' },
  cacheSize: { type: 'string', default: '64MiB', describe: 'size' },
  'bad-lines': { type: 'string', choices: ['error', 'skip'], default: 'error', describe: 'policy' },
  replicas: { type: 'number', demandOption: true, describe: 'copies' },
  tag: { type: 'array', string: true, default: [] as string[], describe: 'tags' },
} as const satisfies Record<string, Options>;

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('a flag from the environment', () => {
  test.each([
    ['data', 'PAVOSTORE_DATA'],
    ['cacheSize', 'PAVOSTORE_CACHE_SIZE'],
    ['cache-size', 'PAVOSTORE_CACHE_SIZE'],
    ['logLevel', 'PAVOSTORE_LOG_LEVEL'],
    ['max-shrink', 'PAVOSTORE_MAX_SHRINK'],
  ])('%s is the variable %s', (flag, variable) => {
    expect(variableOf(flag)).toBe(variable);
  });

  test('stands in for the default, with the type of the flag', () => {
    const env = {
      PAVOSTORE_DATA: '/srv/data',
      PAVOSTORE_PORT: '8080',
      PAVOSTORE_JSON: 'true',
      PAVOSTORE_CACHE_SIZE: '0',
      PAVOSTORE_BAD_LINES: 'skip',
      PAVOSTORE_REPLICAS: '2',
      PAVOSTORE_TAG: 'a,b',
    };
    const defaults = Object.entries(withEnvironment(options, env)).map(([name, option]) => [name, (option as Options).default]);
    expect(Object.fromEntries(defaults)).toMatchObject({
      data: '/srv/data',
      port: 8080,
      json: true,
      cacheSize: '0',
      'bad-lines': 'skip',
      replicas: 2,
      tag: ['a', 'b'],
      host: '127.0.0.1',
      memory: undefined,
    });
  });

  test('changes nothing when it is empty or absent, and leaves the options as they were', () => {
    const before = structuredClone(options);
    expect(withEnvironment(options, {})).toEqual(options);
    expect(withEnvironment(options, { PAVOSTORE_PORT: '', PAVOSTORE_JSON: '' })).toEqual(options);
    withEnvironment(options, { PAVOSTORE_PORT: '1' });
    expect(options).toEqual(before);
  });

  test.each([
    ['PAVOSTORE_PORT', 'eighty', /PAVOSTORE_PORT="eighty": a number is needed/],
    ['PAVOSTORE_REPLICAS', '2x', /a number is needed/],
    ['PAVOSTORE_JSON', 'yes', /PAVOSTORE_JSON="yes": true or false is needed/],
    ['PAVOSTORE_JSON', 'TRUE', /true or false is needed/],
    ['PAVOSTORE_BAD_LINES', 'ignore', /PAVOSTORE_BAD_LINES="ignore": one of error, skip is needed/],
    ['PAVOSTORE_LOG_LEVEL', 'INFO', /one of trace, debug, info, warn, error, silent is needed/],
  ])('that cannot be the value of its flag is wrong usage: %s=%s', (variable, text, message) => {
    const act = (): unknown => withEnvironment(options, { [variable]: text });
    expect(act).toThrow(PavostoreError);
    expect(act).toThrow(message);
    expect(act).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('a command line', () => {
  test('gives the command its flags, its defaults and what stands in brackets', async () => {
    expect(await parse(['try', 'a', 'b', '--replicas', '2', '--cache-size', '1GiB', '--json'])).toMatchObject({
      files: ['a', 'b'],
      replicas: 2,
      cacheSize: '1GiB',
      json: true,
      port: 7070,
      badLines: 'error',
    });
  });

  test('wins over the variable, which wins over the default', async () => {
    vi.stubEnv('PAVOSTORE_PORT', '1');
    vi.stubEnv('PAVOSTORE_REPLICAS', '3');
    vi.stubEnv('PAVOSTORE_CACHE_SIZE', '2GiB');
    expect(await parse(['try', 'a', '--port', '0', '--cache-size', '1GiB'])).toMatchObject({ port: 0, replicas: 3, cacheSize: '1GiB' });
    vi.stubEnv('PAVOSTORE_JSON', 'true');
    expect(await parse(['try', 'a', '--no-json'])).toMatchObject({ port: 1, json: false });
  });

  test('is not disturbed by variables of other commands, right or wrong', async () => {
    vi.stubEnv('PAVOSTORE_SHARDS', '3');
    vi.stubEnv('PAVOSTORE_LIMIT', 'not a number');
    vi.stubEnv('PAVOSTORE_', 'x');
    vi.stubEnv('PAVOSTORE_VERSION', '1');
    vi.stubEnv('PAVOSTORE_FILES', 'c');
    expect(await parse(['try', 'a', '--replicas', '1'])).toMatchObject({ files: ['a'], replicas: 1 });
  });

  test('with a wrong variable of its own is wrong usage before the command runs', async () => {
    vi.stubEnv('PAVOSTORE_PORT', 'eighty');
    await expect(parse(['try', 'a', '--replicas', '1'])).rejects.toMatchObject({ code: 'usage' });
  });

  test.each([
    [['try', 'a'], /replicas/],
    [['try', '--replicas', '1'], /Not enough/],
    [['try', 'a', '--replicas', '1', '--shards', '3'], /shards/],
    [['try', 'a', '--replicas', '1', '--bad-lines', 'ignore'], /bad-lines/],
  ])('%j is wrong usage', async (args, message) => {
    await expect(parse(args)).rejects.toThrow(message);
    await expect(parse(args)).rejects.toMatchObject({ code: 'usage' });
  });

  test.each([
    ['--data', ['--data', 'a', '--data', 'b']],
    ['--members', ['--members', 'http://a', '--members=http://b', '--members', 'http://c']],
    ['--cache-size', ['--cache-size', '1', '--cacheSize', '2']],
    ['--bad-lines', ['--bad-lines', 'skip', '--bad-lines', 'skip']],
    ['--port', ['--port', '1', '--port', '2']],
    ['--log-level', ['--log-level', 'info', '--log-level', 'warn']],
  ])('that gives %s more than once is wrong usage that names it; lists may be given so', async (flag, args) => {
    await expect(parse(['try', 'a', '--replicas', '1', ...args])).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining(`${flag}: given ${args.filter((arg) => arg.startsWith('--')).length} times, once is allowed`),
    });
    expect(await parse(['try', 'a', '--replicas', '1', '--tag', 'a', '--tag', 'b'])).toMatchObject({ tag: ['a', 'b'] });
  });

  test('that ends with a flag without its value is refused', async () => {
    await expect(parse(['try', 'a', '--replicas', '1', '--data'])).rejects.toThrow(/data/);
  });

  test('can be asked for help that names the variables and the exit codes', async () => {
    const help = await parser().getHelp();
    expect(help).toContain('a command that is tried');
    const commandHelp = await new Promise<string>((resolve) => {
      parser().parse(['try', '--help'], {}, (_error: unknown, _args: unknown, output: string) => resolve(output));
    });
    expect(commandHelp).toContain('PAVOSTORE_CACHE_SIZE');
    expect(commandHelp).toContain('Exit codes: 0 done, 1 failed, 2 wrong usage.');
    expect(commandHelp).toContain('pavostore try input.data');
    expect(exitCode).toEqual({ done: 0, failed: 1, usage: 2 });
  });

  test('whose command fails, fails with what the command threw', async () => {
    const failing = parser(() => Promise.reject(new PavostoreError('disk_short', 'no room')));
    await expect(failing.parseAsync(['try', 'a', '--replicas', '1'])).rejects.toMatchObject({ code: 'disk_short' });
  });
});

describe('a whole number', () => {
  test('within its bounds is itself, and all else is wrong usage that names the flag, the value and the bounds', () => {
    expect([wholeNumber('--slices', 1, 1, 4096), wholeNumber('--slices', 4096, 1, 4096)]).toEqual([1, 4096]);
    for (const n of [0, 4097, 1.5, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => wholeNumber('--slices', n, 1, 4096)).toThrow(
        expect.objectContaining({ code: 'usage', message: `--slices ${n}: a whole number from 1 to 4096 is needed` }),
      );
    }
  });
});

/** What the command got of this command line. */
async function parse(args: string[]): Promise<unknown> {
  let received: unknown;
  const tried = parser(async (given) => {
    received = given;
  });
  await tried.parseAsync(args);
  return received;
}

/** A program like ours, with one command. */
function parser(run: (args: unknown) => Promise<void> = async () => {}) {
  const command = defineCommand({
    command: 'try <files..>',
    describe: 'a command that is tried',
    options,
    positionals: { files: { type: 'string', array: true, describe: 'files' } },
    examples: [['try input.data', 'tries it']],
    run,
  });
  return yargs()
    .scriptName('pavostore')
    .command(command)
    .strict()
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      throw error ?? new PavostoreError('usage', message ?? 'wrong usage');
    });
}
