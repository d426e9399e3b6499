// The door of aws4fetch: Signature Version 4 of one request to an S3-compatible store. Only its signer is used; the request is sent by
// our own http client. https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

import { AwsV4Signer } from 'aws4fetch';
import type { S3Credentials } from './s3-credentials.ts';

/** SHA-256 of no bytes. */
export const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

export type S3Request = {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Bucket and key, not encoded, with a slash in front. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Of the body, in hex: it is signed, so the store checks what arrives. */
  readonly sha256?: string | undefined;
};

/** What goes over the wire. */
export type SignedRequest = { readonly path: string; readonly headers: Readonly<Record<string, string>> };

/** Signs requests to one endpoint; keeps the key that is derived for the day. */
export class S3Signer {
  readonly #endpoint: URL;
  readonly #region: string;
  #keys = new Map<string, ArrayBuffer>();

  constructor(endpoint: URL, region: string) {
    this.#endpoint = endpoint;
    this.#region = region;
  }

  async sign(request: S3Request, credentials: S3Credentials): Promise<SignedRequest> {
    // A key a day and a set of credentials: a process that runs for years keeps some.
    if (this.#keys.size > 8) this.#keys = new Map();
    const signer = new AwsV4Signer({
      method: request.method,
      url: `${this.#endpoint.origin}${encodePath(request.path)}${encodeQuery(request.query)}`,
      headers: { ...request.headers, 'x-amz-content-sha256': request.sha256 ?? emptySha256 },
      service: 's3',
      region: this.#region,
      cache: this.#keys,
      ...credentials.reveal(),
    });
    const { headers } = await signer.sign();
    // Path and query exactly as they were signed: another way to encode the same would be another request to the store.
    const search = signer.encodedSearch === '' ? '' : `?${signer.encodedSearch}`;
    return { path: signer.encodedPath + search, headers: Object.fromEntries(headers) };
  }
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function encodeQuery(query: S3Request['query'] = {}): string {
  const pairs = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}
