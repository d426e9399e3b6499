// `pavostore locate KEY`: where a key belongs, by the same hash and the same placement that shards and routers use.

import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { commonOptions, defineCommand, wholeNumber } from '../../shared/command.ts';
import { readCurrent, readManifest } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { bitsOf, isPowerOfTwo, keyHash32OfLatin1, sliceIndexOf } from '../../shared/key-hash.ts';
import { limits } from '../../shared/limits.ts';
import { type Placement, type PlacementMember, placeSlices } from '../../shared/placement.ts';
import { pollMembers } from './polled-members.ts';

export const locateCommand = defineCommand({
  command: 'locate <keys..>',
  describe: "show a key's hash, its slice and the shards that should hold it",
  positionals: {
    keys: { type: 'string', array: true, demandOption: true, describe: 'the keys; - reads them from standard input, one a line' },
  },
  options: {
    members: { ...commonOptions.members, demandOption: true },
    replicas: { ...commonOptions.replicas, default: 1 },
    data: commonOptions.data,
    slices: { type: 'number', describe: 'slice count [that of the version published in --data]', requiresArg: true },
    json: commonOptions.json,
  },
  examples: [
    ['locate foo --members 127.0.0.1:7070,127.0.0.1:7071', 'which of two shards has foo'],
    ['locate - --slices 256 --members a:7070,b:7070 <keys', 'for many keys, without a data set'],
  ],
  run: async (args) => {
    const replicas = wholeNumber('--replicas', args.replicas, 1, limits.replicasMax);
    const sliceCount = await sliceCountOf(args.slices, args.data);
    const members = await membersOf(args.members);
    const placement = placeSlices({ members, sliceCount, replicas });
    for await (const keys of keysOf(args.keys.map(String))) {
      const lines = keys.map((key) => (args.json ? toJson : toText)(locate(key, sliceCount, placement)));
      if (!process.stdout.write(Buffer.concat(lines))) await once(process.stdout, 'drain');
    }
  },
});

type Location = {
  /** One character a byte. */
  readonly key: string;
  readonly hash: string;
  readonly slice: number;
  readonly sliceCount: number;
  readonly holders: readonly string[];
};

function locate(key: string, sliceCount: number, placement: Placement): Location {
  const hash = keyHash32OfLatin1(key);
  const slice = sliceIndexOf(hash, bitsOf(sliceCount));
  return { key, hash: hash.toString(16).padStart(8, '0'), slice, sliceCount, holders: placement[slice]! };
}

/** A line for people, with the key's bytes as they came. */
function toText({ key, hash, slice, sliceCount, holders }: Location): Buffer {
  const rest = Buffer.from(`\thash ${hash}\tslice ${slice} of ${sliceCount}\t${holders.join(' ')}\n`);
  return Buffer.concat([Buffer.from(key, 'latin1'), rest]);
}

/** A line for machines; a key that is not UTF-8 in base64, as `/mget` gives it. */
function toJson({ key, ...rest }: Location): Buffer {
  const bytes = Buffer.from(key, 'latin1');
  const keyText = isUtf8(bytes) ? { key: bytes.toString() } : { key: bytes.toString('base64'), keyEncoding: 'base64' };
  return Buffer.from(`${JSON.stringify({ ...keyText, ...rest })}\n`);
}

async function sliceCountOf(slices: number | undefined, dataDir: string): Promise<number> {
  if (slices !== undefined) {
    if (!isPowerOfTwo(slices) || slices > limits.sliceCountMax) {
      throw new PavostoreError('usage', `--slices ${slices}: a power of two up to ${limits.sliceCountMax} is needed`);
    }
    return slices;
  }
  const current = await readCurrent(dataDir);
  if (!current) throw new PavostoreError('version_missing', `${dataDir}: nothing is published there; give --data or --slices`);
  return (await readManifest(dataDir, current.id)).identity.sliceCount;
}

/** The members by the names that they report; those of a fixed list that do not answer by their addresses. */
async function membersOf(list: string): Promise<PlacementMember[]> {
  const members = await pollMembers(list);
  return members
    .filter(({ report }) => report?.state !== 'leaving')
    .map(({ name, zone }) => (zone === undefined ? { name } : { name, zone }));
}

/** The keys as latin1 strings, one character a byte, many at a time. From standard input lines are cut at newlines only, as the split does. */
async function* keysOf(keys: readonly string[]): AsyncGenerator<readonly string[]> {
  if (keys.length !== 1 || keys[0] !== '-') return yield keys.map((key) => Buffer.from(key).toString('latin1'));
  let rest = '';
  for await (const chunk of process.stdin) {
    const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n');
    rest = lines.pop()!;
    yield lines.flatMap(keyOfLine);
    if (rest.length > limits.keySizeMax + 1) throw tooLong(rest);
  }
  yield keyOfLine(rest);
}

/** None of an empty line. */
function keyOfLine(line: string): string[] {
  const key = line.endsWith('\r') ? line.slice(0, -1) : line;
  if (key.length > limits.keySizeMax) throw tooLong(key);
  return key === '' ? [] : [key];
}

function tooLong(key: string): PavostoreError {
  return new PavostoreError('key_too_long', `key ${JSON.stringify(`${key.slice(0, 40)}…`)}: more than ${limits.keySizeMax} bytes`);
}
