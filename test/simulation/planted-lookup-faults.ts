// Faults in what a router does about members that fail: each is found by a cluster whose members are ill.

import type { Holder } from '../../router/holder-choice.ts';
import { MemberHealth } from '../../router/member-health.ts';
import { RetryBudget } from '../../router/retry-budget.ts';
import { type Decisions, realDecisions as real } from './simulated-cluster.ts';

function healthy(newHealth: Decisions['newHealth']): Decisions {
  return { ...real, newHealth };
}

/** The real choice over what `change` makes of the holders. */
function seeing(change: (holder: Holder) => Holder): Decisions {
  return {
    ...real,
    chooseHolder: (holders, asked, before) => {
      const all: readonly (Holder | undefined)[] = holders;
      const changed = holders.map(change);
      const changedOf = (lane: Holder | undefined): Holder | undefined => changed[all.indexOf(lane)];
      const chosen = real.chooseHolder(changed, changedOf(asked), changedOf(before));
      return chosen && holders[changed.indexOf(chosen)];
    },
  };
}

const asItIs = ({ load, isAvoided, isGone }: Holder): Holder => ({ load, isAvoided, isGone });

class BottomlessBudget extends RetryBudget {
  override take(nowMs: number): boolean {
    this.spend(nowMs);
    return true;
  }
}

/** Of all that was ever sent, not of the last ten seconds. */
class LastingBudget extends RetryBudget {
  constructor() {
    super(0);
  }

  override sent(keyCount: number): void {
    super.sent(keyCount, 0);
  }

  override allowance(): number {
    return super.allowance(0);
  }

  override spend(): void {
    super.spend(0);
  }
}

class HealthWithoutProbes extends MemberHealth {
  override isProbeDue(): boolean {
    return false;
  }
}

class HealthWithoutReturn extends MemberHealth {
  override answered(nowMs: number, answer: { latencyMs: number; isProbe: boolean }): void {
    const { ejectedFor } = this;
    super.answered(nowMs, answer);
    if (ejectedFor) Object.defineProperty(this, 'isEjected', { value: true, configurable: true });
  }
}

class HealthThatTrustsSilence extends MemberHealth {
  override checkSilence(): boolean {
    return false;
  }
}

class HealthThatForgivesFailures extends MemberHealth {
  override failed(nowMs: number, failure: { isSilence: boolean; isProbe: boolean }): boolean {
    // As if an answer had come after it.
    const isEjected = super.failed(nowMs, failure);
    if (isEjected || this.isEjected || failure.isSilence) return isEjected;
    this.sent(nowMs);
    this.answered(nowMs, { latencyMs: 1, isProbe: false });
    return false;
  }
}

class HealthThatEjectsAtOnce extends MemberHealth {
  override failed(nowMs: number, failure: { isSilence: boolean; isProbe: boolean }): boolean {
    for (let i = 0; i < 4; i++) {
      this.sent(nowMs);
      if (super.failed(nowMs, failure)) break;
    }
    return super.failed(nowMs, failure) || this.isEjected;
  }
}

export const plantedLookupFaults: Readonly<Record<string, Decisions>> = {
  'what is sent twice costs nothing': { ...real, newBudget: (nowMs) => new BottomlessBudget(nowMs) },
  'what was sent twice is never forgotten': { ...real, newBudget: () => new LastingBudget() },
  'the last holder is left out when it is ejected': seeing((holder) => ({ ...asItIs(holder), isGone: holder.isGone || holder.isAvoided })),
  'one that is ejected is asked like any other': seeing((holder) => ({ ...asItIs(holder), isAvoided: false })),
  'a member is gone as soon as it is ejected': healthy((random) => {
    const health = new MemberHealth(random);
    health.isGone = () => health.isEjected;
    return health;
  }),
  'an ejected member is never tried again': healthy((random) => new HealthWithoutProbes(random)),
  'an ejected member does not come back': healthy((random) => new HealthWithoutReturn(random)),
  'silence ejects nobody': healthy((random) => new HealthThatTrustsSilence(random)),
  'failures eject nobody': healthy((random) => new HealthThatForgivesFailures(random)),
  'one failure ejects': healthy((random) => new HealthThatEjectsAtOnce(random)),
};
