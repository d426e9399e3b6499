// The program as a user runs it: `pavostore COMMAND`, a process with its streams.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import './compile-cache.ts';

const program = fileURLToPath(new URL('../../deploy/pavostore.ts', import.meta.url));

export type ProgramResult = { readonly exitCode: number | null; readonly stdout: Buffer; readonly stderr: string };

export function runProgram(
  args: readonly string[],
  options: { readonly input?: Buffer | string; readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
): Promise<ProgramResult> {
  const { input = '', env = {}, cwd } = options;
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PAVOSTORE_')));
  const child = spawn(process.execPath, [program, ...args], { env: { ...own, ...env }, ...(cwd === undefined ? {} : { cwd }) });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // A command that ends without reading its input breaks the pipe.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }));
  });
}
