import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { freePorts } from '../../shared/free-ports.ts';
import { nextPorts } from '../cluster/test-ports.ts';

const search = { host: '127.0.0.1', purpose: 'a test' };

test('a port on which somebody listens is left out', async () => {
  const first = nextPorts(3);
  const taken = createServer().listen(first + 1, '127.0.0.1');
  await once(taken, 'listening');
  expect(await freePorts({ ...search, first, count: 2 })).toEqual([first, first + 2]);
  taken.close();
});

test('where any port will do, none is of those that the kernel gives away, and each is given once', async () => {
  const ports = [...(await freePorts({ ...search, first: 0, count: 3 })), ...(await freePorts({ ...search, first: 0, count: 1 }))];
  expect(new Set(ports).size).toBe(4);
  expect(Math.max(...ports)).toBeLessThan(32_768);
});

test('an address of another machine is said to be none of this one', async () => {
  await expect(freePorts({ ...search, host: '192.0.2.1', first: 0, count: 1 })).rejects.toMatchObject({ code: 'address_unavailable' });
});
