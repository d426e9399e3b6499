// The flags of every command that reaches a place, so that they mean the same everywhere. There is none for a secret.

import type { Options } from './command.ts';
import type { PlaceOptions } from './place.ts';

export const placeFlags = {
  endpoint: { type: 'string', describe: "URL of the S3-compatible store [AWS_ENDPOINT_URL, else Amazon's]", requiresArg: true },
  region: { type: 'string', describe: 'region of the bucket [AWS_REGION, else us-east-1]', requiresArg: true },
  credentials: {
    type: 'string',
    describe: 'shared credentials file [the AWS_… variables, else ~/.aws/credentials]',
    requiresArg: true,
  },
} as const satisfies Record<string, Options>;

/** What the flags say, for `openPlace`. */
export function placeOptionsIn(args: {
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  readonly credentials?: string | undefined;
}): PlaceOptions {
  return { endpoint: args.endpoint, region: args.region, credentialsPath: args.credentials };
}
