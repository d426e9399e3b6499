// The engine over shards that are silent, slow, wrong or gone: who is asked instead, at what cost, and who is left alone.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { MemberLane } from '../../router/member-lane.ts';
import { limits } from '../../shared/limits.ts';
import { randomFrom } from '../cluster/hostile-input.ts';
import { OwnLoop } from '../own-loop.ts';
import { changeLimits, neverMs, nobodyIsLate } from './changed-limits.ts';
import { TestEngine } from './engine-harness.ts';
import { contentType, type FakeReply, FakeShard, honestReply } from './fake-shard.ts';

const value = (key: string): Buffer => Buffer.from(`value of ${key}`);
const found = (key: string) => ({ found: value(key) });
const keysOf = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name} ${i}`);
const waiting = { timeout: 20_000, interval: 5 } as const;

const silent: FakeReply = () => {};
const wrong: FakeReply = (_good, response) => {
  response.statusCode = 500;
  response.end();
};
const cutOff: FakeReply = (_good, response) => response.socket!.destroy();
const slow =
  (delayMs: number): FakeReply =>
  (good, response, request) =>
    setTimeout(() => honestReply(good, response, request), delayMs);

let shards: FakeShard[];
let engine: TestEngine;
let countsBefore: Record<string, number>;
/** Engine and shards are in this process: when its loop is late, all of them are. */
let own: OwnLoop;

/** All hold everything. */
async function start(count: number, options: { deadlineMs?: number } = {}): Promise<void> {
  shards = await Promise.all(['a', 'b', 'c'].slice(0, count).map((name) => FakeShard.start({ name })));
  for (const shard of shards) shard.answer = value;
  engine = new TestEngine(shards, options);
  // The one that the keys of the tests prefer comes first.
  shards = engine.preferenceOf('k');
}

/** Keys of the slice of `k`: with nothing else under way they are asked of the first shard. */
function keysOfFirst(name: string, count: number): string[] {
  const keys: string[] = [];
  for (let i = 0; keys.length < count; i++) if (engine.preferenceOf(`${name} ${i}`)[0] === shards[0]) keys.push(`${name} ${i}`);
  return keys;
}

const laneOf = (shard: FakeShard): MemberLane => engine.engine.lanes.find(({ address }) => address === shard.address)!;
const lookUpAll = async (keys: readonly string[]) => await Promise.all(keys.map((key) => engine.lookUp(key)));

/** The router knows what each of them usually takes. On a slow machine it may have hedged meanwhile: counts are compared with those from here. */
async function warmUp(): Promise<void> {
  await vi.waitFor(async () => {
    expect(await lookUpAll(keysOf('warm', 40))).toEqual(keysOf('warm', 40).map(found));
    for (const shard of shards) if (laneOf(shard).health.latencyMs === undefined) await engine.lookUp(keyPreferring(shard));
    for (const shard of shards) expect(laneOf(shard).health.latencyMs).toBeDefined();
    for (const shard of shards) expect(laneOf(shard).batchesInFlight).toBe(0);
  }, waiting);
  countsBefore = { ...engine.engine.counts, sentTwice: engine.engine.sentTwice };
}

function countsSinceWarmUp(): Record<string, number> {
  const counts = { ...engine.engine.counts, sentTwice: engine.engine.sentTwice };
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count - countsBefore[name]!]));
}

function keyPreferring(shard: FakeShard): string {
  for (let i = 0; ; i++) if (engine.preferenceOf(`key ${i}`)[0] === shard) return `key ${i}`;
}

async function lookUpTimed(key: string): Promise<{ outcome: unknown; tookMs: number }> {
  const startMs = performance.now();
  const outcome = await engine.lookUp(key);
  return { outcome, tookMs: own.tookSince(startMs) };
}

beforeEach(() => {
  own = new OwnLoop();
});
afterEach(async () => {
  own.close();
  expect(engine.engine.pending).toBe(0);
  await engine.close();
  for (const shard of shards) await shard.close();
});

describe('of two holders', () => {
  let first: FakeShard;
  let second: FakeShard;

  beforeEach(async () => {
    await start(2);
    [first, second] = shards as [FakeShard, FakeShard];
  });

  test('one that is silent costs its keys a few milliseconds, and is ejected', async () => {
    await warmUp();
    first.reply = silent;
    const { outcome, tookMs } = await lookUpTimed('k');
    expect(outcome).toEqual(found('k'));
    expect(tookMs).toBeLessThan(limits.ejectSilenceMs);
    // A router that is late itself does not hedge; then the key is rescued.
    const { hedged, rescued, expired, sentTwice } = countsSinceWarmUp();
    expect({ helped: hedged! + rescued!, expired, sentTwice }).toEqual({ helped: 1, expired: 0, sentTwice: 1 });
    await vi.waitFor(() => expect(laneOf(first).health.ejectedFor).toBe('silence'), waiting);
    const asked = first.batches.length;
    expect(await lookUpAll(keysOf('after', 200))).toEqual(keysOf('after', 200).map(found));
    expect(first.batches.length - asked).toBe(0);
  });

  test('one that is late is not preferred before it answers', async () => {
    // However long all of this takes, it is not ejected meanwhile.
    changeLimits({ ejectSilenceMs: neverMs });
    await warmUp();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    first.reply = (good, response, request) => void released.then(() => honestReply(good, response, request));
    expect(await engine.lookUp('k')).toEqual(found('k'));
    const keys = keysOfFirst('meanwhile', 20);
    for (const key of keys) expect(await engine.lookUp(key)).toEqual(found(key));
    expect(first.batches.flat()).not.toContain(keys[0]);
    release();
    await vi.waitFor(() => expect(laneOf(first).isAvoided).toBe(false), waiting);
    expect(laneOf(first).health.counts.ejections).toBe(0);
    first.reply = honestReply;
    expect(await engine.lookUp(keys[0]!)).toEqual(found(keys[0]!));
    expect(first.batches.flat()).toContain(keys[0]);
  });

  test('one that is slow is helped by the other: the first answer counts, the loser ends unread', async () => {
    await warmUp();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    first.reply = (good, response, request) => void released.then(() => honestReply(good, response, request));
    const keys = keysOfFirst('slow', 30);
    expect(await lookUpAll(keys)).toEqual(keys.map(found));
    release();
    // A router that is late itself does not hedge; then the keys are rescued.
    const { hedged, rescued } = countsSinceWarmUp();
    expect(hedged! + rescued!).toBe(30);
    await vi.waitFor(() => expect(laneOf(first).batchesInFlight).toBe(0), waiting);
    expect(laneOf(first).health.isEjected).toBe(false);
    expect(first.batches.flat().filter((key) => key === keys[0])).toHaveLength(1);
  });

  test('what both have is settled by the one that answers, also when the other fails', async () => {
    await warmUp();
    // It fails when the other one has been asked, and that answers when the router has seen it.
    const { promise: secondAsked, resolve: askSecond } = Promise.withResolvers<void>();
    first.reply = (_good, response) => void secondAsked.then(() => response.socket!.destroy());
    second.reply = (good, response, request) => {
      askSecond();
      slow(60)(good, response, request);
    };
    expect(await engine.lookUp('k')).toEqual(found('k'));
    const { hedged, rescued, retries } = countsSinceWarmUp();
    expect({ helped: hedged! + rescued!, retries }).toEqual({ helped: 1, retries: 0 });
  });

  test('when both fail, the key fails once, with no third try', async () => {
    await warmUp();
    first.reply = (_good, response) => setTimeout(() => response.socket!.destroy(), 60);
    second.reply = wrong;
    const asked = first.batches.length + second.batches.length;
    expect(await engine.lookUp('k')).toBe('slice_unavailable');
    expect(first.batches.length + second.batches.length - asked).toBe(2);
  });

  test('one that cuts connections off costs nothing but is ejected, and none of the budget', async () => {
    changeLimits({ probeDelayMinMs: neverMs, ...nobodyIsLate });
    first.reply = cutOff;
    for (const key of keysOfFirst('cut', 40)) expect(await engine.lookUp(key)).toEqual(found(key));
    expect(laneOf(first).health.ejectedFor).toBe('failures');
    expect(first.batches).toHaveLength(limits.ejectFailures);
    expect([engine.engine.sentTwice, engine.engine.counts.retries]).toEqual([0, limits.ejectFailures]);
  });

  test('an ejected one is tried with one key, which is answered by the other one meanwhile', async () => {
    first.reply = wrong;
    for (const key of keysOfFirst('wrong', 10)) expect(await engine.lookUp(key)).toEqual(found(key));
    expect(laneOf(first).health.ejectedFor).toBe('failures');
    first.reply = silent;
    let asked = first.batches.length;
    // The first probe stays without an answer.
    await vi.waitFor(async () => {
      const { outcome, tookMs } = await lookUpTimed('k');
      expect(outcome).toEqual(found('k'));
      expect(tookMs).toBeLessThan(limits.ejectSilenceMs);
      expect(first.batches.length - asked).toBe(1);
    }, waiting);
    expect(first.batches.at(-1)).toEqual(['k']);
    asked = first.batches.length;
    first.reply = honestReply;
    // The next one brings it back.
    await vi.waitFor(async () => {
      expect(await engine.lookUp('k')).toEqual(found('k'));
      expect(laneOf(first).health.isEjected).toBe(false);
    }, waiting);
    expect(laneOf(first).health.counts).toEqual({ ejections: 1, probes: 2 });
    expect(first.batches.length - asked).toBeLessThanOrEqual(2);
  });

  test('an ejected one costs the other keys of an /mget nothing: one goes to both, the rest together', async () => {
    first.reply = wrong;
    for (const key of keysOfFirst('wrong', 10)) await engine.lookUp(key);
    const { probes } = laneOf(first).health.counts;
    const asked = first.batches.length;
    laneOf(first).cameBack();
    await vi.waitFor(async () => {
      // One that is a look-up of its own is asked once for both.
      expect(await engine.mget(['k', 'twice', 'twice'])).toHaveLength(3);
      expect(laneOf(first).health.counts.probes).toBe(probes + 1);
    }, waiting);
    expect(first.batches.slice(asked)).toEqual([[expect.any(String)]]);
    expect(engine.engine.counts.followed).toBe(0);
    // And nothing at all when it holds none of them any more.
    first.kept = [];
    engine.follow();
    laneOf(first).cameBack();
    await vi.waitFor(() => expect(laneOf(first).isProbeDue).toBe(true), waiting);
    expect(await engine.mget(['k', 'twice', 'twice'])).toHaveLength(3);
    expect([first.batches.length - asked, engine.engine.counts.followed]).toEqual([1, 0]);
  });

  test('one that the polls hear of again is tried at once', async () => {
    first.reply = wrong;
    for (const key of keysOfFirst('wrong', 10)) await engine.lookUp(key);
    first.reply = honestReply;
    laneOf(first).cameBack();
    const startMs = performance.now();
    await vi.waitFor(async () => {
      await engine.lookUp('k');
      expect(laneOf(first).health.isEjected).toBe(false);
    }, waiting);
    expect(own.tookSince(startMs)).toBeLessThan(limits.probeDelayMinMs / 2);
  });

  test('beyond the budget keys fail, and are counted', async () => {
    changeLimits(nobodyIsLate);
    first.reply = wrong;
    const keys = keysOfFirst('many', 600);
    const outcomes = await lookUpAll(keys);
    const { retries, overBudget } = engine.engine.counts;
    const asked = first.batches.flat().length;
    expect(retries + overBudget).toBe(asked);
    expect(overBudget).toBeGreaterThan(0);
    expect(retries).toBeGreaterThanOrEqual(limits.retryReserveKeys);
    expect(retries).toBeLessThanOrEqual(limits.retryReserveKeys + limits.retryShare * 600);
    expect(engine.engine.sentTwice).toBe(retries);
    expect(outcomes.filter((outcome) => outcome === 'slice_unavailable')).toHaveLength(overBudget);
    expect(outcomes.filter((outcome) => outcome !== 'slice_unavailable')).toHaveLength(600 - overBudget);
  });

  test('keys for which there was no budget when they were late are given to the other when their member is ejected', async () => {
    await warmUp();
    first.reply = silent;
    const stuck = lookUpAll(keysOfFirst('stuck', 600));
    await vi.waitFor(() => expect(engine.engine.counts.overBudget).toBeGreaterThan(0), waiting);
    // What the other one answers meanwhile pays for them.
    for (let i = 0; i < 9; i++) expect(await lookUpAll(keysOf(`wave ${i}`, 900))).toEqual(keysOf(`wave ${i}`, 900).map(found));
    expect(await stuck).toEqual(keysOfFirst('stuck', 600).map(found));
    expect(engine.engine.counts.rescued).toBeGreaterThan(0);
    expect(engine.engine.counts.expired).toBe(0);
    const sent = first.batches.flat().length + second.batches.flat().length;
    expect(engine.engine.sentTwice).toBeLessThanOrEqual(limits.retryReserveKeys + limits.retryShare * sent);
  });
});

describe('when all holders are silent', () => {
  test('keys wait as long as that may help, then fail at once instead of at their deadlines', async () => {
    // A key that one of them is tried with is not refused.
    changeLimits({ probeDelayMinMs: neverMs });
    await start(2, { deadlineMs: 3_000 });
    for (const shard of shards) shard.reply = silent;
    const early = lookUpTimed('early');
    await vi.waitFor(() => expect(engine.engine.lanes.every(({ isGone }) => isGone)).toBe(true), waiting);
    const refusals = await Promise.all(keysOf('refused', 5).map(lookUpTimed));
    expect(refusals.map(({ outcome }) => outcome)).toEqual(Array(5).fill('slice_unavailable'));
    expect(Math.min(...refusals.map(({ tookMs }) => tookMs))).toBeLessThan(10);
    expect(engine.engine.counts.unavailable).toBe(5);
    const { outcome: earlyOutcome, tookMs: earlyMs } = await early;
    expect(earlyOutcome).toBe('deadline_exceeded');
    expect(earlyMs).toBeLessThan(3_000 * 1.2);
  });

  test('one that answers again is used again, by a probe', async () => {
    await start(1, { deadlineMs: 400 });
    const [only] = shards as [FakeShard];
    only.reply = silent;
    await engine.lookUp('k');
    await vi.waitFor(async () => expect(await engine.lookUp('k')).toBe('slice_unavailable'), waiting);
    only.reply = honestReply;
    await vi.waitFor(async () => expect(await engine.lookUp('k')).toEqual(found('k')), waiting);
    expect(laneOf(only).isGone).toBe(false);
  });
});

describe('the last holder', () => {
  beforeEach(async () => await start(1));

  test('is asked for every key, however often it fails, and answers the first one that it can', async () => {
    const [only] = shards as [FakeShard];
    only.reply = wrong;
    for (const key of keysOf('failing', 4 * limits.ejectFailures)) expect(await engine.lookUp(key)).toBe('slice_unavailable');
    expect(only.batches).toHaveLength(4 * limits.ejectFailures);
    only.reply = honestReply;
    expect(await engine.lookUp('k')).toEqual(found('k'));
  });

  test('whose new connection breaks is not asked again for the same key; one that had served is', async () => {
    const [only] = shards as [FakeShard];
    only.reply = cutOff;
    expect(await engine.lookUp('k')).toBe('slice_unavailable');
    expect(only.batches).toHaveLength(1);
    only.reply = honestReply;
    expect(await engine.lookUp('k')).toEqual(found('k'));
    only.reply = cutOff;
    expect(await engine.lookUp('k')).toBe('slice_unavailable');
    expect(only.batches).toHaveLength(4);
  });
});

test('a shard that closes idle connections just when they are used costs nothing, though nobody else holds the slice', async () => {
  const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 32);
  console.log(`the pauses of failing-holders.test.ts: TEST_SEED=${seed}`);
  const random = randomFrom(seed);
  const idleMs = 12;
  shards = [await FakeShard.start({ name: 'a', idleMs })];
  engine = new TestEngine(shards);
  const [only] = shards as [FakeShard];
  only.answer = value;
  // Without a word of how long the connection is kept: a client that knew would close it first.
  only.reply = (good, response) => {
    response.writeHead(200, { 'content-type': contentType, 'content-length': good.length, connection: 'keep-alive' });
    response.end(good);
  };
  for (let i = 0; i < 300; i++) {
    expect(await engine.lookUp(`k${i}`)).toEqual(found(`k${i}`));
    const pauseMs = idleMs - 1 + (random() % 1_000) / 250;
    const pausedMs = performance.now();
    while (performance.now() - pausedMs < pauseMs) await new Promise(setImmediate);
  }
  console.log(`connections that broke when they were used again: ${engine.engine.counts.retries}`);
  expect(engine.engine.sentTwice).toBe(engine.engine.counts.hedged);
});

test('what is left of keys that nobody waits for any more does not pile up in the lane of a silent shard', async () => {
  await start(1, { deadlineMs: 60 });
  const [only] = shards as [FakeShard];
  only.reply = silent;
  const loadMax = limits.memberQueueMax + limits.batchesInFlightMax * limits.batchKeysMax;
  for (let round = 0; round < 8; round++) {
    const outcomes = await lookUpAll(keysOf(`round ${round}`, 20_000));
    for (const outcome of new Set(outcomes)) expect(['deadline_exceeded', 'overloaded', 'slice_unavailable']).toContain(outcome);
    expect(laneOf(only).load).toBeLessThanOrEqual(loadMax);
    expect(engine.engine.pending).toBe(0);
  }
});

describe('keys of /mgets', () => {
  beforeEach(async () => await start(1));

  test('leave one batch under way to single GETs', async () => {
    const [only] = shards as [FakeShard];
    const replies: (() => void)[] = [];
    only.reply = (good, response, request) => replies.push(() => honestReply(good, response, request));
    const keys = keysOf('bulk', 2 * limits.windowStartKeys);
    const outcomes = Promise.all(keys.map((key) => engine.lookUpInBulk(key)));
    await only.received(2);
    const single = engine.lookUp('k');
    await only.received(3);
    expect(only.batches.at(-1)).toEqual(['k']);
    expect(laneOf(only).batchesInFlight).toBe(3);
    replies.at(-1)!();
    expect(await single).toEqual(found('k'));
    only.reply = honestReply;
    for (const reply of replies.slice(0, -1)) reply();
    expect(await outcomes).toEqual(keys.map(found));
  });

  test('that find no room are refused, and a single GET still finds some', async () => {
    const [only] = shards as [FakeShard];
    const replies: (() => void)[] = [];
    only.reply = (good, response, request) => replies.push(() => honestReply(good, response, request));
    const bulkMax = limits.memberQueueMax * limits.bulkQueueShare;
    const outcomes = Promise.all(keysOf('bulk', bulkMax + 5).map((key) => engine.lookUpInBulk(key)));
    const single = engine.lookUp('k');
    expect(engine.engine.counts.overloaded).toBe(5);
    await only.received(1);
    only.reply = honestReply;
    for (const reply of replies) reply();
    expect(await single).toEqual(found('k'));
    await vi.waitFor(() => {
      for (const reply of replies.splice(0)) reply();
      expect(engine.engine.pending).toBe(0);
    }, waiting);
    expect((await outcomes).filter((outcome) => outcome === 'overloaded')).toHaveLength(5);
  });
});
