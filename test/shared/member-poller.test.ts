import nodeDns, { promises as dns } from 'node:dns';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MemberPoller } from '../../shared/member-poller.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import { waiting } from '../cluster/cluster-harness.ts';
import { FakeShard } from '../router/fake-shard.ts';

/** What the name server says: addresses, nothing, an error, or no answer at all. */
type NameAnswer = readonly FakeShard[] | Error | 'silence';

let shards: FakeShard[];
let poller: MemberPoller | undefined;
let say: NameAnswer;
let timesAsked: number;
const troubles: string[] = [];
const { lookup, resolveSrv } = dns;

beforeEach(async () => {
  shards = await Promise.all(['a', 'b'].map((name) => FakeShard.start({ name })));
  troubles.length = 0;
  timesAsked = 0;
  const answer = async <T>(toRecord: (host: string, port: number) => T): Promise<T[]> => {
    timesAsked++;
    if (say instanceof Error) throw say;
    if (say === 'silence') return await new Promise(() => {});
    return say.map(({ address }) => toRecord(address.split(':')[0]!, Number(address.split(':')[1])));
  };
  Object.assign(dns, {
    lookup: async () => await answer((address) => ({ address, family: 4 })),
    resolveSrv: async () => await answer((name, port) => ({ name, port, priority: 0, weight: 0 })),
  });
});
afterEach(async () => {
  await poller?.close();
  Object.assign(dns, { lookup, resolveSrv });
  for (const shard of shards) await shard.close();
});

function start(members: string): MemberPoller {
  poller = new MemberPoller({ source: parseMemberSource(members), onChange: () => {}, onTrouble: ({ message }) => troubles.push(message) });
  poller.start();
  return poller;
}

const alive = (): string[] => poller!.table.members.filter((member) => member.alive).map(({ name }) => name);

describe.each([
  ['dns://', (): string => `dns://shards.test:${shards[0]!.address.split(':')[1]}`, ['a']],
  ['dns+srv://', (): string => 'dns+srv://_pavostore._tcp.shards.test', ['a', 'b']],
] as const)('members by %s', (_scheme, members, found) => {
  test('are found, and stay when the name has no address, cannot be resolved, or its server is silent', async () => {
    say = shards;
    start(members());
    await vi.waitFor(() => expect(alive()).toEqual(found), waiting);
    for (const answer of [[], new Error('SERVFAIL'), 'silence'] as const) {
      say = answer;
      const { lastAnswerMs } = poller!.table.find('a')!;
      // Polls go on: of two later answers the second was asked for when the name server had already failed.
      await vi.waitFor(() => expect(poller!.table.find('a')!.lastAnswerMs).toBeGreaterThan(lastAnswerMs + 1_000), waiting);
      expect(alive()).toEqual(found);
    }
    expect(troubles).toEqual(['SERVFAIL']);
  });

  test('are found as soon as the name has an address', async () => {
    say = [];
    start(members());
    // By the second time what the first one brought has been taken in.
    await vi.waitFor(() => expect(timesAsked).toBeGreaterThan(1), waiting);
    expect([alive(), poller!.firstRoundDone]).toEqual([[], false]);
    say = shards;
    await vi.waitFor(() => expect([alive(), poller!.firstRoundDone]).toEqual([found, true]), waiting);
  });
});

test.each(['EAI_AGAIN', 'ENOTFOUND'])('a listed member whose name gives %s is one that does not answer, and no trouble', async (code) => {
  const { lookup: lookupOfSockets } = nodeDns;
  let names = 0;
  const failing = (_host: string, _options: unknown, callback: (error: Error) => void): void => {
    names++;
    setImmediate(() => callback(Object.assign(new Error(`getaddrinfo ${code}`), { code })));
  };
  Object.assign(nodeDns, { lookup: failing });
  try {
    start(`${shards[0]!.address},shard.test:7070`);
    // A first poll that finds no answer within its deadline is done too.
    await vi.waitFor(() => expect([poller!.firstRoundDone, alive()]).toEqual([true, ['a']]), waiting);
    expect(names).toBeGreaterThan(0);
    expect(poller!.table.members.map(({ name }) => name)).toEqual(['a', 'shard.test:7070']);
    expect(troubles).toEqual([]);
  } finally {
    Object.assign(nodeDns, { lookup: lookupOfSockets });
  }
});

test('a name that makes no address is told: that is no network that is down', async () => {
  say = shards.slice(0, 1);
  const named = dns.resolveSrv;
  Object.assign(dns, { resolveSrv: async (name: string) => [...(await named(name)), { name: 'a b', port: 1, priority: 0, weight: 0 }] });
  start('dns+srv://_pavostore._tcp.shards.test');
  await vi.waitFor(() => expect([troubles, alive()]).toEqual([[expect.stringContaining('URL')], ['a']]), waiting);
});

test('a poll afresh asks once more, also when one is under way', async () => {
  say = shards;
  start('dns+srv://_pavostore._tcp.shards.test');
  await vi.waitFor(() => expect(alive()).toEqual(['a', 'b']), waiting);
  // A poll may find no answer within its deadline: then it is asked again.
  await vi.waitFor(async () => {
    const nowMs = performance.now();
    await poller!.pollAfresh(['a', 'b', 'nobody']);
    for (const name of ['a', 'b']) expect(poller!.table.find(name)!.reportAskedMs).toBeGreaterThanOrEqual(nowMs);
  }, waiting);
});
