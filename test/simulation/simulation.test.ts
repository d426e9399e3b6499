import { expect, test } from 'vitest';
import { plantedFaults } from './planted-faults.ts';
import { plantedLookupFaults } from './planted-lookup-faults.ts';
import { plantedRuleFaults } from './planted-rule-faults.ts';
import { type Kind, runScenario } from './scenario.ts';

/** Others at each run; `npm run simulate -- --seed N` shows what happened in one. */
const firstSeed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 30);
console.log(`the seeds of simulation.test.ts: TEST_SEED=${firstSeed}`);

const seedCount = 100;
/** These are always the same: what is tested is the simulation. Seeds that showed something before come first, to be quick. */
const firstSeeds = Array.from({ length: 200 }, (_, i) => i + 1);
const faultSeeds = [11, 9, 23, 22, ...firstSeeds];
const ruleFaultSeeds = [1, 3, 10, 15, 57, ...firstSeeds];

/** The only kind of trouble that shows these, or the one that shows them soonest. */
const kindOf: Readonly<Record<string, Kind>> = {
  'a slice is freed without having been yielded': 'divided',
  'a slice is freed without the wait': 'divided',
  'a slice is freed without asking its owners afresh': 'divided',
  'a slice that is yielding counts as kept': 'divided',
  'an old report is taken for a new one': 'divided',
  'a version is dropped without having been yielded': 'graceful',
  'a version is dropped before every router has seen that it yields': 'graceful',
  'a request whose version is gone fails': 'graceful',
  'a router goes back to an older version': 'graceful',
  'a router goes to a version as soon as each slice has one holder': 'graceful',
};
const seedsOf: Readonly<Partial<Record<Kind, readonly number[]>>> = {
  divided: [9, 90, ...firstSeeds],
  graceful: [1, 224, 114, 68, ...firstSeeds],
};

test(`${seedCount} clusters are never wrong whatever happens to them, and settle exactly when all is quiet`, () => {
  for (let seed = firstSeed; seed < firstSeed + seedCount; seed++) {
    const { violation, log } = runScenario(seed);
    expect(violation, `${log.join('\n')}\nagain: npm run simulate -- --seed ${seed}`).toBeUndefined();
  }
});

test('one seed gives the same run again', () => {
  const [first, second] = [runScenario(7), runScenario(7)];
  expect(second).toEqual(first);
  expect(first.log.length).toBeGreaterThan(8);
});

test.each(Object.keys(plantedFaults))('it finds it when %s', (fault) => {
  const kind = kindOf[fault];
  const seeds = (kind && seedsOf[kind]) ?? faultSeeds;
  const found = seeds.find((seed) => runScenario(seed, plantedFaults[fault], kind).violation !== undefined);
  expect(found, 'no seed shows it').toBeDefined();
});

test.each(Object.keys(plantedRuleFaults))('it finds it when %s', (fault) => {
  const { kind, decisions } = plantedRuleFaults[fault]!;
  const found = ruleFaultSeeds.find((seed) => runScenario(seed, decisions, kind).violation !== undefined);
  expect(found, 'no seed shows it').toBeDefined();
});

test.each(Object.keys(plantedLookupFaults))('it finds it when %s', (fault) => {
  const found = firstSeeds.find((seed) => runScenario(seed, plantedLookupFaults[fault], 'ailing').violation !== undefined);
  expect(found, 'no seed shows it').toBeDefined();
});
