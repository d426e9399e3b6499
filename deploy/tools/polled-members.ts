// The members as they are now, for commands: one round of polls of all that `--members` lists.

import { PavostoreError } from '../../shared/errors.ts';
import { MemberPoller } from '../../shared/member-poller.ts';
import { parseMemberSource } from '../../shared/member-source.ts';
import type { Member } from '../../shared/member-table.ts';

/** Those that did not answer are without a report; of a fixed list they are known by their addresses. Throws `members_malformed`. */
export async function pollMembers(list: string): Promise<readonly Member[]> {
  const source = parseMemberSource(list);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const poller = new MemberPoller({ source, onChange: () => (poller.firstRoundDone ? resolve() : undefined), onTrouble: reject });
  try {
    poller.start();
    await promise;
    return poller.table.members;
  } catch (error) {
    throw new PavostoreError('members_malformed', `--members ${list}: ${(error as Error).message}`, { cause: error });
  } finally {
    await poller.close();
  }
}
