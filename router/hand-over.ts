// Connections on their way from the parent to one of its workers. Node's cluster waits for the worker to say that it has taken one, for ever: when the worker
// is killed before, the connection stays open in the parent, and its client hangs. Node does not even say then that the channel has ended, and may go on
// giving connections to the dead. So the parent notes what is on its way; when process and channel have ended it says so, and in the name of the worker that
// the connection was not taken. Node then gives it to another one. No byte of it has been read, since a worker says that it takes a connection before it
// does, and all that it said has been heard by then.
//
// What goes over the channel is Node's own affair (lib/internal/cluster/utils.js and round_robin_handle.js, child_process.js). Should that change, nothing is
// noted, and all is as without this.

import type { ChildProcess } from 'node:child_process';

type ClusterMessage = { readonly cmd?: string; readonly act?: string; readonly seq?: number; readonly ack?: number };
type Connection = { close(): void };

/** `hasOthers`: another worker may take what this one has not. */
export function giveBackUntaken(child: ChildProcess, hasOthers: () => boolean): void {
  const onTheirWay = new Map<number, Connection>();
  const send = child.send.bind(child) as (...args: readonly unknown[]) => boolean;
  child.send = ((...args: readonly unknown[]): boolean => {
    const [message, connection] = args as [ClusterMessage, Connection | undefined];
    if (message.cmd === 'NODE_CLUSTER' && message.act === 'newconn' && message.seq !== undefined && connection)
      onTheirWay.set(message.seq, connection);
    return send(...args);
  }) as ChildProcess['send'];
  child.on('internalMessage', ({ cmd, ack }: ClusterMessage) => {
    if (cmd === 'NODE_CLUSTER' && ack !== undefined) onTheirWay.delete(ack);
  });
  let isDisconnectTold = false;
  child.once('disconnect', () => {
    isDisconnectTold = true;
  });
  child.once('close', () => {
    if (!isDisconnectTold) child.emit('disconnect');
    for (const [seq, connection] of [...onTheirWay]) {
      // With nobody there its client should know, and come again.
      if (!hasOthers()) connection.close();
      else child.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack: seq, accepted: false });
    }
  });
}
