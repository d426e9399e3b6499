// What one would write first: a fastify route that hands each GET to one of the shards by one undici request, chosen by the key's hash.
// `node bench/undici-proxy.ts SHARD_ADDRESS…`; every shard must hold everything. In its best form: no logger, the query handed on as it
// is, `dispatch` instead of `request` (no streams), the body in one piece, kept connections without pipelining.

import Fastify from 'fastify';
import { type Dispatcher, Pool } from 'undici';
import { keyHash32OfLatin1 } from '../shared/key-hash.ts';

/** Of each shard. Tried from 6 to 64, and 4 or one with pipelining, with 64 clients before three shards: what they cost differs by less than runs do. */
const connections = 16;

const pools = process.argv.slice(2).map((address) => new Pool(`http://${address}`, { connections, pipelining: 1 }));
const server = Fastify();

server.get('/get', (request, reply) => {
  const path = request.raw.url!;
  pools[keyHash32OfLatin1(path) % pools.length]!.dispatch({ path, method: 'GET' }, answerTo(reply));
});

type Reply = { code(status: number): Reply; type(value: string): Reply; send(body: unknown): unknown };

function answerTo(reply: Reply): Dispatcher.DispatchHandler {
  const chunks: Buffer[] = [];
  return {
    onRequestStart: () => {},
    onResponseStart: (_controller, status, headers) => {
      reply.code(status).type(String(headers['content-type']));
    },
    onResponseData: (_controller, chunk) => {
      chunks.push(chunk);
    },
    onResponseEnd: () => {
      reply.send(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks));
    },
    onResponseError: (_controller, error) => {
      reply.send(error);
    },
  };
}

await server.listen({ host: '127.0.0.1', port: 0 });
process.send!((server.server.address() as { port: number }).port);
process.once('disconnect', () => process.exit());
