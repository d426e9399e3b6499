// The S3-compatible store as a process of its own: `node s3-server-process.ts ROOT BUCKET [PORT]`, the account from the AWS_ variables. Prints its URL.

import { S3Server } from './s3-server.ts';

const [root, bucket, port = '0'] = process.argv.slice(2) as [string, string, string?];
const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken } = process.env;
const account = { accessKeyId: accessKeyId!, secretAccessKey: secretAccessKey!, ...(sessionToken ? { sessionToken } : {}) };
const server = await S3Server.start({ root, account, port: Number(port) });
server.makeBucket(bucket);
console.log(server.endpoint);
