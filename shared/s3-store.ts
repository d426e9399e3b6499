// A place in an S3-compatible store: `bucket/prefix`, the bucket in the path. https://docs.aws.amazon.com/AmazonS3/latest/API/

import { hash } from 'node:crypto';
import { Gate } from './bounded-run.ts';
import { openFile, readFully } from './data-set.ts';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';
import type { ObjectBody, ObjectHead, ObjectStore, ReadOptions, SmallObject, WriteCondition, WriteFileOptions } from './object-store.ts';
import { passingReason, S3Client, type S3ClientOptions, type S3Reply, type S3Stream } from './s3-client.ts';
import { uploadInParts } from './s3-upload.ts';
import { findElements, findText, readRoot } from './s3-xml.ts';

export type S3StoreOptions = S3ClientOptions & {
  readonly bucket: string;
  /** With a slash at its end, or empty. */
  readonly prefix: string;
  readonly partSize: number;
};

export class S3Store implements ObjectStore {
  readonly place: string;
  readonly folder = undefined;
  readonly #client: S3Client;
  readonly #options: S3StoreOptions;
  /** Before what holds a part's bytes in memory. */
  readonly #gate: Gate;

  constructor(options: S3StoreOptions) {
    this.#options = options;
    this.place = `s3://${options.bucket}/${options.prefix}`.replace(/\/$/, '');
    this.#client = new S3Client(options);
    this.#gate = new Gate(options.parallel);
  }

  async findObject(name: string, signal?: AbortSignal): Promise<ObjectHead | undefined> {
    const request = { method: 'HEAD', path: this.#pathOf(name) } as const;
    const { status, headers } = await this.#client.ask({ ...request, expected: [200, 404], signal });
    return status === 404 ? undefined : { size: this.#lengthOf(headers, this.#client.nameOf(request)), tag: tagOf(headers) };
  }

  async readObject(name: string, { from = 0, to, signal }: ReadOptions = {}): Promise<ObjectBody | undefined> {
    const ranged = from > 0 || to !== undefined;
    const stream = await this.#openRange(name, ranged ? { from, to } : undefined, undefined, signal);
    if (!stream) return undefined;
    const { size, tag } = stream;
    return { size, tag, chunks: this.#chunksOf(name, stream, { from, to: Math.min(to ?? size, size), signal }) };
  }

  /** Asks for a range, or all; undefined when there is no such object. With a tag: throws `object_corrupt` when it is another object by now. */
  async #openRange(
    name: string,
    range: { from: number; to: number | undefined } | undefined,
    tag: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<(ObjectHead & Pick<S3Stream, 'body' | 'discard'>) | undefined> {
    const request = { method: 'GET', path: this.#pathOf(name) } as const;
    const what = this.#client.nameOf(request);
    const stream = await this.#client.open({
      ...request,
      headers: {
        ...(range ? { range: `bytes=${range.from}-${range.to === undefined ? '' : range.to - 1}` } : {}),
        ...(tag === undefined ? {} : { 'if-match': tag }),
      },
      expected: [range ? 206 : 200, 404, 412, 416],
      signal,
    });
    if (!('discard' in stream)) return this.#noRange(stream, what);
    try {
      const size = range ? totalOf(stream.headers, range, what) : this.#lengthOf(stream.headers, what);
      return { size, tag: tagOf(stream.headers), body: stream.body, discard: stream.discard };
    } catch (error) {
      stream.discard();
      throw error;
    }
  }

  /** A bucket that is not there is no missing object. */
  #noRange({ status, body }: S3Reply, what: string): undefined {
    if (status === 412) throw new PavostoreError('object_corrupt', `${what}: it was replaced while it was read`);
    if (status === 416) throw new PavostoreError('object_corrupt', `${what}: it ends before the bytes that were asked for`);
    if (findText(body.toString('utf8'), 'Code') === 'NoSuchBucket') throw new PavostoreError('store_refused', `${what}: 404 NoSuchBucket`);
    return undefined;
  }

  /** Reads a body, and goes on where a connection broke. */
  async *#chunksOf(
    name: string,
    first: ObjectHead & { readonly body: AsyncIterable<Buffer> },
    { from, to, signal }: { from: number; to: number; signal: AbortSignal | undefined },
  ): AsyncGenerator<Buffer> {
    const request = { method: 'GET', path: this.#pathOf(name), signal } as const;
    const what = this.#client.nameOf(request);
    let body = first.body;
    let at = from;
    for (let breaks = 0; ; breaks++) {
      try {
        for await (const chunk of body) {
          if (at + chunk.length > to)
            throw new PavostoreError('reply_malformed', `${what}: more than the ${to - from} bytes that it announced`);
          await this.#options.throttle?.take(chunk.length, signal);
          at += chunk.length;
          breaks = 0;
          yield chunk;
        }
        if (at === to) return;
        throw new PavostoreError('reply_malformed', `${what}: ended after ${at - from} of ${to - from} bytes`);
      } catch (error) {
        signal?.throwIfAborted();
        const reason = passingReason(error);
        if (reason === undefined) throw error;
        if (breaks >= limits.storeTriesMax) throw new PavostoreError('store_unreachable', `${what}: ${reason}`, { cause: error });
        // All there, and the end of the connection is what broke.
        if (at === to) return;
        const next = await this.#openRange(name, { from: at, to }, first.tag, signal);
        if (next?.size !== first.size) {
          next?.discard();
          throw new PavostoreError('object_corrupt', `${what}: it was replaced while it was read`);
        }
        body = next.body;
      }
    }
  }

  async readSmallObject(name: string, sizeMax: number, signal?: AbortSignal): Promise<SmallObject | undefined> {
    const object = await this.readObject(name, { signal });
    if (!object) return undefined;
    const chunks: Buffer[] = [];
    for await (const chunk of object.chunks) {
      if (object.size > sizeMax)
        throw new PavostoreError('object_corrupt', `${this.place}/${name}: ${object.size} bytes, at most ${sizeMax}`);
      chunks.push(chunk);
    }
    return { bytes: Buffer.concat(chunks), tag: object.tag };
  }

  async writeFile(name: string, path: string, options: WriteFileOptions = {}): Promise<void> {
    await using file = await openFile(path);
    const { size } = await file.stat();
    if (size <= this.#options.partSize) {
      await this.#gate.run(async () => {
        const bytes = Buffer.allocUnsafeSlow(size);
        await readFully(file, bytes, 0, path);
        await this.#put(name, bytes, {}, options.signal);
      });
      options.onStored?.(size);
      return;
    }
    const { parallel, partSize } = this.#options;
    const upload = {
      client: this.#client,
      path: this.#pathOf(name),
      file,
      filePath: path,
      size,
      gate: this.#gate,
      parallel,
      partSize,
      ...options,
    };
    for (let sends = 1; ; sends++) {
      await uploadInParts(upload);
      // Somebody else may have ended the upload: by completing it, or without.
      const head = await this.findObject(name, options.signal);
      if (head?.size === size) return;
      if (sends < limits.storeSendsMax) continue;
      throw new PavostoreError('object_corrupt', `${this.place}/${name}: ${size} bytes were sent, the store has ${head?.size ?? 'none'}`);
    }
  }

  async writeSmallObject(name: string, bytes: Buffer, condition?: WriteCondition, signal?: AbortSignal): Promise<boolean> {
    if (condition === undefined || (condition !== 'absent' && condition.tag === undefined))
      return (await this.#put(name, bytes, {}, signal)) === 200;
    const headers = condition === 'absent' ? { 'if-none-match': '*' } : { 'if-match': condition.tag! };
    const status = await this.#put(name, bytes, headers, signal);
    // A store that knows no conditions: what is written is read back by whoever cares.
    if (status === 501) return (await this.#put(name, bytes, {}, signal)) === 200;
    return status === 200;
  }

  /** With a condition 404, 409, 412 and 501 are answers too. */
  async #put(name: string, bytes: Buffer, headers: Readonly<Record<string, string>>, signal: AbortSignal | undefined): Promise<number> {
    const expected = Object.keys(headers).length === 0 ? [200] : [200, 404, 409, 412, 501];
    const sha256 = hash('sha256', bytes);
    const { status } = await this.#client.ask({ method: 'PUT', path: this.#pathOf(name), headers, body: bytes, sha256, expected, signal });
    return status;
  }

  async *listObjects(prefix: string, signal?: AbortSignal): AsyncGenerator<{ name: string; size: number }> {
    const request = { method: 'GET', path: `/${this.#options.bucket}` } as const;
    const what = this.#client.nameOf(request);
    const wanted = this.#options.prefix + prefix;
    let token: string | undefined;
    do {
      const query = { 'list-type': '2', prefix: wanted, ...(token === undefined ? {} : { 'continuation-token': token }) };
      const { body } = await this.#client.ask({ ...request, query, expected: [200], signal });
      const page = readRoot(body.toString('utf8'), 'ListBucketResult', what);
      for (const element of findElements(page, 'Contents')) yield this.#listed(element, wanted, what);
      const next = findText(page, 'IsTruncated') === 'true' ? findText(page, 'NextContinuationToken') : undefined;
      if (next !== undefined && next === token) throw new PavostoreError('reply_malformed', `${what}: the same page of the list twice`);
      token = next;
    } while (token !== undefined);
  }

  #listed(element: string, wanted: string, what: string): { name: string; size: number } {
    const key = findText(element, 'Key') ?? '';
    const size = Number(findText(element, 'Size'));
    if (!key.startsWith(wanted) || !Number.isSafeInteger(size) || size < 0)
      throw new PavostoreError('reply_malformed', `${what}: the list has ${JSON.stringify(key.slice(0, 80))} of ${size} bytes`);
    return { name: key.slice(this.#options.prefix.length), size };
  }

  async removeObject(name: string, signal?: AbortSignal): Promise<void> {
    await this.#client.ask({ method: 'DELETE', path: this.#pathOf(name), expected: [200, 204, 404], signal });
  }

  async removeLeftovers(): Promise<void> {}

  async close(): Promise<void> {
    await this.#client.close();
  }

  #pathOf(name: string): string {
    return `/${this.#options.bucket}/${this.#options.prefix}${name}`;
  }

  #lengthOf(headers: S3Stream['headers'], what: string): number {
    const text = headers['content-length'];
    const size = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(size)) throw new PavostoreError('reply_malformed', `${what}: Content-Length ${JSON.stringify(text)}`);
    return size;
  }
}

function tagOf(headers: S3Stream['headers']): string | undefined {
  const { etag } = headers;
  return typeof etag === 'string' ? etag : undefined;
}

/** The size of the whole object that a 206 tells, whose range must be the one that was asked for. */
function totalOf(headers: S3Stream['headers'], { from, to }: { from: number; to: number | undefined }, what: string): number {
  const text = headers['content-range'];
  const parts = typeof text === 'string' ? /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(text) : null;
  const [first, last, size] = parts ? parts.slice(1).map(Number) : [];
  if (size === undefined || first !== from || last !== Math.min(to ?? size, size) - 1)
    throw new PavostoreError(
      'reply_malformed',
      `${what}: Content-Range ${JSON.stringify(text)} for bytes from ${from} to before ${to ?? 'the end'}`,
    );
  return size;
}
