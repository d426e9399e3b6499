import { expect, test } from 'vitest';
import { Leases } from '../../shard/leases.ts';
import { limits } from '../../shared/limits.ts';

const [a, b] = ['a'.repeat(32), 'b'.repeat(32)];
const seen = (counter: number) => ({ incarnation: 'me', counter });

test('a version is leased from a poll that names it until the next one of that router', () => {
  const leases = new Leases('me');
  expect(leases.polled({ router: '1', versionIds: [a], seen: undefined }, 0)).toBe(true);
  expect(leases.polled({ router: '1', versionIds: [a], seen: undefined }, 500)).toBe(false);
  expect(leases.polled({ router: '2', versionIds: [a, b], seen: undefined }, 500)).toBe(true);
  expect(leases.polled({ router: '1', versionIds: [b], seen: undefined }, 1_000)).toBe(true);
  expect(leases.has(a, 1_000)).toBe(true);
  leases.polled({ router: '2', versionIds: [b], seen: undefined }, 1_000);
  expect([leases.has(a, 1_000), leases.has(b, 1_000)]).toEqual([false, true]);
});

test('a router that falls silent is forgotten', () => {
  const leases = new Leases('me');
  leases.polled({ router: '1', versionIds: [a], seen: undefined }, 0);
  expect(leases.has(a, limits.versionLeaseMs - 1)).toBe(true);
  expect(leases.has(a, limits.versionLeaseMs)).toBe(false);
  expect(leases.haveSeen(99, limits.versionLeaseMs)).toBe(true);
});

test('a batch counts where no router polls, and until every router that does has polled again', () => {
  const leases = new Leases('me');
  leases.asked(a, 0);
  expect([leases.has(a, limits.versionLeaseMs - 1), leases.has(a, limits.versionLeaseMs)]).toEqual([true, false]);
  leases.polled({ router: '1', versionIds: [b], seen: undefined }, 40_000);
  leases.asked(a, 40_100);
  expect(leases.has(a, 40_200)).toBe(true);
  leases.polled({ router: '1', versionIds: [b], seen: undefined }, 41_000);
  expect(leases.has(a, 41_000)).toBe(false);
});

test('a router has seen a report when it says so of this process, and not because it polled again', () => {
  const leases = new Leases('me');
  leases.polled({ router: '1', versionIds: [], seen: undefined }, 0);
  expect(leases.haveSeen(1, 0)).toBe(false);
  leases.polled({ router: '1', versionIds: [], seen: { incarnation: 'my predecessor', counter: 500 } }, 1_000);
  expect(leases.haveSeen(1, 1_000)).toBe(false);
  leases.polled({ router: '1', versionIds: [], seen: seen(6) }, 2_000);
  leases.polled({ router: '2', versionIds: [], seen: seen(7) }, 2_000);
  expect([leases.haveSeen(6, 2_000), leases.haveSeen(7, 2_000)]).toEqual([true, false]);
});

test('the routers that are remembered are bounded', () => {
  const leases = new Leases('me');
  for (let i = 0; i < 2 * limits.leasingRoutersMax; i++) leases.polled({ router: i.toString(16), versionIds: [a], seen: undefined }, 0);
  expect(leases.routerCount).toBe(limits.leasingRoutersMax);
});
