// Requests to one S3-compatible store: signed, sent, made again while their failure may pass, and their refusals told as what they are.
//
//     may pass   a connection that was refused, lost or silent; 408, 429, 5xx but 501; bytes damaged on their way there
//     refused    every other status that was not asked for: credentials, permissions, bucket, region, clock
//
// No message has a secret: neither ours, nor one that the store repeats.

import { PavostoreError } from './errors.ts';
import { TransferClient, type TransferReply } from './http-client.ts';
import { limits } from './limits.ts';
import type { S3Credentials } from './s3-credentials.ts';
import { type S3Request, S3Signer } from './s3-signature.ts';
import { findText } from './s3-xml.ts';
import { sleep, type Throttle } from './throttle.ts';

export type S3ClientOptions = {
  /** Scheme, host and port. */
  readonly endpoint: URL;
  readonly region: string;
  /** Asked at the start, and again when the store refuses: credentials from a file may have been renewed. */
  readonly readCredentials: () => S3Credentials;
  /** Sockets. */
  readonly parallel: number;
  readonly throttle: Throttle | undefined;
  readonly retryDelayMs: number;
};

export type S3Ask = S3Request & {
  readonly body?: Buffer | undefined;
  /** Statuses that are answers; with others the request has failed. */
  readonly expected: readonly number[];
  readonly signal?: AbortSignal | undefined;
};

export type S3Reply = { readonly status: number; readonly headers: TransferReply['headers']; readonly body: Buffer };

/** A reply's body on its way; read it to the end, leave it by a `break`, or discard it. */
export type S3Stream = TransferReply;

/** Owns its sockets until `close`. */
export class S3Client {
  readonly #options: S3ClientOptions;
  readonly #client: TransferClient;
  readonly #signer: S3Signer;
  #credentials: S3Credentials;

  constructor(options: S3ClientOptions) {
    this.#options = options;
    this.#credentials = options.readCredentials();
    this.#client = new TransferClient(options.parallel + 2);
    this.#signer = new S3Signer(options.endpoint, options.region);
  }

  /** A whole small answer. Throws `store_unreachable`, `store_refused`, `reply_malformed`, or the signal's reason. */
  async ask(request: S3Ask): Promise<S3Reply> {
    return await this.retry(request, async () => await this.#readReply(request, await this.#send(request)));
  }

  /** An answer whose body comes as a stream when its status is below 300. What breaks while it is read is for the reader to take up. */
  async open(request: S3Ask): Promise<S3Reply | S3Stream> {
    return await this.retry(request, async () => {
      const stream = await this.#send(request);
      return stream.status < 300 ? stream : await this.#readReply(request, stream);
    });
  }

  /** Makes `attempt` again while its failure may pass, up to `limits.storeTriesMax` times, with pauses that double. */
  async retry<T>(request: Pick<S3Ask, 'method' | 'path' | 'signal'>, attempt: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt();
      } catch (error) {
        request.signal?.throwIfAborted();
        const reason = passingReason(error);
        if (reason === undefined) throw this.#lastingFailure(request, error);
        if (tries >= limits.storeTriesMax)
          throw new PavostoreError('store_unreachable', `${this.nameOf(request)}: ${reason} (tried ${tries} times)`, { cause: error });
        const delayMs = Math.min(limits.storeRetryDelayMaxMs, this.#options.retryDelayMs * 2 ** (tries - 1));
        await sleep(delayMs * (0.75 + 0.5 * Math.random()), request.signal);
      }
    }
  }

  async #readReply(request: S3Ask, { status, headers, body }: S3Stream): Promise<S3Reply> {
    return { status, headers, body: await readAll(body, limits.storeAnswerSizeMax, this.nameOf(request)) };
  }

  /** What comes again at each try: a certificate, as a rule. */
  #lastingFailure(request: Pick<S3Ask, 'method' | 'path'>, error: unknown): unknown {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof PavostoreError || typeof code !== 'string') return error;
    return new PavostoreError('store_unreachable', `${this.nameOf(request)}: ${message} (${code})`, { cause: error });
  }

  /** What messages call a request: `PUT http://host/bucket/key`. */
  nameOf({ method, path }: Pick<S3Ask, 'method' | 'path'>): string {
    return `${method} ${this.#options.endpoint.origin}${path}`;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #send(request: S3Ask): Promise<S3Stream> {
    const reply = await this.#sendOnce(request);
    if (request.expected.includes(reply.status)) return reply;
    const failure = await this.#failureOf(request, reply);
    // Credentials in a file are renewed by others while we run.
    if (failure instanceof PassingFailure || !this.#renewCredentials()) throw failure;
    const second = await this.#sendOnce(request);
    if (request.expected.includes(second.status)) return second;
    throw await this.#failureOf(request, second);
  }

  async #sendOnce(request: S3Ask): Promise<S3Stream> {
    const { method, body, signal } = request;
    const { path, headers } = await this.#signer.sign(request, this.#credentials);
    return await this.#client.send({
      origin: this.#options.endpoint.origin,
      path,
      method,
      headers: body ? { ...headers, 'content-length': String(body.length) } : headers,
      // A body of no bytes is none: the header says so.
      body: body && body.length > 0 ? piecesOf(body, this.#options.throttle, signal) : undefined,
      signal,
    });
  }

  /** True when the source has other credentials by now. */
  #renewCredentials(): boolean {
    try {
      const renewed = this.#options.readCredentials();
      if (renewed.equals(this.#credentials)) return false;
      this.#credentials = renewed;
      return true;
    } catch {
      // Gone, or just being written: what the store said of the old ones is what matters.
      return false;
    }
  }

  async #failureOf(request: S3Ask, stream: S3Stream): Promise<Error> {
    const { status, headers, body } = await this.#readReply(request, stream);
    const text = body.toString('utf8');
    const code = findText(text, 'Code');
    const said = [status, code, findText(text, 'Message')].filter((part) => part !== undefined && part !== '').join(' ');
    const reason = this.#credentials.hideSecrets(said).slice(0, 300).replace(/\s+/g, ' ');
    // What is not implemented now will not be in a second.
    if ((status >= 500 && status !== 501) || status === 408 || status === 429 || passingCodes.has(code ?? ''))
      return new PassingFailure(reason);
    const region = headers['x-amz-bucket-region'];
    const hint = typeof region === 'string' && /^[a-z0-9-]{1,63}$/.test(region) ? `; the bucket is in region ${region}: see --region` : '';
    return new PavostoreError('store_refused', `${this.nameOf(request)}: ${reason}${hint}`);
  }
}

/** Codes of statuses below 500 that say: send it again. */
const passingCodes: ReadonlySet<string> = new Set([
  'RequestTimeout',
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
  'OperationAborted',
  'SlowDown',
]);

/** A failure that may pass. */
export class PassingFailure extends Error {
  override readonly name = 'PassingFailure';
}

/** What went wrong, when that may pass; undefined for anything that comes again. */
export function passingReason(error: unknown): string | undefined {
  if (error instanceof PassingFailure) return error.message;
  if (error instanceof PavostoreError || !(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') return undefined;
  return isOfNetwork(code) ? `${error.message || code}${error.message.includes(code) ? '' : ` (${code})`}` : undefined;
}

function isOfNetwork(code: string): boolean {
  return /^(UND_ERR_(SOCKET|CONNECT_TIMEOUT|HEADERS_TIMEOUT|BODY_TIMEOUT|RES_.*|INFO)|HPE_.*|E(CONN.*|PIPE|TIMEDOUT|HOST.*|NET.*|NOTFOUND|AI_AGAIN|PROTO))$/.test(
    code,
  );
}

async function* piecesOf(body: Buffer, throttle: Throttle | undefined, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  for (let at = 0; at < body.length; at += limits.storePieceSize) {
    const piece = body.subarray(at, at + limits.storePieceSize);
    await throttle?.take(piece.length, signal);
    yield piece;
  }
}

async function readAll(body: AsyncIterable<Buffer>, sizeMax: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > sizeMax) throw new PavostoreError('reply_malformed', `${what}: an answer of more than ${sizeMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
