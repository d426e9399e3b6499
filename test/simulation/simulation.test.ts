import { expect, test } from 'vitest';
import { plantedFaults } from './planted-faults.ts';
import { plantedLookupFaults } from './planted-lookup-faults.ts';
import { plantedRuleFaults } from './planted-rule-faults.ts';
import { runScenario } from './scenario.ts';

/** Others at each run; `npm run simulate -- --seed N` shows what happened in one. */
const firstSeed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 30);
console.log(`the seeds of simulation.test.ts: TEST_SEED=${firstSeed}`);

const seedCount = 100;
/** These are always the same: what is tested is the simulation. Seeds that showed something before come first, to be quick. */
const firstSeeds = Array.from({ length: 200 }, (_, i) => i + 1);
const faultSeeds = [20, 472, 605, 333, 7, 3487, ...firstSeeds];
const ruleFaultSeeds = [1, 60, 7, ...firstSeeds];

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
  const found = faultSeeds.find((seed) => runScenario(seed, plantedFaults[fault]).violation !== undefined);
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
