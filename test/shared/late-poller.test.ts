// A poller whose process stands still just when it asks for the first time.

import { afterEach, expect, test, vi } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { MemberPoller } from '../../shared/member-poller.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import { FakeShard } from '../router/fake-shard.ts';

let shard: FakeShard;
let poller: MemberPoller;

afterEach(async () => {
  await poller.close();
  await shard.close();
});

test('the first round is not done before somebody could have been heard', async () => {
  shard = await FakeShard.start({ name: 'a' });
  const troubles: string[] = [];
  const first: (readonly string[])[] = [];
  poller = new MemberPoller({
    source: parseMemberSource(shard.address),
    onChange: () => {
      if (poller.firstRoundDone) first.push(poller.table.members.filter(({ alive }) => alive).map(({ name }) => name));
    },
    onTrouble: (error) => troubles.push(error.message),
  });
  poller.start();
  // Asked, but nothing of the answer is read before the time for it is over.
  const startedMs = performance.now();
  while (performance.now() - startedMs < limits.pollDeadlineMs + limits.pollLateMs + 50);
  await vi.waitFor(() => expect(first.length).toBeGreaterThan(0), { timeout: 20_000, interval: 5 });
  expect([first[0], troubles]).toEqual([['a'], []]);
});
