import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { DeadlineWheel, WheelEntry } from '../../router/deadline-wheel.ts';
import { limits } from '../../shared/limits.ts';

class Entry extends WheelEntry {
  readonly id: number;
  readonly dueMs: number;
  readonly onExpire: (entry: Entry) => void;

  constructor(id: number, dueMs: number, onExpire: (entry: Entry) => void) {
    super();
    this.id = id;
    this.dueMs = dueMs;
    this.onExpire = onExpire;
  }

  override expire(): void {
    this.onExpire(this);
  }
}

/** A wheel on a clock of its own, beside a plain list of what should be in it. */
class Model {
  nowMs: number;
  readonly wheel: DeadlineWheel;
  readonly entries: Entry[] = [];
  readonly expected = new Map<number, Entry>();
  expired: Entry[] = [];

  constructor(startMs: number) {
    this.nowMs = startMs;
    this.wheel = new DeadlineWheel(() => this.nowMs);
  }

  add(delayMs: number): void {
    const entry = new Entry(this.entries.length, this.nowMs + delayMs, (each) => this.expired.push(each));
    this.entries.push(entry);
    this.expected.set(entry.id, entry);
    this.wheel.add(entry, delayMs);
  }

  remove(position: number): void {
    if (this.entries.length === 0) return;
    const entry = this.entries[position % this.entries.length]!;
    this.wheel.remove(entry);
    this.expected.delete(entry.id);
  }

  /** None before its time, none more than a tick late, each once, in the order of their ticks. */
  advance(byMs: number): void {
    this.nowMs += byMs;
    this.expired = [];
    this.wheel.advance();
    for (const entry of this.expired) {
      expect(this.expected.delete(entry.id), `entry ${entry.id} was in the wheel`).toBe(true);
      expect(entry.dueMs).toBeLessThanOrEqual(this.nowMs);
    }
    for (const { dueMs } of this.expected.values()) expect(dueMs).toBeGreaterThan(this.nowMs - limits.deadlineTickMs);
    expect(this.wheel.count).toBe(this.expected.size);
  }
}

const anyDelayMs = fc.oneof(
  fc.integer({ min: 0, max: 50 }),
  fc.integer({ min: 0, max: limits.deadlineMaxMs }),
  fc.constantFrom(1_000, limits.deadlineMaxMs - 1, limits.deadlineMaxMs),
  fc.double({ min: 0, max: 100, noNaN: true }),
);
const anyStep = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), amount: anyDelayMs }),
  fc.record({ kind: fc.constant('add' as const), amount: anyDelayMs }),
  fc.record({ kind: fc.constant('remove' as const), amount: fc.nat(1_000) }),
  fc.record({
    kind: fc.constant('advance' as const),
    amount: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.double({ min: 0, max: 3_000, noNaN: true })),
  }),
  // A process that stood still, for seconds or for minutes, and takes requests before its timer runs.
  fc.record({
    kind: fc.constant('stall' as const),
    amount: fc.oneof(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 0, max: 300_000 })),
  }),
);

describe('the deadline wheel', () => {
  test('expires as a sorted list would, whatever is added, removed, and however late its timer runs', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.array(anyStep, { maxLength: 60 }), (startMs, steps) => {
        const model = new Model(startMs);
        for (const { kind, amount } of steps) {
          if (kind === 'add') model.add(amount);
          else if (kind === 'remove') model.remove(amount);
          else if (kind === 'advance') model.advance(amount);
          else model.nowMs += amount;
        }
        model.advance(limits.deadlineMaxMs + limits.deadlineTickMs);
        expect(model.wheel.count).toBe(0);
        model.wheel.close();
      }),
      { numRuns: 200 },
    );
  });

  test('expires in the order of the ticks', () => {
    const model = new Model(0);
    for (const delayMs of [500, 20, 300, 20, 1_000, 7]) model.add(delayMs);
    model.advance(2_000);
    expect(model.expired.map(({ dueMs }) => dueMs)).toEqual([7, 20, 20, 300, 500, 1_000]);
    model.wheel.close();
  });

  test('takes an entry out while another one expires', () => {
    let nowMs = 0;
    const wheel = new DeadlineWheel(() => nowMs);
    const expired: number[] = [];
    const entries = [0, 1, 2, 3].map(
      (id) =>
        new Entry(id, 10, () => {
          expired.push(id);
          wheel.remove(entries[(id + 1) % 4]!);
        }),
    );
    for (const entry of entries) wheel.add(entry, 10);
    nowMs = 20;
    wheel.advance();
    expect(expired).toEqual([0, 2]);
    expect(wheel.count).toBe(0);
    wheel.close();
  });

  test('takes an entry in while another one expires', () => {
    let nowMs = 0;
    const wheel = new DeadlineWheel(() => nowMs);
    const expired: number[] = [];
    const second = new Entry(2, 0, () => expired.push(2));
    wheel.add(new Entry(1, 10, () => wheel.add(second, 10)), 10);
    nowMs = 10;
    wheel.advance();
    expect([wheel.count, expired]).toEqual([1, []]);
    nowMs = 20;
    wheel.advance();
    expect([wheel.count, expired]).toEqual([0, [2]]);
    wheel.close();
  });

  test('needs nobody to turn it', async () => {
    const wheel = new DeadlineWheel();
    const startedMs = performance.now();
    await new Promise<void>((resolve) => wheel.add(new Entry(1, 30, () => resolve()), 30));
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(30);
    wheel.close();
  });
});

test('it tells how long a turn of the event loop takes beyond a tick', async () => {
  const wheel = new DeadlineWheel();
  wheel.add(new Entry(0, 0, () => {}), 60_000);
  const startMs = performance.now();
  while (performance.now() < startMs + 200);
  expect(wheel.lateMs(performance.now())).toBeGreaterThanOrEqual(200 - limits.deadlineTickMs);
  // The next turn is a short one.
  await vi.waitFor(() => expect(wheel.lateMs(performance.now())).toBeLessThan(100), { timeout: 20_000, interval: 5 });
  wheel.close();
});
