// Tests run by Node's own type stripping, as the product does. `unit` is what `npm test` runs; `chaos` is real processes that are killed, stopped and
// damaged at the pace of the real times, one file after the other, since they measure times; `containers` needs a container engine and says so
// when there is none.

import { defineConfig } from 'vitest/config';

const common = {
  experimental: { viteModuleRunner: false },
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 60_000,
} as const;

const chaos = [
  'test/bench/overload.test.ts',
  'test/bench/rivals.test.ts',
  'test/bench/soak.test.ts',
  'test/chaos/**/*.test.ts',
  'test/deploy/batch-split/batch-split.test.ts',
  'test/deploy/reslice/reslice.test.ts',
  'test/router/clients-that-do-not-read.test.ts',
  'test/router/failing-holders.test.ts',
  'test/router/stopped-shard.test.ts',
];

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { ...common, name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/containers/**', ...chaos] } },
      { test: { ...common, name: 'chaos', include: chaos, testTimeout: 300_000, hookTimeout: 120_000 } },
      { test: { ...common, name: 'containers', include: ['test/containers/**/*.test.ts'], testTimeout: 600_000, hookTimeout: 600_000 } },
    ],
  },
});
