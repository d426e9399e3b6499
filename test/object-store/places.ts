// Places for tests: a folder, and a bucket of a real server; both gone when the test is over.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ObjectStore } from '../../shared/object-store.ts';
import { openPlace, type PlaceOptions } from '../../shared/place.ts';
import { S3Server, type S3ServerOptions } from './s3-server.ts';

export const account = { accessKeyId: 'AKTEST', secretAccessKey: 'se/cret+of=the test', sessionToken: 'token/of+the=test' } as const;

/** The variables that name the account. */
export const accountEnv = {
  AWS_ACCESS_KEY_ID: account.accessKeyId,
  AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
  AWS_SESSION_TOKEN: account.sessionToken,
} as const;

export const bucket = 'backups';

/** Bytes of a part: small, so that tests of many parts are quick. */
export const partSize = 16 * 1024;

/** A folder of the test's own. */
export function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), 'pavostore-place-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

export async function startS3(options: Partial<S3ServerOptions> = {}): Promise<S3Server> {
  const server = await S3Server.start({ root: makeRoot(), account, partSizeMin: partSize, ...options });
  server.makeBucket(bucket);
  onTestFinished(async () => await server.close());
  return server;
}

export function openS3(server: S3Server, options: PlaceOptions = {}, place = `s3://${bucket}/some/prefix`): ObjectStore {
  const store = openPlace(place, { endpoint: server.endpoint, env: accountEnv, retryDelayMs: 1, partSize, ...options });
  onTestFinished(async () => await store.close());
  return store;
}
