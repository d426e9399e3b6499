// The door to a PLACE: a folder, or `s3://bucket/prefix` in any store that speaks the S3 API, by its `--endpoint`. Buckets stand in the path
// of a URL, not in its host: every store takes that. Credentials come from variables or a file, never from a flag's value.

import { PavostoreError } from './errors.ts';
import { FolderStore } from './folder-store.ts';
import { limits } from './limits.ts';
import type { ObjectStore } from './object-store.ts';
import { readCredentials } from './s3-credentials.ts';
import { S3Store } from './s3-store.ts';
import { Throttle } from './throttle.ts';

export type PlaceOptions = {
  /** URL of an S3-compatible store; by default AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or Amazon's own of the region. */
  readonly endpoint?: string | undefined;
  /** By default AWS_REGION, AWS_DEFAULT_REGION, or us-east-1. */
  readonly region?: string | undefined;
  /** A shared credentials file; by default the AWS_ variables, or the usual file. */
  readonly credentialsPath?: string | undefined;
  /** Requests that carry bytes at a time. */
  readonly parallel?: number | undefined;
  /** Bytes a second, both ways together; without: no bound. */
  readonly rate?: number | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** The first pause before a request is made again, in milliseconds: tests make it short. */
  readonly retryDelayMs?: number | undefined;
  /** Bytes of a part of a large file: tests make it small. */
  readonly partSize?: number | undefined;
};

/** Opens a place; the caller closes it. Nothing is asked yet. Throws `usage` for what is no place, or without credentials. */
export function openPlace(place: string, options: PlaceOptions = {}): ObjectStore {
  const { env = process.env, parallel = limits.storeParallelDefault } = options;
  const throttle = options.rate === undefined ? undefined : new Throttle(options.rate);
  if (!/^[a-z0-9+.-]+:\/\//i.test(place)) {
    if (place === '') throw new PavostoreError('usage', 'a place is a folder or s3://bucket/prefix, not an empty text');
    if (options.endpoint !== undefined) throw new PavostoreError('usage', `--endpoint is for s3://bucket/prefix; ${place} is a folder`);
    return new FolderStore(place, throttle);
  }
  const { bucket, prefix } = parseS3Place(place);
  const region = options.region ?? (env.AWS_REGION || env.AWS_DEFAULT_REGION || 'us-east-1');
  if (!/^[a-z0-9-]{1,63}$/.test(region)) throw new PavostoreError('usage', `region "${region}": letters, digits and dashes are needed`);
  const endpoint = options.endpoint ?? (env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || `https://s3.${region}.amazonaws.com`);
  return new S3Store({
    endpoint: parseEndpoint(endpoint),
    bucket,
    prefix,
    region,
    readCredentials: () => readCredentials(place, options.credentialsPath, env),
    parallel,
    throttle,
    partSize: options.partSize ?? limits.storePartSize,
    retryDelayMs: options.retryDelayMs ?? limits.storeRetryDelayMs,
  });
}

/** `s3://bucket/prefix`, the prefix with a slash at its end or empty. Throws `usage`. */
function parseS3Place(place: string): { bucket: string; prefix: string } {
  const parts = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/s.exec(place);
  if (!parts) throw new PavostoreError('usage', `"${shown(place)}" is no place: a folder or s3://bucket/prefix is needed`);
  const prefix = (parts[2] ?? '').replace(/\/+$/, '');
  const names = prefix === '' ? [] : prefix.split('/');
  // Other characters mean different things to different stores, and to proxies before them.
  if (prefix.length > limits.storePrefixSizeMax || names.some((name) => !/^[\w .+=@,~-]+$/.test(name) || name === '.' || name === '..'))
    throw new PavostoreError('usage', `"${shown(place)}": a prefix is letters, digits, spaces and _.+=@,~- with single slashes between`);
  return { bucket: parts[1]!, prefix: prefix === '' ? '' : `${prefix}/` };
}

/** A URL of scheme, host and port alone: credentials in it would end up in messages. Throws `usage`. */
function parseEndpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) throw new PavostoreError('usage', '--endpoint: http://HOST:PORT or https://HOST is needed');
  if (url.username !== '' || url.password !== '')
    throw new PavostoreError('usage', '--endpoint: credentials come from variables or a file, never from a URL');
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new PavostoreError('usage', `--endpoint ${url.origin}: a path behind the host is not supported`);
  return url;
}

/** A place as a message shows it: what may be credentials before an `@` is not. */
function shown(place: string): string {
  return place.replace(/\/\/[^/]*@/, '//…@').slice(0, 200);
}
