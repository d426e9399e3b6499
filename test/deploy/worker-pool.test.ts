import { expect, onTestFinished, test } from 'vitest';
import { WorkerPool } from '../../deploy/worker-pool.ts';
import type { FailingResult, FailingTask } from './failing-worker.ts';

function openPool(size: number): WorkerPool<FailingTask, FailingResult> {
  const script = new URL('./failing-worker.ts', import.meta.url);
  const pool = new WorkerPool<FailingTask, FailingResult>({ script, size, setupOf: (workerIndex) => `worker ${workerIndex}` });
  onTestFinished(async () => await pool.close());
  return pool;
}

const job = (act: FailingTask['act'], value = 0): { task: FailingTask } => ({ task: { act, value } });

test('tasks run side by side, each once, on as many threads as there are tasks for', async () => {
  const pool = openPool(3);
  const results: FailingResult[] = [];
  await pool.runAll(
    Array.from({ length: 20 }, (_, value) => job('echo', value)),
    (result) => {
      results.push(result);
      return undefined;
    },
  );
  expect(results.map(({ value }) => value).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, value) => value));
  expect(new Set(results.map(({ setup }) => setup))).toEqual(new Set(['worker 0', 'worker 1', 'worker 2']));
  expect(await pool.runOnEach({ act: 'echo', value: 1 })).toHaveLength(3);
  const single = openPool(3);
  await single.runAll([job('echo')], () => undefined);
  expect(await single.runOnEach({ act: 'echo', value: 1 })).toHaveLength(1);
});

test('an error keeps its code and ends the rest', async () => {
  const pool = openPool(2);
  await expect(pool.run(job('fail', 3))).rejects.toMatchObject({ code: 'disk_short', message: 'no room for 3' });
  await expect(pool.run(job('throw', 4))).rejects.toThrow('a bug with 4');
  let taken = 0;
  const jobs = function* (): Generator<{ task: FailingTask }> {
    for (taken = 1; ; taken++) yield job(taken === 5 ? 'fail' : 'echo', taken);
  };
  await expect(pool.runAll(jobs(), () => undefined)).rejects.toMatchObject({ code: 'disk_short' });
  expect(taken).toBeLessThan(10);
});

test('a result may end the rest without an error', async () => {
  const pool = openPool(2);
  const results: number[] = [];
  const jobs = Array.from({ length: 50 }, (_, value) => job('echo', value));
  await pool.runAll(jobs, ({ value }) => {
    results.push(value);
    return value < 3;
  });
  expect(results.length).toBeLessThan(8);
});

test('a thread that dies fails its task', async () => {
  await expect(openPool(1).run(job('exit'))).rejects.toThrow('exit code 7');
});

test('closing fails what runs, and what is asked for later, with the reason', async () => {
  const pool = openPool(1);
  const hanging = pool.run(job('hang'));
  await Promise.all([expect(hanging).rejects.toThrow('enough'), pool.close(new Error('enough'))]);
  await expect(pool.run(job('echo'))).rejects.toThrow('enough');
  await pool.close();
});
