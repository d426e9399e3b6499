// The life of a serving process: start, say where, stop gracefully on SIGINT or SIGTERM. A child of the local cluster
// also stops when its parent is gone, so that nothing is left behind however the parent ended.

import cluster from 'node:cluster';

export type Service = { start(): Promise<number>; close(): Promise<void> };

/** What a child tells its parent once it answers. */
export type ListeningMessage = { readonly kind: 'listening'; readonly port: number };

/** Ctrl-C reaches the workers of a port as well as their parent, who tells them. */
const stopSignals = cluster.isWorker ? (['SIGTERM'] as const) : (['SIGINT', 'SIGTERM'] as const);

/** Resolves after the service has stopped. A second signal ends the process at once. */
export async function runUntilStopped(service: Service, log: (line: string) => void): Promise<void> {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<string>();
  for (const signal of stopSignals) process.once(signal, stop);
  if (cluster.isWorker) process.on('SIGINT', () => {});
  process.once('disconnect', () => stop('the end of its parent'));
  try {
    const port = await service.start();
    process.send?.({ kind: 'listening', port } satisfies ListeningMessage);
    const reason = await stopped;
    // Now the next one is Node's own affair again: it ends the process.
    for (const signal of stopSignals) process.off(signal, stop);
    log(`stopping after ${reason}`);
  } finally {
    await service.close();
    // The channel to the parent would keep a process alive that has nothing more to do, also after a start that failed.
    if (process.connected) process.disconnect?.();
  }
}
