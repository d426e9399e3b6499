// Sizes (`5GiB`) and durations (`250ms`) as people write them, and as messages show them.

import { PavostoreError } from './errors.ts';

// A map and no object: "5 constructor" is no size.
const sizeUnits: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['kb', 1e3],
  ['mb', 1e6],
  ['gb', 1e9],
  ['tb', 1e12],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['tib', 2 ** 40],
]);

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** `5GiB`, `1.5 GB`, `0` to bytes. Throws `usage`. */
export function parseSize(text: string): number {
  const parts = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$/.exec(text.trim());
  const unit = sizeUnits.get(parts?.[2]?.toLowerCase() ?? 'none');
  const size = Math.floor(Number(parts?.[1]) * (unit ?? Number.NaN));
  if (!Number.isSafeInteger(size))
    throw new PavostoreError('usage', `"${text}" is not a size: give a number and B, KiB, MiB, GiB, KB, MB or GB`);
  return size;
}

/** `250ms`, `1s`, `2m` to milliseconds. Throws `usage`. */
export function parseDuration(text: string): number {
  const parts = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)$/.exec(text.trim());
  if (!parts) throw new PavostoreError('usage', `"${text}" is not a duration: give a number and ms, s, m or h`);
  return Number(parts[1]) * durationUnits[parts[2]!]!;
}

/** Bytes for people: `512 B`, `1.30 GiB`. */
export function formatSize(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let amount = bytes;
  let name = 0;
  while (amount >= 1024 && name < names.length - 1) {
    amount /= 1024;
    name++;
  }
  return name === 0 ? `${bytes} B` : `${amount.toFixed(amount < 10 ? 2 : amount < 100 ? 1 : 0)} ${names[name]}`;
}

/** Milliseconds for people: `850 ms`, `12.3 s`, `3 min 05 s`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** A count for people: `1,234,567`. */
export function formatCount(n: number): string {
  return n.toLocaleString('en-US');
}

/** A duration of a flag in milliseconds. Throws `usage` unless it is from `minMs` to `maxMs`. */
export function durationBetween(flag: string, text: string, minMs: number, maxMs: number): number {
  const ms = parseDuration(text);
  if (ms < minMs || ms > maxMs)
    throw new PavostoreError('usage', `${flag} ${text}: ${formatDuration(minMs)} to ${formatDuration(maxMs)} is needed`);
  return ms;
}

/** A size of a flag in bytes. Throws `usage` unless it is from `min` to `max`. */
export function sizeBetween(flag: string, text: string, min: number, max: number): number {
  const size = parseSize(text);
  if (size < min || size > max) throw new PavostoreError('usage', `${flag} ${text}: ${formatSize(min)} to ${formatSize(max)} is needed`);
  return size;
}
