// A large file to an object, in parts: some at a time, each tried again by itself. An upload that was begun before, by whichever process
// on whichever machine, is taken up where it ended: the store lists its parts, and one whose size and MD5 are ours is not sent again.
// The object appears when all parts are there and the upload is completed. Two processes that send the same file help each other.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html

import { hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { forEachBounded, type Gate } from './bounded-run.ts';
import { readFully } from './data-set.ts';
import { PavostoreError } from './errors.ts';
import { PassingFailure, type S3Client, type S3Reply } from './s3-client.ts';
import { encodeEntities, findElements, findText, readRoot } from './s3-xml.ts';

export type PartsUpload = {
  readonly client: S3Client;
  /** Bucket and key, with a slash in front. */
  readonly path: string;
  readonly file: FileHandle;
  readonly filePath: string;
  readonly size: number;
  /** Before what holds a part's bytes in memory. */
  readonly gate: Gate;
  readonly parallel: number;
  readonly partSize: number;
  readonly onStored?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
};

type PartInStore = { readonly etag: string; readonly size: number };

/** Resolves when the object is there, by this upload or by another one of the same file. The caller checks what it is. */
export async function uploadInParts(upload: PartsUpload): Promise<void> {
  const begun = await findUploads(upload);
  const [uploadId = await beginUpload(upload), ...others] = begun;
  const known = begun.length > 0 ? await listParts(upload, uploadId) : new Map<number, PartInStore>();
  const etags: string[] = [];
  const partNumbers = Array.from({ length: Math.ceil(upload.size / upload.partSize) }, (_, i) => i + 1);
  let isGone = false;
  await forEachBounded(partNumbers, upload.parallel, async (partNumber) => {
    if (isGone) return;
    const etag = await upload.gate.run(async () => await storePart(upload, uploadId, partNumber, known.get(partNumber)));
    if (etag === undefined) isGone = true;
    else etags[partNumber - 1] = etag;
  });
  // Somebody else has completed or ended the upload: whether the object is there now is for the caller to look at.
  if (!isGone) await completeUpload(upload, uploadId, etags);
  for (const other of others) await abortUpload(upload, other);
}

/** The ids of uploads of this very object that were begun and not ended, the latest first. */
async function findUploads({ client, path, signal }: PartsUpload): Promise<string[]> {
  const [, bucket, key] = /^\/([^/]+)\/(.*)$/s.exec(path)!;
  const request = { method: 'GET', path: `/${bucket}`, query: { uploads: '', prefix: key! } } as const;
  try {
    const { body } = await client.ask({ ...request, expected: [200], signal });
    return findElements(readRoot(body.toString('utf8'), 'ListMultipartUploadsResult', client.nameOf(request)), 'Upload')
      .filter((element) => findText(element, 'Key') === key)
      .map((element) => ({ id: findText(element, 'UploadId') ?? '', begun: findText(element, 'Initiated') ?? '' }))
      .filter(({ id }) => id !== '')
      .sort((a, b) => (a.begun < b.begun ? 1 : -1))
      .map(({ id }) => id);
  } catch (error) {
    // A store that does not list uploads, or does not let us: the file is sent from its beginning.
    if (error instanceof PavostoreError && error.code === 'store_refused') return [];
    throw error;
  }
}

async function beginUpload({ client, path, signal }: PartsUpload): Promise<string> {
  const request = { method: 'POST', path, query: { uploads: '' } } as const;
  const { body } = await client.ask({ ...request, expected: [200], signal });
  const id = findText(readRoot(body.toString('utf8'), 'InitiateMultipartUploadResult', client.nameOf(request)), 'UploadId');
  if (!id) throw new PavostoreError('reply_malformed', `${client.nameOf(request)}: an upload without an id`);
  return id;
}

/** The parts that the store has of an upload, by their numbers. */
async function listParts({ client, path, signal }: PartsUpload, uploadId: string): Promise<Map<number, PartInStore>> {
  const parts = new Map<number, PartInStore>();
  const request = { method: 'GET', path } as const;
  let marker: string | undefined;
  do {
    const query = { uploadId, ...(marker === undefined ? {} : { 'part-number-marker': marker }) };
    const { status, body } = await client.ask({ ...request, query, expected: [200, 404], signal });
    if (status === 404) return parts;
    const page = readRoot(body.toString('utf8'), 'ListPartsResult', client.nameOf(request));
    for (const element of findElements(page, 'Part')) {
      parts.set(Number(findText(element, 'PartNumber')), {
        etag: findText(element, 'ETag') ?? '',
        size: Number(findText(element, 'Size')),
      });
    }
    const next = findText(page, 'IsTruncated') === 'true' ? findText(page, 'NextPartNumberMarker') : undefined;
    if (next !== undefined && !(Number(next) > Number(marker ?? 0)))
      throw new PavostoreError('reply_malformed', `${client.nameOf(request)}: the list of parts does not go on after ${next}`);
    marker = next;
  } while (marker !== undefined);
  return parts;
}

/** The ETag of a part, sent unless the store has it; undefined when the upload is no longer there. */
async function storePart(
  upload: PartsUpload,
  uploadId: string,
  partNumber: number,
  known: PartInStore | undefined,
): Promise<string | undefined> {
  const { client, path, file, filePath, size, partSize, onStored, signal } = upload;
  const start = (partNumber - 1) * partSize;
  const bytes = Buffer.allocUnsafeSlow(Math.min(partSize, size - start));
  await readFully(file, bytes, start, filePath);
  if (known && known.size === bytes.length && known.etag.replaceAll('"', '') === hash('md5', bytes)) {
    onStored?.(bytes.length);
    return known.etag;
  }
  const { status, headers } = await client.ask({
    method: 'PUT',
    path,
    query: { partNumber: String(partNumber), uploadId },
    body: bytes,
    sha256: hash('sha256', bytes),
    expected: [200, 404],
    signal,
  });
  if (status === 404) return undefined;
  const { etag } = headers;
  if (typeof etag !== 'string')
    throw new PavostoreError('reply_malformed', `${client.nameOf({ method: 'PUT', path })}: a part without an ETag`);
  onStored?.(bytes.length);
  return etag;
}

async function completeUpload({ client, path, signal }: PartsUpload, uploadId: string, etags: readonly string[]): Promise<void> {
  const parts = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${encodeEntities(etag)}</ETag></Part>`);
  const body = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`);
  const request = { method: 'POST', path, query: { uploadId } } as const;
  await client.retry({ ...request, signal }, async () => {
    const reply = await client.ask({ ...request, body, sha256: hash('sha256', body), expected: [200, 404], signal });
    assertCompleted(reply, client.nameOf(request));
  });
}

/** A 200 may still carry an error: the store has begun its answer before it was done. */
function assertCompleted({ status, body }: S3Reply, what: string): void {
  const text = body.toString('utf8');
  // Completed before: by a try whose answer was lost, or by somebody else.
  if (status === 404 && findText(text, 'Code') === 'NoSuchUpload') return;
  if (status === 404) throw new PavostoreError('store_refused', `${what}: 404 ${findText(text, 'Code') ?? ''}`);
  if (/<Error>/.test(text)) throw new PassingFailure(`${findText(text, 'Code')} ${findText(text, 'Message')}`.slice(0, 300));
  readRoot(text, 'CompleteMultipartUploadResult', what);
}

/** Takes away an upload that nobody needs any more; one that we may not take away stays. */
async function abortUpload({ client, path, signal }: PartsUpload, uploadId: string): Promise<void> {
  await client.ask({ method: 'DELETE', path, query: { uploadId }, expected: [200, 204, 403, 404], signal });
}
