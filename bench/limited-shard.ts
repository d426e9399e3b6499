// A shard that can do so much and no more, as a process: `node bench/limited-shard.ts NAME KEYS_PER_SECOND`. It answers batches one after the
// other, as an event loop does, each after as long as its keys take; every key has the value `value of KEY`. For what routers do when shards cannot keep up:
// real shards would need another machine to be slow on.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type BatchRequest, batchContentType, batchHeadSize, batchStatus, readBatchRequest, writeBatchHead } from '../shared/batch-wire.ts';
import type { StatusReport } from '../shared/status-report.ts';

const versionId = '0123456789abcdef0123456789abcdef';
const sliceCount = 64;
/** What a batch costs beside its keys: the work of some ten of them. */
const keysPerBatch = 10;

const name = process.argv[2]!;
const keysPerSecond = Number(process.argv[3]);
let freeAtMs = 0;
let counter = 0;
let keysAnswered = 0;

const report = (): StatusReport & { readonly keysAnswered: number } => ({
  name,
  incarnation: `of ${name}`,
  startedMs: 1,
  counter: ++counter,
  state: 'ready',
  versions: [{ id: versionId, sequence: 1, sliceCount, slices: { kept: [[0, sliceCount - 1]], loading: [], yielding: [], corrupt: [] } }],
  keysAnswered,
});

function answer(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const batch = readBatchRequest(Buffer.concat(chunks))!;
    const nowMs = performance.now();
    freeAtMs = Math.max(freeAtMs, nowMs) + (1_000 * (batch.count + keysPerBatch)) / keysPerSecond;
    setTimeout(() => {
      keysAnswered += batch.count;
      const reply = replyTo(batch);
      response.writeHead(200, { 'content-type': batchContentType, 'content-length': reply.length });
      response.end(reply);
    }, freeAtMs - nowMs);
  });
}

function replyTo({ versionId: id, count, keyStarts, bytes }: BatchRequest): Buffer {
  const head = Buffer.alloc(batchHeadSize);
  writeBatchHead(head, 0, id, count);
  const parts: Buffer[] = [head];
  for (let i = 0; i < count; i++) {
    const value = Buffer.concat([Buffer.from('value of '), bytes.subarray(keyStarts[i]!, keyStarts[i + 1]! - 2)]);
    const found = Buffer.alloc(5);
    found[0] = batchStatus.found;
    found.writeUInt32LE(value.length, 1);
    parts.push(found, value);
  }
  return Buffer.concat(parts);
}

const server = createServer({ keepAliveTimeout: 72_000 }, (request, response) => {
  if (request.url === '/batch') answer(request, response);
  else response.end(JSON.stringify(report()));
});
server.listen(0, '127.0.0.1', () => process.send!((server.address() as { port: number }).port));
process.once('disconnect', () => process.exit());
