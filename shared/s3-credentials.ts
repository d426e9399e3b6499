// Who we are to an object store: from the AWS_ variables or a shared credentials file (INI, as the AWS tools write it), never from the
// value of a flag, which every user of the machine can read. No message and no log line shows a secret: `hideSecrets` sees to that for
// texts that come from outside. https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { PavostoreError } from './errors.ts';

/** The secrets are shown by no `console.log` and no JSON. */
export class S3Credentials {
  readonly accessKeyId: string;
  readonly #secretAccessKey: string;
  readonly #sessionToken: string | undefined;

  constructor({
    accessKeyId,
    secretAccessKey,
    sessionToken,
  }: { accessKeyId: string; secretAccessKey: string; sessionToken?: string | undefined }) {
    // These two go into headers. What cannot would end up in the message of an error there.
    if (!isHeaderText(accessKeyId) || !isHeaderText(sessionToken ?? ''))
      throw new PavostoreError('usage', 'the access key id or the session token has characters that no header can have');
    this.accessKeyId = accessKeyId;
    this.#secretAccessKey = secretAccessKey;
    this.#sessionToken = sessionToken;
  }

  /** For the signer alone. */
  reveal(): { accessKeyId: string; secretAccessKey: string; sessionToken?: string } {
    const sessionToken = this.#sessionToken;
    return {
      accessKeyId: this.accessKeyId,
      secretAccessKey: this.#secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
    };
  }

  equals(other: S3Credentials): boolean {
    return (
      this.accessKeyId === other.accessKeyId &&
      this.#secretAccessKey === other.#secretAccessKey &&
      this.#sessionToken === other.#sessionToken
    );
  }

  /** A text of the store without what it may repeat of ours. */
  hideSecrets(text: string): string {
    return [this.#secretAccessKey, this.#sessionToken].reduce<string>(
      (hidden, secret) => (secret === undefined ? hidden : hidden.replaceAll(secret, '…')),
      text,
    );
  }

  [inspect.custom](): string {
    return 'S3Credentials {…}';
  }
}

function isHeaderText(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

/**
 * Credentials for `place`: of the file at `path` when one is given, else of the variables, else of the usual file. AWS_PROFILE names the section, `default` by
 * default. Throws `usage` when there are none.
 */
export function readCredentials(place: string, path: string | undefined, env: NodeJS.ProcessEnv): S3Credentials {
  const accessKeyId = env.AWS_ACCESS_KEY_ID || undefined;
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY || undefined;
  if (path === undefined && accessKeyId !== undefined && secretAccessKey !== undefined)
    return new S3Credentials({ accessKeyId, secretAccessKey, sessionToken: env.AWS_SESSION_TOKEN || undefined });
  const filePath = path ?? (env.AWS_SHARED_CREDENTIALS_FILE || join(env.HOME || homedir(), '.aws', 'credentials'));
  const text = readText(filePath, path !== undefined);
  if (text === undefined)
    throw new PavostoreError(
      'usage',
      `no credentials for ${place}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file by --credentials`,
    );
  return parseCredentials(text, env.AWS_PROFILE || 'default', filePath);
}

function readText(path: string, isNeeded: boolean): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (!isNeeded && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new PavostoreError('usage', `credentials file ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The section `[profile]` of a shared credentials file. Throws `usage`; the message shows no value. */
export function parseCredentials(text: string, profile: string, what: string): S3Credentials {
  const found = new Map<string, string>();
  let section: string | undefined;
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const head = /^\[\s*(?:profile\s+)?(.+?)\s*\]$/.exec(line);
    if (head) section = head[1];
    const at = line.indexOf('=');
    if (!head && section === profile && at > 0) found.set(line.slice(0, at).trim().toLowerCase(), line.slice(at + 1).trim());
  }
  const accessKeyId = found.get('aws_access_key_id');
  const secretAccessKey = found.get('aws_secret_access_key');
  if (!accessKeyId || !secretAccessKey)
    throw new PavostoreError('usage', `credentials file ${what}: no aws_access_key_id and aws_secret_access_key in [${profile}]`);
  return new S3Credentials({ accessKeyId, secretAccessKey, sessionToken: found.get('aws_session_token') || undefined });
}
