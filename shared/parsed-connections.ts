// The connections that Node's parser reads, of a server that closes: which of them are owed nothing and can end. Node's own look at idle ones takes
// an answer for sent as soon as it is written, however much of it the client has not taken yet.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

type ParsedConnection = {
  /** Not answered as a whole. */
  readonly due: Set<ServerResponse>;
  /** What had come when nothing was due last; infinite before the first request: some of that has come already. */
  settledSize: number;
};

export class ParsedConnections {
  readonly #connections = new Map<Socket, ParsedConnection>();

  add(socket: Socket): void {
    this.#connections.set(socket, { due: new Set(), settledSize: Number.POSITIVE_INFINITY });
    socket.once('close', () => this.#connections.delete(socket));
  }

  /** Its head has come. */
  began({ socket }: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(socket);
    if (!connection) return;
    connection.due.add(response);
    response.once('close', () => {
      connection.due.delete(response);
      if (connection.due.size === 0) connection.settledSize = socket.bytesRead;
    });
  }

  /** The answers that are due are the last ones of their connections, as far as they can still say so. */
  endWithAnswers(): void {
    for (const { due } of this.#connections.values()) {
      for (const response of due) if (!response.headersSent) response.shouldKeepAlive = false;
    }
  }

  /** Ends those that are owed nothing, and of whose next request nothing has come. */
  endIdle(): void {
    for (const [socket, { due, settledSize }] of this.#connections) {
      if (due.size === 0 && socket.bytesRead === settledSize) socket.destroy();
    }
  }
}
