// The yardstick for a shard's `/get`: a fastify route that answers every key with the same value.

import Fastify from 'fastify';

const value = process.argv[2]!;
const server = Fastify();
server.get('/get', (_request, reply) => reply.type('text/plain; charset=utf-8').send(value));
await server.listen({ host: '127.0.0.1', port: 0 });
process.send!((server.server.address() as { port: number }).port);
process.once('disconnect', () => process.exit());
