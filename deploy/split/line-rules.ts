// What a line of the input is, and what is done with one that is no record or with a key that comes twice. These choices are
// part of a version's source: `serve` compares them to know whether a file must be split again.

import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';

export const duplicatePolicies = ['last', 'first', 'error'] as const;
export type DuplicatePolicy = (typeof duplicatePolicies)[number];

export const badLinePolicies = ['error', 'skip'] as const;
export type BadLinePolicy = (typeof badLinePolicies)[number];

export type LineRules = {
  /** The byte that ends the key. */
  readonly separator: number;
  /** False: one CR before the newline is not part of the value. */
  readonly keepCr: boolean;
  readonly badLines: BadLinePolicy;
  readonly duplicates: DuplicatePolicy;
};

export const newline = 0x0a;
export const carriageReturn = 0x0d;
export const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);

/** The longest line that may be a record, in bytes without its newline: key, separator, value, CR. */
export const lineSizeMax = limits.keySizeMax + 1 + limits.valueSizeMax + 1;

/** `tab`, `\t`, `space` or one ASCII character to its byte. Throws `usage`. */
export function parseSeparator(text: string): number {
  const named: Readonly<Record<string, string>> = { tab: '\t', '\\t': '\t', space: ' ' };
  const character = named[text] ?? text;
  const byte = character.charCodeAt(0);
  if (character.length !== 1 || byte > 0x7f || byte === newline || byte === carriageReturn) {
    throw new PavostoreError('usage', `--separator ${JSON.stringify(text)}: one ASCII character is needed, no newline; or tab`);
  }
  return byte;
}

/** The separator as messages and the manifest show it. */
export function formatSeparator(separator: number): string {
  return separator === 0x09 ? 'tab' : separator === 0x20 ? 'space' : String.fromCharCode(separator);
}

/**
 * Why the line from `start` to `end` (without newline and CR) is no record; undefined when it is one. The answer depends on
 * its first bytes and on whether it is too long, not on how long, so that a line that was only read in part gets the same.
 */
export function reasonAgainst(bytes: Uint8Array, start: number, end: number, separator: number): string | undefined {
  const keyEnd = bytes.subarray(start, Math.min(end, start + limits.keySizeMax + 1)).indexOf(separator);
  if (keyEnd === 0) return 'the key is empty';
  if (keyEnd < 0 && end - start <= limits.keySizeMax) return `no separator (${formatSeparator(separator)})`;
  if (keyEnd < 0) return `no separator (${formatSeparator(separator)}) after a key of at most ${limits.keySizeMax} bytes`;
  if (end - start - keyEnd - 1 > limits.valueSizeMax) return `the value is longer than ${limits.valueSizeMax} bytes`;
  return undefined;
}

/** The beginning of a line for a message, quoted. */
export function excerptOf(bytes: Uint8Array, start: number, end: number): string {
  const excerptSizeMax = 60;
  const text = Buffer.from(bytes.subarray(start, Math.min(end, start + excerptSizeMax))).toString('utf8');
  return JSON.stringify(text) + (end - start > excerptSizeMax ? '…' : '');
}
