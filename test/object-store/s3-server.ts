// A small S3-compatible store: a real HTTP server with its objects as files, written from the API's documentation and apart from our own
// client. It checks signatures and digests as the real ones do, and knows PUT, GET with ranges, HEAD, DELETE, conditions, lists in
// pages, and uploads in parts with their lists. `onRequest` lets a test fail, damage or count requests.
// https://docs.aws.amazon.com/AmazonS3/latest/API/  https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

import { createHash, createHmac, randomBytes } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export type S3Account = { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string };

/** One request as a test's hook sees it. `parts` of the query, decoded. */
export type S3Seen = {
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
};

/** What a hook makes of a request: its usual answer, an error, a lost connection before or in the middle of the answer. */
export type S3Fate =
  | undefined
  | { readonly status: number; readonly code: string; readonly message?: string }
  | 'reset'
  | { readonly cutAfter: number };

export type S3ServerOptions = {
  readonly root: string;
  readonly account: S3Account;
  readonly region?: string;
  readonly pageSize?: number;
  /** The least size of a part that is not the last. */
  readonly partSizeMin?: number;
  readonly onRequest?: (seen: S3Seen) => S3Fate | Promise<S3Fate>;
  readonly port?: number;
};

type Answer = {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly xml?: string;
  readonly file?: { path: string; start: number; end: number };
};

class S3Error extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class S3Server {
  readonly #options: S3ServerOptions;
  readonly root: string;
  readonly #server: Server;
  /** What was asked, `METHOD /bucket/key?query`, in order. */
  readonly requests: string[] = [];
  /** Bytes of bodies received, and sent. */
  bytesIn = 0;
  bytesOut = 0;

  constructor(options: S3ServerOptions) {
    this.#options = options;
    this.root = options.root;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.keepAliveTimeout = 10_000;
  }

  static async start(options: S3ServerOptions): Promise<S3Server> {
    const server = new S3Server(options);
    mkdirSync(join(options.root, 'uploads'), { recursive: true });
    await new Promise<void>((resolve) => server.#server.listen(options.port ?? 0, '127.0.0.1', resolve));
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  makeBucket(bucket: string): void {
    mkdirSync(this.#bucketPath(bucket), { recursive: true });
  }

  /** Where an object's bytes lie: for tests that damage them. */
  objectPath(bucket: string, key: string): string {
    return join(this.#bucketPath(bucket), encodeURIComponent(key));
  }

  /** Keys in a bucket, sorted. */
  keys(bucket: string): string[] {
    return readdirSync(this.#bucketPath(bucket))
      .filter((name) => !name.endsWith('.etag'))
      .map(decodeURIComponent)
      .sort();
  }

  uploadIds(): string[] {
    return readdirSync(join(this.#options.root, 'uploads'));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #bucketPath(bucket: string): string {
    return join(this.#options.root, `bucket-${bucket}`);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [rawPath, rawQuery = ''] = request.url!.split('?') as [string, string?];
    const [bucket = '', ...rest] = rawPath.slice(1).split('/').map(decodeURIComponent);
    const seen = { method: request.method!, bucket, key: rest.join('/'), query: new URLSearchParams(rawQuery), headers: request.headers };
    this.requests.push(`${request.method} ${request.url}`);
    try {
      const fate = await this.#options.onRequest?.(seen);
      if (fate === 'reset') return void request.socket.destroy();
      if (fate && 'status' in fate) throw new S3Error(fate.status, fate.code, fate.message);
      this.#authorize(request, rawPath, rawQuery);
      const answer = await this.#answer(seen, request);
      await this.#send(response, request.method!, answer, fate?.cutAfter);
    } catch (error) {
      if (response.headersSent || request.socket.destroyed) return void request.socket.destroy();
      const { status, code, message } = error instanceof S3Error ? error : new S3Error(500, 'InternalError', String(error));
      const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`;
      // The rest of a body that nobody wants.
      request.resume();
      response.writeHead(status, { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? undefined : body);
    }
  }

  /** Signature Version 4, from its specification. */
  #authorize(request: IncomingMessage, rawPath: string, rawQuery: string): void {
    const { account, region = 'us-east-1' } = this.#options;
    const parts =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
        request.headers.authorization ?? '',
      );
    if (!parts) throw new S3Error(403, 'AccessDenied', 'no signature');
    const [, accessKeyId, day, signedRegion, signedHeaders, signature] = parts as unknown as string[];
    if (accessKeyId !== account.accessKeyId)
      throw new S3Error(403, 'InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.');
    if (signedRegion !== region)
      throw new S3Error(400, 'AuthorizationHeaderMalformed', `the region '${signedRegion}' is wrong; expecting '${region}'`);
    const date = String(request.headers['x-amz-date']);
    const sentMs = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    if (!(Math.abs(Date.now() - sentMs) < 900_000) || !date.startsWith(day!)) throw new S3Error(403, 'RequestTimeTooSkewed');
    if ((account.sessionToken ?? undefined) !== request.headers['x-amz-security-token'])
      throw new S3Error(403, 'InvalidToken', `bad token ${request.headers['x-amz-security-token']}`);
    const names = signedHeaders!.split(';');
    for (const name of Object.keys(request.headers)) {
      if ((name === 'host' || name.startsWith('x-amz-') || name.startsWith('if-')) && !names.includes(name))
        throw new S3Error(403, 'AccessDenied', `${name} is not signed`);
    }
    const canonicalQuery = rawQuery
      .split('&')
      .filter((pair) => pair !== '')
      .map((pair) => (pair.includes('=') ? pair : `${pair}=`))
      .sort()
      .join('&');
    const canonical = [
      request.method,
      rawPath,
      canonicalQuery,
      ...names.map((name) => `${name}:${String(request.headers[name]).trim()}`),
      '',
      names.join(';'),
      request.headers['x-amz-content-sha256'],
    ].join('\n');
    const scope = `${day}/${region}/s3/aws4_request`;
    const toSign = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
    const key = [day!, region, 's3', 'aws4_request'].reduce<Buffer | string>(
      (secret, text) => createHmac('sha256', secret).update(text).digest(),
      `AWS4${account.secretAccessKey}`,
    );
    if (createHmac('sha256', key).update(toSign).digest('hex') !== signature)
      throw new S3Error(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match the signature you provided.');
  }

  async #answer({ method, bucket, key, query }: S3Seen, request: IncomingMessage): Promise<Answer> {
    if (!existsSync(this.#bucketPath(bucket))) throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist');
    if (key === '') return query.has('uploads') ? this.#listUploads(bucket, query) : this.#listObjects(bucket, query);
    const uploadId = query.get('uploadId');
    if (method === 'POST' && query.has('uploads')) return this.#beginUpload(bucket, key);
    if (uploadId !== null && !existsSync(this.#uploadPath(uploadId)))
      throw new S3Error(404, 'NoSuchUpload', 'The specified upload does not exist.');
    if (method === 'PUT' && uploadId !== null) return await this.#putPart(request, uploadId, Number(query.get('partNumber')));
    if (method === 'GET' && uploadId !== null) return this.#listParts(uploadId, Number(query.get('part-number-marker') ?? 0));
    if (method === 'POST' && uploadId !== null) return await this.#complete(request, bucket, key, uploadId);
    if (method === 'DELETE' && uploadId !== null) {
      rmSync(this.#uploadPath(uploadId), { recursive: true });
      return { status: 204 };
    }
    if (method === 'PUT') return await this.#put(request, bucket, key);
    const path = this.objectPath(bucket, key);
    if (method === 'DELETE') {
      rmSync(path, { force: true });
      return { status: 204 };
    }
    if (method === 'GET' || method === 'HEAD') return this.#get(request, path);
    throw new S3Error(405, 'MethodNotAllowed');
  }

  #get(request: IncomingMessage, path: string): Answer {
    if (!existsSync(path)) throw new S3Error(404, 'NoSuchKey', 'The specified key does not exist.');
    const { size } = statSync(path);
    const etag = readEtag(path);
    const wanted = request.headers['if-match'];
    if (wanted !== undefined && wanted !== etag) throw new S3Error(412, 'PreconditionFailed');
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    if (!range) return { status: 200, headers: { etag, 'content-length': String(size) }, file: { path, start: 0, end: size } };
    const start = Number(range[1]);
    const end = Math.min(range[2] === '' ? size : Number(range[2]) + 1, size);
    if (start >= size) throw new S3Error(416, 'InvalidRange');
    return {
      status: 206,
      headers: { etag, 'content-length': String(end - start), 'content-range': `bytes ${start}-${end - 1}/${size}` },
      file: { path, start, end },
    };
  }

  async #put(request: IncomingMessage, bucket: string, key: string): Promise<Answer> {
    const path = this.objectPath(bucket, key);
    const { temporaryPath, md5 } = await this.#receive(request);
    const noneMatch = request.headers['if-none-match'];
    const match = request.headers['if-match'];
    const found = existsSync(path);
    if ((noneMatch === '*' && found) || (match !== undefined && found && readEtag(path) !== match)) {
      rmSync(temporaryPath);
      throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
    }
    if (match !== undefined && !found) throw new S3Error(404, 'NoSuchKey');
    writeFileSync(`${path}.etag`, `"${md5}"`);
    renameSync(temporaryPath, path);
    return { status: 200, headers: { etag: `"${md5}"`, 'content-length': '0' } };
  }

  /** A body to a file, checked against what was signed of it. */
  async #receive(request: IncomingMessage): Promise<{ temporaryPath: string; md5: string }> {
    const temporaryPath = join(this.#options.root, `receiving-${randomBytes(8).toString('hex')}`);
    const md5 = createHash('md5');
    const sha256 = createHash('sha256');
    const count = (bytes: number): void => {
      this.bytesIn += bytes;
    };
    try {
      await pipeline(
        request,
        async function* (chunks: AsyncIterable<Buffer>) {
          for await (const chunk of chunks) {
            md5.update(chunk);
            sha256.update(chunk);
            count(chunk.length);
            yield chunk;
          }
        },
        createWriteStream(temporaryPath),
      );
      const signed = request.headers['x-amz-content-sha256'];
      if (signed !== 'UNSIGNED-PAYLOAD' && signed !== sha256.digest('hex')) throw new S3Error(400, 'XAmzContentSHA256Mismatch');
    } catch (error) {
      rmSync(temporaryPath, { force: true });
      throw error;
    }
    return { temporaryPath, md5: md5.digest('hex') };
  }

  #uploadPath(uploadId: string): string {
    if (!/^[0-9a-f]{32}$/.test(uploadId)) throw new S3Error(404, 'NoSuchUpload');
    return join(this.#options.root, 'uploads', uploadId);
  }

  #beginUpload(bucket: string, key: string): Answer {
    const uploadId = randomBytes(16).toString('hex');
    mkdirSync(this.#uploadPath(uploadId));
    writeFileSync(join(this.#uploadPath(uploadId), 'upload.json'), JSON.stringify({ bucket, key, initiated: new Date().toISOString() }));
    return xml(
      `<InitiateMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><UploadId>${uploadId}</UploadId></InitiateMultipartUploadResult>`,
    );
  }

  async #putPart(request: IncomingMessage, uploadId: string, partNumber: number): Promise<Answer> {
    if (!(partNumber >= 1 && partNumber <= 10_000)) throw new S3Error(400, 'InvalidArgument');
    const { temporaryPath, md5 } = await this.#receive(request);
    const path = join(this.#uploadPath(uploadId), `part-${String(partNumber).padStart(5, '0')}`);
    writeFileSync(`${path}.etag`, `"${md5}"`);
    renameSync(temporaryPath, path);
    return { status: 200, headers: { etag: `"${md5}"`, 'content-length': '0' } };
  }

  #partsOf(uploadId: string): { partNumber: number; path: string; size: number; etag: string }[] {
    return readdirSync(this.#uploadPath(uploadId))
      .filter((name) => /^part-\d+$/.test(name))
      .sort()
      .map((name) => {
        const path = join(this.#uploadPath(uploadId), name);
        return { partNumber: Number(name.slice(5)), path, size: statSync(path).size, etag: readEtag(path) };
      });
  }

  #listParts(uploadId: string, marker: number): Answer {
    const { pageSize = 1_000 } = this.#options;
    const parts = this.#partsOf(uploadId).filter(({ partNumber }) => partNumber > marker);
    const page = parts.slice(0, pageSize);
    const truncated = parts.length > page.length;
    return xml(
      `<ListPartsResult>${page.map(({ partNumber, size, etag }) => `<Part><PartNumber>${partNumber}</PartNumber><ETag>${escapeXml(etag)}</ETag><Size>${size}</Size></Part>`).join('')}` +
        `<IsTruncated>${truncated}</IsTruncated>${truncated ? `<NextPartNumberMarker>${page.at(-1)!.partNumber}</NextPartNumberMarker>` : ''}</ListPartsResult>`,
    );
  }

  async #complete(request: IncomingMessage, bucket: string, key: string, uploadId: string): Promise<Answer> {
    const { temporaryPath } = await this.#receive(request);
    const text = readFileSync(temporaryPath, 'utf8');
    rmSync(temporaryPath);
    const wanted = Array.from(text.matchAll(/<Part><PartNumber>(\d+)<\/PartNumber><ETag>(.*?)<\/ETag><\/Part>/g), ([, n, etag]) => ({
      partNumber: Number(n),
      etag: etag!.replace(/&(#34|quot);/g, '"'),
    }));
    const parts = this.#partsOf(uploadId);
    const target = join(this.#options.root, `receiving-${randomBytes(8).toString('hex')}`);
    const md5 = createHash('md5');
    writeFileSync(target, '');
    for (const [i, { partNumber, etag }] of wanted.entries()) {
      const part = parts.find((found) => found.partNumber === partNumber && found.etag === etag);
      if (!part) throw new S3Error(400, 'InvalidPart');
      if (part.size < (this.#options.partSizeMin ?? 5 * 1024 * 1024) && i < wanted.length - 1) throw new S3Error(400, 'EntityTooSmall');
      await pipeline(createReadStream(part.path), createWriteStream(target, { flags: 'a' }));
      md5.update(Buffer.from(etag.replaceAll('"', ''), 'hex'));
    }
    const path = this.objectPath(bucket, key);
    writeFileSync(`${path}.etag`, `"${md5.digest('hex')}-${wanted.length}"`);
    renameSync(target, path);
    rmSync(this.#uploadPath(uploadId), { recursive: true });
    return xml(
      `<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key>${escapeXml(key)}</Key><ETag>${escapeXml(readEtag(path))}</ETag></CompleteMultipartUploadResult>`,
    );
  }

  #listUploads(bucket: string, query: URLSearchParams): Answer {
    const prefix = query.get('prefix') ?? '';
    const uploads = this.uploadIds()
      .map((id) => ({
        id,
        ...(JSON.parse(readFileSync(join(this.#uploadPath(id), 'upload.json'), 'utf8')) as {
          bucket: string;
          key: string;
          initiated: string;
        }),
      }))
      .filter((upload) => upload.bucket === bucket && upload.key.startsWith(prefix));
    return xml(
      `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${uploads.map(({ id, key, initiated }) => `<Upload><Key>${escapeXml(key)}</Key><UploadId>${id}</UploadId><Initiated>${initiated}</Initiated></Upload>`).join('')}</ListMultipartUploadsResult>`,
    );
  }

  #listObjects(bucket: string, query: URLSearchParams): Answer {
    const { pageSize = 1_000 } = this.#options;
    const after = Buffer.from(query.get('continuation-token') ?? '', 'base64').toString();
    const keys = this.keys(bucket).filter((key) => key.startsWith(query.get('prefix') ?? '') && key > after);
    const page = keys.slice(0, pageSize);
    const truncated = keys.length > page.length;
    return xml(
      `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${truncated}</IsTruncated>` +
        page
          .map((key) => `<Contents><Key>${escapeXml(key)}</Key><Size>${statSync(this.objectPath(bucket, key)).size}</Size></Contents>`)
          .join('') +
        `${truncated ? `<NextContinuationToken>${Buffer.from(page.at(-1)!).toString('base64')}</NextContinuationToken>` : ''}</ListBucketResult>`,
    );
  }

  async #send(
    response: ServerResponse,
    method: string,
    { status, headers = {}, xml: text, file }: Answer,
    cutAfter: number | undefined,
  ): Promise<void> {
    const body = text === undefined ? undefined : Buffer.from(text);
    response.writeHead(status, body ? { ...headers, 'content-type': 'application/xml', 'content-length': String(body.length) } : headers);
    if (method === 'HEAD' || !file || file.start === file.end) return void response.end(body);
    const end = cutAfter === undefined ? file.end : Math.min(file.end, file.start + cutAfter);
    await pipeline(createReadStream(file.path, { start: file.start, end: end - 1 }), response, { end: false });
    this.bytesOut += end - file.start;
    if (end < file.end) response.destroy();
    else response.end();
  }
}

function xml(text: string): Answer {
  return { status: 200, xml: `<?xml version="1.0" encoding="UTF-8"?>\n${text}` };
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** What the store says of an object: a file that a test has changed keeps it. */
function readEtag(path: string): string {
  return readFileSync(`${path}.etag`, 'utf8');
}
