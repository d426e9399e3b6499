// What every command's flags have in common; a door of yargs for the command files. Each flag of a command can be given as
// a variable as well: `--cache-size 0` is `PAVOSTORE_CACHE_SIZE=0`; the flag wins. Variables of other commands' flags are
// ignored, which yargs' own `.env()` beside `.strict()` would not do.

import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options, PositionalOptions } from 'yargs';
import { PavostoreError } from './errors.ts';

export type { Options, PositionalOptions } from 'yargs';

/** Exit codes of the program: documented in every `--help`. */
export const exitCode = { done: 0, failed: 1, usage: 2 } as const;

/** The flags that more than one command takes, so that they mean the same everywhere. */
export const commonOptions = {
  data: { type: 'string', default: './data', describe: 'folder of the data set', requiresArg: true },
  host: { type: 'string', default: '127.0.0.1', describe: 'address to listen on', requiresArg: true },
  members: {
    type: 'string',
    describe: 'the shards: a comma list of URLs, dns://HOST:PORT or dns+srv://NAME',
    requiresArg: true,
  },
  replicas: { type: 'number', describe: 'how many shards hold each slice', requiresArg: true },
  json: { type: 'boolean', default: false, describe: 'print the result as JSON' },
  logLevel: {
    type: 'string',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    describe: 'least level of the log lines on standard error',
    requiresArg: true,
  },
} as const satisfies Record<string, Options>;

/** What a command file declares; `run` throws a `PavostoreError` for what the user can mend. */
export type CommandDefinition<O extends Record<string, Options>, P extends Record<string, PositionalOptions>> = {
  /** As yargs reads it: `split <files..>`. */
  readonly command: string;
  readonly describe: string;
  readonly options: O;
  /** What `command` names in brackets; these have no variables. */
  readonly positionals?: P;
  /** Pairs of a command line without the leading `pavostore`, and what it does. */
  readonly examples: readonly (readonly [string, string])[];
  readonly run: (args: CommandArguments<O, P>) => Promise<void>;
};

/** The parsed command line, as `run` gets it. */
export type CommandArguments<O extends Record<string, Options>, P extends Record<string, PositionalOptions>> = ArgumentsCamelCase<
  InferredOptionTypes<O> & InferredOptionTypes<P>
>;

/** The yargs command of a definition: flags with their variables, examples and exit codes in its help. */
export function defineCommand<
  const O extends Record<string, Options>,
  const P extends Record<string, PositionalOptions> = Record<never, PositionalOptions>,
>(definition: CommandDefinition<O, P>): CommandModule<object, object> {
  const { command, describe, options, positionals, examples, run } = definition;
  return {
    command,
    describe,
    builder: (yargs) => {
      // The program's own --version gives way to a command's.
      if ('version' in options) yargs.version(false);
      yargs.options(withEnvironment(options));
      for (const [name, positional] of Object.entries(positionals ?? {})) yargs.positional(name, positional);
      for (const [line, effect] of examples) yargs.example(`$0 ${line}`, effect);
      return yargs.epilogue(
        'Each flag is also a variable: --cache-size is PAVOSTORE_CACHE_SIZE.\nExit codes: 0 done, 1 failed, 2 wrong usage.',
      );
    },
    handler: async (args) => {
      assertGivenOnce(options, args);
      await run(restoreDashes(args) as CommandArguments<O, P>);
    },
  };
}

/** yargs makes a list of a flag that is repeated, whatever its type. Which of them was meant nobody knows. Throws `usage`. */
function assertGivenOnce(options: Record<string, Options>, args: Readonly<Record<string, unknown>>): void {
  for (const [name, option] of Object.entries(options)) {
    const value = args[name];
    if (!Array.isArray(value) || option.array || option.type === 'array') continue;
    throw new PavostoreError('usage', `--${flagOf(name)}: given ${value.length} times, once is allowed (${value.join(', ')})`);
  }
}

// yargs loses a lone `-` among positionals, and all that stands behind `--`. They travel marked by this, which no command line can hold.
const hiddenMark = '\0';

/** The arguments as yargs gets them: a command of `defineCommand` sees the hidden ones again. */
export function hideDashes(args: readonly string[]): string[] {
  const end = args.indexOf('--');
  const [before, behind] = end < 0 ? [args, []] : [args.slice(0, end), args.slice(end + 1)];
  return [...before.map((arg) => (arg === '-' ? hiddenMark + arg : arg)), ...behind.map((arg) => hiddenMark + arg)];
}

function restoreDashes(args: Record<string, unknown>): Record<string, unknown> {
  const restore = (value: unknown): unknown => (typeof value === 'string' && value.startsWith(hiddenMark) ? value.slice(1) : value);
  return Object.fromEntries(
    Object.entries(args).map(([name, value]) => [name, Array.isArray(value) ? value.map(restore) : restore(value)]),
  );
}

/** The command line that gives a command these values of its options again; those that have none are left out. */
export function flagsOf(options: Record<string, Options>, values: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(options).flatMap((name) => (values[name] === undefined ? [] : [`--${name}=${values[name]}`]));
}

/** `logLevel` as it is typed: `log-level`. */
function flagOf(optionName: string): string {
  return optionName.replace(/([a-z])([A-Z])/g, '$1-$2').toLowerCase();
}

/** The variable of a flag: `cache-size` or `cacheSize` to `PAVOSTORE_CACHE_SIZE`. */
export function variableOf(optionName: string): string {
  return `PAVOSTORE_${flagOf(optionName).replaceAll('-', '_').toUpperCase()}`;
}

/** The same options with what the environment says as their defaults. Throws `usage` for a value that cannot be the option's. */
export function withEnvironment<O extends Record<string, Options>>(options: O, env: NodeJS.ProcessEnv = process.env): O {
  const result: Record<string, Options> = {};
  for (const [name, option] of Object.entries(options)) {
    const text = env[variableOf(name)];
    result[name] =
      text === undefined || text === '' ? option : { ...option, default: parseVariable(name, option, text), demandOption: false };
  }
  return result as O;
}

/** Throws `usage` unless `n` is a whole number from `min` to `max`. */
export function wholeNumber(flag: string, n: number, min: number, max: number): number {
  if (!Number.isInteger(n) || n < min || n > max)
    throw new PavostoreError('usage', `${flag} ${n}: a whole number from ${min} to ${max} is needed`);
  return n;
}

function parseVariable(name: string, option: Options, text: string): unknown {
  const refuse = (reason: string): PavostoreError => new PavostoreError('usage', `${variableOf(name)}="${text}": ${reason}`);
  if (option.choices && !option.choices.includes(text)) throw refuse(`one of ${option.choices.join(', ')} is needed`);
  if (option.type === 'number') {
    const n = Number(text);
    if (!/^-?\d+(\.\d+)?$/.test(text)) throw refuse('a number is needed');
    return n;
  }
  if (option.type === 'boolean') {
    if (!/^(true|false|1|0)$/.test(text)) throw refuse('true or false is needed');
    return text === 'true' || text === '1';
  }
  return option.type === 'array' || option.array ? text.split(',') : text;
}
