// Free ports of this machine, for processes that are about to start.
//
// Between the look at a port and its process, which binds it seconds later and again whenever it was killed, lies time. So these are never of those that
// the kernel gives to outgoing connections and to whoever listens on port 0: nobody gets one of ours by chance.

import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';

export type PortSearch = {
  /** Where they are to be listened on. */
  readonly host: string;
  /** The first one that will do; with 0 any will. */
  readonly first: number;
  readonly count: number;
  /** For whom, and what else could be said: `3 shards; give another --shard-port`. */
  readonly purpose: string;
};

/** Where any will do: another place in each process, since two that look at once take the same ones for free, and in each search. */
let anyPort = randomInt(limits.localPortMin, limits.localPortsEnd);

/** The first ports on which nobody listens, in ascending order. Throws `port_in_use`, `address_unavailable`. */
export async function freePorts({ host, first, count, purpose }: PortSearch): Promise<readonly number[]> {
  const from = first === 0 ? anyPort : first;
  const ports: number[] = [];
  for (let port = from; ports.length < count; port++) {
    if (port > Math.min(65_535, from + limits.localPortsTriedMax))
      throw new PavostoreError('port_in_use', `only ${ports.length} free ports from ${from} to ${port - 1} for ${purpose}`);
    if (await isFree(host, port)) ports.push(port);
  }
  if (first === 0) anyPort = ports.at(-1)! + 1 < limits.localPortsEnd ? ports.at(-1)! + 1 : limits.localPortMin;
  return ports;
}

async function isFree(host: string, port: number): Promise<boolean> {
  const probe = createServer();
  return await new Promise((resolve, reject) => {
    probe.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE') return resolve(false);
      reject(new PavostoreError('address_unavailable', `${host}:${port}: ${cause.message}; give another --host`, { cause }));
    });
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
