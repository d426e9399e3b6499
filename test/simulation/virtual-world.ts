// Time, chance and network of a simulation: all from one seed, so that a run can be had again exactly.
//
// Events lie in a heap by their time; of two at one time the one that was planned first comes first.

import { randomFrom } from '../cluster/hostile-input.ts';

export type Chance = {
  /** From 0 to below 1. */
  readonly share: () => number;
  readonly between: (min: number, max: number) => number;
  readonly wholeBetween: (min: number, max: number) => number;
  readonly happens: (probability: number) => boolean;
  readonly oneOf: <T>(choices: readonly T[]) => T;
};

export function chanceFrom(seed: number): Chance {
  const random = randomFrom(seed);
  const share = (): number => random() / 2 ** 32;
  return {
    share,
    between: (min, max) => min + share() * (max - min),
    wholeBetween: (min, max) => min + Math.floor(share() * (max - min + 1)),
    happens: (probability) => share() < probability,
    oneOf: (choices) => choices[Math.floor(share() * choices.length)]!,
  };
}

type Event = { readonly atMs: number; readonly order: number; readonly act: () => void };

export class VirtualClock {
  nowMs = 0;
  readonly #heap: Event[] = [];
  #order = 0;

  /** `act` comes after `delayMs`. */
  after(delayMs: number, act: () => void): void {
    const heap = this.#heap;
    heap.push({ atMs: this.nowMs + delayMs, order: this.#order++, act });
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (isBefore(heap[parent]!, heap[i]!)) break;
      [heap[parent], heap[i]] = [heap[i]!, heap[parent]!];
      i = parent;
    }
  }

  /** Lets everything happen up to `untilMs`. */
  run(untilMs: number): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs) {
      const { atMs, act } = this.#takeFirst();
      this.nowMs = atMs;
      act();
    }
    this.nowMs = untilMs;
  }

  #takeFirst(): Event {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    heap[0] = last;
    for (let i = 0; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < heap.length && isBefore(heap[child]!, heap[least]!)) least = child;
      if (least === i) return first;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** How bad the network is at the moment: one for all links. */
export type Weather = {
  /** Share of polls that get no answer. */
  readonly lost: number;
  /** Share of answers that come seconds late, also after their deadline. */
  readonly late: number;
  /** Share of name look-ups that fail, are empty, or show only some of the members. */
  readonly dnsWrong: number;
};

export const fairWeather: Weather = { lost: 0, late: 0, dnsWrong: 0 };
