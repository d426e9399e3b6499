import { expect } from 'vitest';
import { drawPlots, tableOf } from '../../bench/results.ts';

/** The table and the plots of a fresh result show a number wherever there should be one. */
export function expectTable(name: string, result: object): void {
  const about = { machine: 'this one', commit: 'none', date: '2026-01-01', command: 'none' };
  for (const text of [tableOf(name, result), ...drawPlots(new Map([[name, { about, ...result }]])).values()]) {
    expect(text).not.toMatch(/undefined|NaN|Infinity/);
  }
}
