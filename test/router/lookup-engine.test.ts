import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { changeLimits, nobodyIsLate } from './changed-limits.ts';
import { TestEngine } from './engine-harness.ts';
import { contentType, type FakeAnswer, type FakeReply, FakeShard, honestReply } from './fake-shard.ts';

const value = (key: string): Buffer => Buffer.from(`value of ${key}`);
const found = (key: string) => ({ found: value(key) });
const never: FakeReply = () => {};

/** Sends a body as an honest shard would. */
const send =
  (body: Buffer): FakeReply =>
  (_good, response, request) =>
    honestReply(body, response, request);
/** Sends the good reply after a change. */
const changed =
  (change: (good: Buffer) => Buffer): FakeReply =>
  (good, response, request) =>
    honestReply(change(Buffer.from(good)), response, request);
const withByte = (offset: number, byte: number): FakeReply =>
  changed((good) => {
    good[offset] = byte;
    return good;
  });
const withHead =
  (status: number, headers: Record<string, string | number>): FakeReply =>
  (good, response) => {
    response.writeHead(status, headers);
    response.end(good);
  };

/** A good reply is: u8 protocol, 16 bytes of version, u32 count, and for the one key u8 status, u32 length, value. */
const wrongReplies: readonly (readonly [string, FakeReply])[] = [
  ['nothing', send(Buffer.alloc(0))],
  ['a reply cut within its head', changed((good) => good.subarray(0, 20))],
  ['a reply cut behind its head', changed((good) => good.subarray(0, 21))],
  ['a reply cut within a length', changed((good) => good.subarray(0, 24))],
  ['a reply cut within a value', changed((good) => good.subarray(0, -1))],
  ['a byte too many', changed((good) => Buffer.concat([good, Buffer.alloc(1)]))],
  ['the reply doubled', changed((good) => Buffer.concat([good, good]))],
  ['the keys doubled', changed((good) => Buffer.concat([good, good.subarray(21)]))],
  ['another protocol', withByte(0, 2)],
  ['another version', withByte(1, 0xee)],
  ['the answers to more keys', withByte(17, 2)],
  ['the answers to no keys', withByte(17, 0)],
  ['the answers to 16 million keys', withByte(19, 0xff)],
  ['a state that nobody knows', withByte(21, 6)],
  ['a length beyond the reply', withByte(22, 0xff)],
  ['a length short of the value', withByte(22, 1)],
  ['a length above 8 MiB', withByte(25, 0xff)],
  ['the reply as JSON', withHead(200, { 'content-type': 'application/json' })],
  ['the reply without a type', withHead(200, {})],
  ['the reply with status 500', withHead(500, { 'content-type': contentType })],
  ['the reply with status 206', withHead(206, { 'content-type': contentType })],
  ['the reply with status 404', withHead(404, { 'content-type': contentType })],
  ['a redirect', withHead(307, { 'content-type': contentType, location: '/batch' })],
  [
    'a body without end',
    (_good, response) => {
      response.writeHead(200, { 'content-type': contentType });
      const chunk = Buffer.alloc(256 * 1024, 1);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      more();
    },
  ],
  ['what is not HTTP', (_good, response) => response.socket!.end('bytes of a stranger\r\n\r\n')],
  ['a connection cut off', (_good, response) => response.socket!.destroy()],
  [
    'a connection cut off within the reply',
    (good, response) => {
      response.writeHead(200, { 'content-type': contentType, 'content-length': good.length });
      response.write(good.subarray(0, -1), () => response.socket!.destroy());
    },
  ],
];

let first: FakeShard;
let second: FakeShard;
let engine: TestEngine;

/** Both hold everything; `first` is the one that key 'k' is asked of first. */
async function startPair(options: { deadlineMs?: number } = {}): Promise<void> {
  const shards = [await FakeShard.start({ name: 'a' }), await FakeShard.start({ name: 'b' })] as const;
  engine = new TestEngine(shards, options);
  [first, second] = engine.preferenceOf('k') as [FakeShard, FakeShard];
  first.answer = value;
  second.answer = value;
}

async function startAlone(options: { deadlineMs?: number } = {}): Promise<void> {
  first = await FakeShard.start({ name: 'a' });
  second = first;
  engine = new TestEngine([first], options);
  first.answer = value;
}

afterEach(async () => {
  expect(engine.engine.pending).toBe(0);
  await vi.waitFor(() =>
    expect(engine.engine.lanes.map(({ load, batchesInFlight }) => load + batchesInFlight)).toEqual(engine.engine.lanes.map(() => 0)),
  );
  await engine.close();
  await first.close();
  if (second !== first) await second.close();
});

describe('with two holders', () => {
  beforeEach(async () => await startPair());

  test.each(wrongReplies)('%s is a failed try: the other one is asked', async (_name, reply) => {
    first.reply = reply;
    expect(await engine.lookUp('k')).toEqual(found('k'));
    expect([first.batches.length, second.batches]).toEqual([1, [['k']]]);
    // The first batch of all finds cold code: it may be late enough for a hedge.
    expect(engine.engine.counts.retries + engine.engine.counts.hedged).toBe(1);
  });

  test.each<FakeAnswer & string>(['notHeld', 'loading', 'corrupt'])('%j is asked of the other one', async (answer) => {
    first.answer = () => answer;
    expect(await engine.lookUp('k')).toEqual(found('k'));
    expect([first.batches, second.batches]).toEqual([[['k']], [['k']]]);
  });

  test.each<[FakeAnswer & string, string]>([
    ['notHeld', 'version_not_held'],
    ['loading', 'slice_loading'],
    ['corrupt', 'slice_corrupt'],
  ])('%j from both is %s, after one try each', async (answer, code) => {
    first.answer = second.answer = () => answer;
    expect(await engine.lookUp('k')).toBe(code);
    expect([first.batches.length, second.batches.length]).toEqual([1, 1]);
  });

  test('missing is an answer: nobody else is asked', async () => {
    changeLimits(nobodyIsLate);
    first.answer = () => 'missing';
    expect(await engine.lookUp('k')).toBe('missing');
    expect(second.batches).toEqual([]);
  });

  test('one bad answer in a batch fails its own key only', async () => {
    first.answer = (key) => (key === 'k' ? 'corrupt' : value(key));
    const keys = ['k', ...Array.from({ length: 50 }, (_, i) => `k${i}`)];
    expect(await Promise.all(keys.map((key) => engine.lookUp(key)))).toEqual(keys.map(found));
  });

  test('a holder that is gone costs one try, and its address is told', async () => {
    const { address } = first;
    await first.close();
    expect(await engine.lookUp('k')).toEqual(found('k'));
    expect(engine.refused).toContain(address);
    first = second;
  });

  test('keys are spread over both while both are busy', async () => {
    const replies: (() => void)[] = [];
    first.reply = second.reply = (good, response, request) => replies.push(() => honestReply(good, response, request));
    const outcomes: Promise<unknown>[] = [];
    for (let i = 0; i < 400; i++) {
      outcomes.push(engine.lookUp(`k${i}`));
      await new Promise(setImmediate);
    }
    await Promise.all([first.received(1), second.received(1)]);
    first.reply = second.reply = honestReply;
    for (const reply of replies) reply();
    await Promise.all(outcomes);
    const asked = [first, second].map(({ batches }) => batches.flat().length);
    expect(Math.min(...asked)).toBeGreaterThan(100);
  });
});

describe('with one holder', () => {
  beforeEach(async () => await startAlone());

  test.each(wrongReplies)('%s is no answer', async (_name, reply) => {
    first.reply = reply;
    expect(await engine.lookUp('k')).toBe('slice_unavailable');
    first.reply = honestReply;
    expect(await engine.lookUp('k')).toEqual(found('k'));
  });

  test('a connection that breaks when it is used again costs nothing', async () => {
    expect(await engine.lookUp('k')).toEqual(found('k'));
    first.reply = (_good, response) => {
      first.reply = honestReply;
      response.socket!.destroy();
    };
    expect(await engine.lookUp('k')).toEqual(found('k'));
    expect(first.batches).toHaveLength(3);
  });

  test('a response sent twice is not taken for the answer to the next request', async () => {
    first.reply = (good, response) => {
      const http = `HTTP/1.1 200 OK\r\ncontent-type: ${contentType}\r\ncontent-length: ${good.length}\r\n\r\n`;
      response.socket!.write(Buffer.concat([Buffer.from(http), good, Buffer.from(http), good]));
    };
    for (const key of ['k1', 'k2', 'k3']) {
      const outcome = await engine.lookUp(key);
      expect([found(key), 'slice_unavailable']).toContainEqual(outcome);
    }
    first.reply = honestReply;
    expect(await engine.lookUp('k4')).toEqual(found('k4'));
  });

  test('keys of one turn travel together, a lone one at once', async () => {
    expect(await engine.lookUp('alone')).toEqual(found('alone'));
    const keys = Array.from({ length: 100 }, (_, i) => `together ${i}`);
    expect(await Promise.all(keys.map((key) => engine.lookUp(key)))).toEqual(keys.map(found));
    expect(first.batches).toEqual([['alone'], keys]);
  });

  test('a batch has at most its number of keys, and few are under way', async () => {
    const replies: (() => void)[] = [];
    first.reply = (good, response, request) => replies.push(() => honestReply(good, response, request));
    const keys = Array.from({ length: limits.batchKeysMax * (limits.batchesInFlightMax + 2) }, (_, i) => `key ${i}`);
    const outcomes = Promise.all(keys.map((key) => engine.lookUp(key)));
    await first.received(2);
    // Nothing is known of it yet.
    expect(first.batches.map(({ length }) => length)).toEqual([limits.windowStartKeys / 2, limits.windowStartKeys / 2]);
    let underWayMax = 0;
    first.reply = (good, response, request) => {
      underWayMax = Math.max(underWayMax, engine.engine.lanes[0]!.batchesInFlight);
      honestReply(good, response, request);
    };
    for (const reply of replies) reply();
    expect(await outcomes).toEqual(keys.map(found));
    expect(Math.max(...first.batches.map(({ length }) => length))).toBe(limits.batchKeysMax);
    expect(underWayMax).toBeLessThanOrEqual(limits.batchesInFlightMax);
  });

  test('deferred keys are asked again until each has its answer', async () => {
    // A value a reply, as when each of them fills one.
    first.reply = (good, response, request) => {
      const keys = first.batches.at(-1)!;
      const one = good.subarray(0, 21 + 5 + value(keys[0]!).length);
      honestReply(Buffer.concat([one, Buffer.alloc(keys.length - 1, 5)]), response, request);
    };
    const keys = Array.from({ length: 20 }, (_, i) => `key ${i}`);
    expect(await Promise.all(keys.map((key) => engine.lookUp(key)))).toEqual(keys.map(found));
    expect(first.batches).toHaveLength(20);
    expect(engine.engine.counts.retries).toBe(0);
  });

  test('values of 8 MiB come whole', async () => {
    const big = Buffer.alloc(limits.valueSizeMax, 'abcdefg');
    first.answer = (key) => (key === 'big' ? big : 'missing');
    expect(await Promise.all([engine.lookUp('big'), engine.lookUp('small')])).toEqual([{ found: big }, 'missing']);
  });

  test('keys of two versions never share a batch', async () => {
    const newer = await FakeShard.start({ versionId: 'f'.repeat(32) });
    const another = engine.versionOf(newer);
    another.follow(
      [{ ...memberOf(first), report: { ...first.report, versions: [...first.report.versions, ...newer.report.versions] } }],
      ({ address }) => engine.engine.laneTo(address),
    );
    const outcomes = Promise.all([engine.lookUp('k1'), engine.lookUp('k2', another), engine.lookUp('k3'), engine.lookUp('k4', another)]);
    expect(await outcomes).toEqual(['k1', 'k2', 'k3', 'k4'].map(found));
    expect(first.batches.every((keys) => keys.length === 1)).toBe(true);
    await newer.close();
  });

  test('a slice that nobody holds is told as its members report it', async () => {
    first.kept = [];
    engine.follow();
    expect(await engine.lookUp('k')).toBe('slice_unavailable');
    first.corrupt = [[0, 3]];
    engine.follow();
    expect(await engine.lookUp('k')).toBe('slice_corrupt');
    first.corrupt = [];
    first.loading = [[0, 3]];
    engine.follow();
    expect(await engine.lookUp('k')).toBe('slice_loading');
    expect(first.batches).toEqual([]);
  });
});

describe('the deadline', () => {
  test('ends what has no answer; the answer that comes late is ignored', async () => {
    await startAlone({ deadlineMs: 500 });
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    first.reply = (good, response, request) => void released.then(() => honestReply(good, response, request));
    const startedMs = performance.now();
    const outcomes = await Promise.all([engine.lookUp('k'), engine.lookUp('k2')]);
    expect(outcomes).toEqual(['deadline_exceeded', 'deadline_exceeded']);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(499);
    expect([engine.engine.pending, engine.engine.counts.expired]).toEqual([0, 2]);
    release();
    first.reply = honestReply;
    expect(await engine.lookUp('other')).toEqual(found('other'));
  });

  test('ends what waits in the queue, and frees its place', async () => {
    await startAlone({ deadlineMs: 700 });
    const replies: (() => void)[] = [];
    first.reply = (good, response, request) => replies.push(() => honestReply(good, response, request));
    const keys = Array.from({ length: limits.batchKeysMax * limits.batchesInFlightMax + 500 }, (_, i) => `key ${i}`);
    const outcomes = await Promise.all(keys.map((key) => engine.lookUp(key)));
    expect(new Set(outcomes)).toEqual(new Set(['deadline_exceeded']));
    first.reply = honestReply;
    for (const reply of replies) reply();
    expect(await engine.lookUp('after')).toEqual(found('after'));
    expect(first.batches.at(-1)).toEqual(['after']);
    expect(first.batches).toHaveLength(3);
  });

  test('ends keys that are deferred for ever; the shard is left alone in between', async () => {
    await startAlone({ deadlineMs: 500 });
    first.answer = () => 'deferred';
    expect(await Promise.all(['k1', 'k2', 'k3'].map((key) => engine.lookUp(key)))).toEqual(Array(3).fill('deadline_exceeded'));
    expect(first.batches.length).toBeLessThanOrEqual(500 / limits.deferralPauseMs + 1);
    first.answer = value;
    expect(await engine.lookUp('k')).toEqual(found('k'));
  });

  test('ends a key that is deferred for ever, and no other', async () => {
    await startAlone({ deadlineMs: 500 });
    first.answer = (key) => (key === 'k' ? 'deferred' : value(key));
    expect(await Promise.all([engine.lookUp('k'), engine.lookUp('other')])).toEqual(['deadline_exceeded', found('other')]);
  });
});

describe('the same key asked again while it is on its way', () => {
  test('is asked once, and all get its answer', async () => {
    await startAlone();
    first.answer = (key) => (key === 'k' ? value('k') : 'missing');
    const outcomes = await Promise.all([
      engine.lookUp('k'),
      engine.lookUp('none'),
      engine.lookUp('k'),
      engine.lookUp('none'),
      engine.lookUp('k'),
    ]);
    expect(outcomes).toEqual([found('k'), 'missing', found('k'), 'missing', found('k')]);
    expect(first.batches).toEqual([['k', 'none']]);
  });

  test('is asked anew after its answer', async () => {
    await startAlone();
    await engine.lookUp('k');
    await engine.lookUp('k');
    expect(first.batches).toEqual([['k'], ['k']]);
  });

  test('is asked on its own account when too many wait already', async () => {
    await startAlone();
    const outcomes = await Promise.all(Array.from({ length: limits.flightFollowersMax + 3 }, () => engine.lookUp('k')));
    expect(outcomes).toEqual(outcomes.map(() => found('k')));
    expect(first.batches.flat()).toEqual(['k', 'k', 'k']);
  });

  test('is answered to the one who came later, when the first has given up', async () => {
    await startAlone();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    first.reply = (good, response, request) => void released.then(() => honestReply(good, response, request));
    const early = engine.lookUpWithin(1_000, 'k');
    await first.received(1);
    const late = engine.lookUp('k');
    expect(engine.engine.counts.followed).toBe(1);
    expect(await early).toBe('deadline_exceeded');
    release();
    expect(await late).toEqual(found('k'));
    expect(first.batches).toEqual([['k']]);
  });

  test('is asked anew when the first has given up, though others still wait with it', async () => {
    await startAlone();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    first.reply = (good, response, request) => void released.then(() => honestReply(good, response, request));
    const early = engine.lookUpWithin(300, 'k');
    await first.received(1);
    const follower = engine.lookUp('k');
    expect(await early).toBe('deadline_exceeded');
    first.reply = honestReply;
    expect(await engine.lookUp('k')).toEqual(found('k'));
    expect(engine.engine.counts.followed).toBe(1);
    release();
    expect(await follower).toEqual(found('k'));
  });

  test('is asked anew when all have given up, whether it was under way or still waited', async () => {
    await startAlone({ deadlineMs: 1_000 });
    const replies: (() => void)[] = [];
    first.reply = (_good, response) => replies.push(() => response.socket!.destroy());
    const filling = Array.from({ length: limits.batchesInFlightMax * limits.batchKeysMax }, (_, i) => engine.lookUp(`under way ${i}`));
    const waits = engine.lookUp('waits');
    await first.received(2);
    const followers = [engine.lookUp('under way 0'), engine.lookUp('waits')];
    expect(engine.engine.counts.followed).toBe(2);
    expect(new Set(await Promise.all([...filling, waits, ...followers]))).toEqual(new Set(['deadline_exceeded']));
    first.reply = honestReply;
    for (const reply of replies) reply();
    await vi.waitFor(() => expect(engine.engine.lanes[0]!.load).toBe(0));
    expect(await Promise.all(['under way 0', 'waits', 'other'].map((key) => engine.lookUp(key)))).toEqual(
      ['under way 0', 'waits', 'other'].map(found),
    );
  });

  test('fails for all when it fails', async () => {
    await startAlone();
    first.answer = () => 'corrupt';
    expect(await Promise.all([engine.lookUp('k'), engine.lookUp('k')])).toEqual(['slice_corrupt', 'slice_corrupt']);
  });
});

describe('the queues are bounded', () => {
  test('for one member', async () => {
    await startAlone({ deadlineMs: 500 });
    first.reply = never;
    // They are queued in this very turn: nothing is under way yet.
    const outcomes = Array.from({ length: limits.memberQueueMax + 10 }, (_, i) => engine.lookUp(`k${i}`));
    expect(engine.engine.pending).toBe(limits.memberQueueMax);
    expect(await Promise.all(outcomes.slice(-10))).toEqual(Array.from({ length: 10 }, () => 'overloaded'));
    expect(engine.engine.counts.overloaded).toBe(10);
    expect(new Set(await Promise.all(outcomes.slice(0, -10)))).toEqual(new Set(['deadline_exceeded']));
    await first.close();
  });

  test('for the whole router, and there is room again afterwards', async () => {
    const shards = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => FakeShard.start({ name })));
    engine = new TestEngine(shards, { deadlineMs: 1_000 });
    first = second = shards[0]!;
    for (const shard of shards) shard.reply = never;
    const outcomes = Array.from({ length: limits.routerQueueMax + 10 }, (_, i) => engine.lookUp(`k${i}`));
    expect(engine.engine.pending).toBe(limits.routerQueueMax);
    const all = await Promise.all(outcomes);
    expect(all.filter((outcome) => outcome === 'overloaded')).toHaveLength(10);
    for (const shard of shards.slice(1)) await shard.close();
    await first.close();
    expect(['slice_unavailable', 'deadline_exceeded']).toContain(await engine.lookUp('k'));
  });
});

function memberOf({ name, address, report }: FakeShard) {
  return { name, zone: undefined, address, fixed: true, report, lastAnswerMs: 1, lastListedMs: 1, alive: true };
}
