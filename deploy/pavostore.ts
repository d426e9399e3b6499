#!/usr/bin/env node
// The one program: `pavostore COMMAND`. Each command is defined in the folder it belongs to and imports what it needs
// when it runs, so that `--help` is instant. Results go to standard output, all else to standard error.

import { readFileSync } from 'node:fs';
import yargs from 'yargs';
import { exitCode, hideDashes } from '../shared/command.ts';
import { PavostoreError } from '../shared/errors.ts';
import { commands } from './commands.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

/** Parses and runs one command line; returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const parser = yargs()
    .scriptName('pavostore')
    .usage('$0 COMMAND\n\nA read-only, bulk-loaded, sharded key-value store.')
    .version(version)
    .alias('h', 'help')
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .command(commands)
    .completion('completion', 'print a completion script for bash or zsh')
    .demandCommand(1, 'name a command')
    .strict()
    // Dashed names stay beside the others: yargs checks the choices of `--log-level` by that name, and by no other.
    .parserConfiguration({ 'camel-case-expansion': true, 'strip-dashed': false, 'duplicate-arguments-array': true })
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      // yargs tells wrong usage by a message alone, or by an error of its own kind; any other is the command's.
      throw error && error.name !== 'YError' ? error : new PavostoreError('usage', message ?? error?.message ?? 'wrong usage');
    });
  try {
    await parser.parseAsync(hideDashes(args));
    return typeof process.exitCode === 'number' ? process.exitCode : exitCode.done;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  if (!(error instanceof PavostoreError)) {
    console.error(error);
    return exitCode.failed;
  }
  console.error(`pavostore: ${error.message}${error.code === 'usage' ? '\nSee: pavostore --help' : ` [${error.code}]`}`);
  if (error.code === 'usage' || error.code === 'members_malformed') return exitCode.usage;
  // A command that a signal ended has said so already.
  return typeof process.exitCode === 'number' ? process.exitCode : exitCode.failed;
}

process.exitCode = await main(process.argv.slice(2));
