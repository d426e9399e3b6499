// `npm run simulate -- --seeds 10000`: many seeds, one after the other. A seed that fails is printed with its schedule; `--seed N` runs that one
// again and prints what happened in it.

import { parseArgs } from 'node:util';
import { runScenario } from './scenario.ts';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '1000' }, from: { type: 'string', default: '1' }, seed: { type: 'string' } },
});
const from = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;

const startedMs = performance.now();
let virtualMs = 0;
let loadCount = 0;
let failed = 0;
for (let seed = from; seed < from + count; seed++) {
  const { violation, log, durationMs, loadCount: loads } = runScenario(seed);
  virtualMs += durationMs;
  loadCount += loads;
  if (violation !== undefined || values.seed !== undefined) console.log(log.join('\n'));
  if (violation === undefined) continue;
  failed++;
  console.log(`seed ${seed} failed: ${violation}\nagain: npm run simulate -- --seed ${seed}\n`);
  if (failed >= 3) break;
}
const seconds = (performance.now() - startedMs) / 1_000;
console.log(
  `${count} seeds, ${(virtualMs / 3_600_000).toFixed(1)} h of virtual time, ${loadCount} loads, in ${seconds.toFixed(1)} s; ${failed} failed`,
);
process.exitCode = failed > 0 ? 1 : 0;
