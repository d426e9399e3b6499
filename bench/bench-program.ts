// A program of this folder as a process of its own, which sends its port when it listens, and ends when its parent is gone.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export type BenchProgram = { readonly address: string; readonly pid: number; stop(): Promise<void> };

/** `name` is the file's, without its ending. */
export async function startProgram(name: string, args: readonly string[]): Promise<BenchProgram> {
  const child = fork(fileURLToPath(new URL(`${name}.ts`, import.meta.url)), args);
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`bench/${name}.ts ended with ${code} before it listened`);
  });
  const [port] = (await Promise.race([once(child, 'message'), ended])) as [number];
  ended.catch(() => {});
  return {
    address: `127.0.0.1:${port}`,
    pid: child.pid!,
    stop: async () => {
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    },
  };
}
