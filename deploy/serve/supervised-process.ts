// A `pavostore` command as a supervised child: of the local cluster, and of tests.
//
// It has a process group of its own, so that Ctrl-C reaches the parent alone and the order of stopping is the parent's.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SupervisedProcess as SupervisedChild } from '../../shared/supervised-process.ts';

/** For `node PROGRAM COMMAND …`. */
export const program = fileURLToPath(new URL('../pavostore.ts', import.meta.url));

export type SupervisedProcessOptions = {
  /** For messages: `shard 127.0.0.1:7070`. */
  readonly title: string;
  /** The command line after `pavostore`. */
  readonly args: readonly string[];
  readonly onDeath: (message: string) => void;
};

export class SupervisedProcess extends SupervisedChild {
  constructor({ title, args, onDeath }: SupervisedProcessOptions) {
    super({
      title,
      onDeath,
      spawn: () =>
        spawn(process.execPath, [program, ...args], {
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
          env: { ...process.env, ...withoutOwnVariables() },
          detached: true,
        }),
    });
  }
}

/** Keeps what Node made of the sources: the next start of a child takes half the time. Of no effect where it cannot be written. */
const compileCache = fileURLToPath(new URL('../../node_modules/.cache/node-compile', import.meta.url));

/** What makes an environment one without our own variables: the children's flags are all given, and must not be changed from outside. */
export function withoutOwnVariables(): NodeJS.ProcessEnv {
  const own = Object.keys(process.env).filter((name) => name.startsWith('PAVOSTORE_'));
  return {
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? compileCache,
    ...Object.fromEntries(own.map((name) => [name, undefined])),
  };
}
