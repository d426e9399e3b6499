// The guards: what keeps a version that is damaged, empty or much too small from being published by mistake. Pure: what was found of
// it comes in, the verdict goes out, and is written into DATA/publications.json with the publication. An operator may force it;
// only a version that cannot be read at all is beyond that, since nobody could serve it.

import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import type { Publication } from '../../shared/publications.ts';
import { formatCount } from '../../shared/quantities.ts';

/** What the operator allows. */
export type GuardSettings = {
  /** The share of the published version's entries that a new one may have less, 0 to 1; undefined: any. */
  readonly maxShrink: number | undefined;
  /** Publish it whatever the guards say. */
  readonly force: boolean;
};

export const defaultGuards: GuardSettings = { maxShrink: limits.maxShrinkDefault, force: false };

/** What becomes of a version that is to be published while another one is pinned. */
export const ifPinnedChoices = ['fail', 'keep'] as const;
export type IfPinned = (typeof ifPinnedChoices)[number];

/** What is known of a version that is to be published. */
export type GuardFacts = {
  /** What verifying it found. */
  readonly problems: readonly string[];
  readonly entries: number;
  /** Of the published version; undefined when there is none, an error when it cannot be read. */
  readonly entriesPublished: number | Error | undefined;
};

/** The result as it is written with the publication. */
export type Verdict = Pick<Publication, 'outcome' | 'reasons'>;

export function judge(facts: GuardFacts, { maxShrink, force }: GuardSettings): Verdict {
  const reasons = [...damageOf(facts), ...(facts.entries === 0 ? ['it is empty'] : shrinkOf(facts, maxShrink))];
  return { outcome: reasons.length === 0 ? 'passed' : force ? 'forced' : 'refused', reasons };
}

/** `50%`, or `50`, to 0.5. Throws `usage`. */
export function parseMaxShrink(text: string): number {
  const percent = /^(\d+(?:\.\d+)?)\s*%?$/.exec(text.trim())?.[1];
  const share = Number(percent ?? Number.NaN) / 100;
  if (share >= 0 && share <= 1) return share;
  throw new PavostoreError('usage', `--max-shrink ${text}: 0% to 100% is needed`);
}

/** The first problem, and how many there are. */
function damageOf({ problems }: GuardFacts): string[] {
  if (problems.length === 0) return [];
  const more = problems.length === 1 ? '' : ` (the first of ${formatCount(problems.length)} problems)`;
  return [`it does not verify: ${problems[0]}${more}`];
}

function shrinkOf({ entries, entriesPublished }: GuardFacts, maxShrink: number | undefined): string[] {
  if (maxShrink === undefined || maxShrink === 1 || entriesPublished === undefined) return [];
  if (entriesPublished instanceof Error)
    return [`how much smaller it is than the published version is not known: ${entriesPublished.message}`];
  if (entries >= entriesPublished * (1 - maxShrink)) return [];
  const lost = (100 * (entriesPublished - entries)) / entriesPublished;
  return [
    `${formatCount(entries)} entries, ${lost.toFixed(1)} % less than the ${formatCount(entriesPublished)} of the published version; ` +
      `at most ${formatPercent(maxShrink)} less is allowed`,
  ];
}

function formatPercent(share: number): string {
  return `${Number((100 * share).toFixed(4))} %`;
}
