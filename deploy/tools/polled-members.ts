// The members as they are now, for commands: one round of polls of all that `--members` lists, and a few more of those that did not answer.

import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import { MemberPoller } from '../../shared/member-poller.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import type { Member } from '../../shared/member-table.ts';

/** Those that did not answer are without a report; of a fixed list they are known by their addresses. Throws `members_malformed`. */
export async function pollMembers(list: string): Promise<readonly Member[]> {
  const source = parseMemberSource(list);
  const firstRound = Promise.withResolvers<void>();
  const trouble = Promise.withResolvers<never>();
  const poller = new MemberPoller({
    source,
    onChange: () => (poller.firstRoundDone ? firstRound.resolve() : undefined),
    onTrouble: trouble.reject,
  });
  const pollAll = async (): Promise<void> => {
    poller.start();
    await firstRound.promise;
    for (let polls = 1; polls < limits.toolPollsMax && poller.unheardAddresses.length > 0; polls++) await poller.pollUnheard();
  };
  try {
    await Promise.race([pollAll(), trouble.promise]);
    return poller.table.members;
  } catch (error) {
    throw new PavostoreError('members_malformed', `--members ${list}: ${(error as Error).message}`, { cause: error });
  } finally {
    await poller.close();
  }
}
