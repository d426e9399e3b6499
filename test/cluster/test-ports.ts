// Ports for the processes of tests. Test files run side by side, each in a process, perhaps in several checkouts: each has a slot of ports to itself. It
// listens on the last one of the slot for as long as it lives; who finds that taken goes to the next slot.
//
// All lie below those that the kernel gives to outgoing connections: one of these must not get the port of a shard that is down for a moment.

import { once } from 'node:events';
import { createServer } from 'node:net';
import { limits } from '../../shared/limits.ts';

const slotSize = 40;
const slotCount = (limits.localPortsEnd - limits.localPortMin) / slotSize;

const slotStart = await takeSlot();
let portAt = slotStart;

/** The first of so many ports in a row that nobody else is given. */
export function nextPorts(count: number): number {
  const first = portAt;
  portAt += count;
  if (portAt >= slotStart + slotSize) throw new Error(`a slot has ${slotSize - 1} ports, which is too few for this test file`);
  return first;
}

/** Its first port. */
async function takeSlot(): Promise<number> {
  for (let i = 0; i < slotCount; i++) {
    const start = limits.localPortMin + ((process.pid + i) % slotCount) * slotSize;
    if (await hold(start + slotSize - 1)) return start;
  }
  throw new Error('every slot of ports is taken');
}

/** Listens on it until this process ends, if nobody else does. */
async function hold(port: number): Promise<boolean> {
  // It keeps no process alive.
  const holder = createServer().unref().listen({ host: '127.0.0.1', port, exclusive: true });
  return await once(holder, 'listening').then(
    () => true,
    () => false,
  );
}
