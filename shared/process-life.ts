// The life of a serving process: start, say where, stop gracefully on SIGINT or SIGTERM. A child of the local cluster
// also stops when its parent is gone, so that nothing is left behind however the parent ended.

export type Service = { start(): Promise<number>; close(): Promise<void> };

/** What a child tells its parent once it answers. */
export type ListeningMessage = { readonly kind: 'listening'; readonly port: number };

/** Resolves after the service has stopped. A second signal ends the process at once. */
export async function runUntilStopped(service: Service, log: (line: string) => void): Promise<void> {
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal));
    process.once('disconnect', () => resolve('the end of its parent'));
  });
  const port = await service.start().catch(async (error: unknown) => {
    await service.close();
    throw error;
  });
  process.send?.({ kind: 'listening', port } satisfies ListeningMessage);
  const reason = await stopped;
  log(`stopping after ${reason}`);
  await service.close();
  if (process.connected) process.disconnect?.();
}
