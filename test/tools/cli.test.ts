import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import yargs from 'yargs';
import { commands } from '../../deploy/commands.ts';
import { SupervisedProcess } from '../../deploy/serve/supervised-process.ts';
import { TestCluster } from '../cluster/cluster-harness.ts';
import { type ProgramResult, runProgram } from '../cluster/program.ts';

const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i).filter((byte) => byte !== 0x0a));
const records = new Map([
  ['foo', Buffer.from('bar')],
  ['bytes', bytes],
  ['empty', Buffer.alloc(0)],
  ['007', Buffer.from('a name, no number')],
  ['1e3', Buffer.from('no number either')],
  ['--json', Buffer.from('a key like a flag')],
  ['-', Buffer.from('a dash')],
  ['a b', Buffer.from('with a space')],
  [Buffer.from('Größe').toString('latin1'), Buffer.from('groß')],
  ['\xff', Buffer.from('of one byte')],
  ['big', Buffer.alloc(8 * 1024 * 1024, 'big ')],
]);

let cluster: TestCluster;
let lonely: SupervisedProcess;
let lonelyAddress: string;

beforeAll(async () => {
  cluster = await TestCluster.start({ records, shards: 2, routerArgs: ['--deadline', '10s'] });
  const args = ['router', '--port', '0', '--members', '127.0.0.1:21995', '--log-level', 'silent', '--drain', '0s'];
  lonely = new SupervisedProcess({ title: 'a router without shards', args, onDeath: () => {} });
  lonelyAddress = `127.0.0.1:${await lonely.start()}`;
});
afterAll(async () => {
  await lonely.stop();
  await cluster.close();
});

/** A command that asks the cluster's router. */
const ask = async (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ProgramResult> =>
  await runProgram(args, { env: { PAVOSTORE_ROUTER: cluster.address, ...env } });

async function expectDone(result: Promise<ProgramResult>): Promise<string> {
  const { exitCode, stdout, stderr } = await result;
  expect([exitCode, stderr]).toEqual([0, '']);
  return stdout.toString();
}

async function expectFailed(result: Promise<ProgramResult>, expectedExitCode: 1 | 2, said: string): Promise<void> {
  const { exitCode, stdout, stderr } = await result;
  expect(stderr).toContain(said);
  expect([exitCode, stdout.toString()]).toEqual([expectedExitCode, '']);
  // A message, not a stack.
  expect(stderr).not.toMatch(/^\s+at /m);
}

describe('the help', () => {
  const names = commands.map(({ command }) => String(command).split(' ')[0]!);

  test.each(commands.map((command) => [String(command.command).split(' ')[0]!, command] as const))(
    'of %s has examples, exit codes, and says of each flag what it does',
    async (name, command) => {
      const parser = yargs().scriptName('pavostore').command(command).exitProcess(false).wrap(null);
      const help = await new Promise<string>((resolve, reject) => {
        void parser.parse([name, '--help'], {}, (error, _args, output) => (error ? reject(error) : resolve(output)));
      });
      expect(help).toMatch(new RegExp(`^pavostore ${name}`));
      expect(help).toMatch(new RegExp(`Examples:\\n  pavostore ${name}`));
      expect(help).toContain('Exit codes: 0 done, 1 failed, 2 wrong usage.');
      expect(help).toContain('PAVOSTORE_');
      const flagLines = help.split('\n').filter((line) => /^ +(-\w, )?--/.test(line));
      expect(flagLines.filter((line) => !/--[\w-]+\s{2,}\S/.test(line))).toEqual([]);
    },
  );

  test('of the program names every command', async () => {
    const help = await expectDone(runProgram(['--help']));
    for (const name of names) expect(help).toContain(`pavostore ${name}`);
    expect(names).toEqual(
      expect.arrayContaining(['serve', 'split', 'shard', 'router', 'verify', 'inspect', 'locate', 'get', 'status', 'generate']),
    );
  });

  test('of a command comes from the program too, and so does its version', async () => {
    expect(await expectDone(runProgram(['get', '-h']))).toContain('pavostore get <keys..>');
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(await expectDone(runProgram(['--version']))).toBe(`${version}\n`);
  });

  test('of the shell is a completion script', async () => {
    const script = await expectDone(runProgram(['completion'], { env: { SHELL: '/bin/bash' } }));
    expect(script).toContain('pavostore');
    expect(script).toContain('complete');
  });
});

describe.concurrent('wrong usage ends with 2 and a word about it', () => {
  test.each<[string, readonly string[], string]>([
    ['no command', [], 'name a command'],
    ['an unknown command', ['fetch'], 'fetch'],
    ['an unknown flag', ['get', 'foo', '--rooter', 'x'], 'rooter'],
    ['no key', ['get'], 'Not enough'],
    ['a key that is not base64', ['get', '--base64', 'Zm9v!'], 'base64'],
    ['a slice count of 3', ['locate', 'foo', '--slices', '3', '--members', 'a:1'], 'power of two'],
    ['a deadline without a unit', ['router', '--members', 'a:1', '--deadline', '5'], 'duration'],
    ['a log level that is none', ['shard', '--log-level', 'loud'], 'loud'],
  ])('%s', async (_name, args, said) => {
    await expectFailed(ask(args), 2, said);
  });
});

describe.concurrent('get', () => {
  test("prints one key's value, its bytes as they are", async () => {
    for (const key of ['bytes', '007', 'big']) {
      const { exitCode, stdout, stderr } = await ask(['get', key]);
      expect([exitCode, stderr]).toEqual([0, '']);
      expect(stdout.equals(records.get(Buffer.from(key).toString('latin1'))!), key).toBe(true);
    }
  });

  test('takes keys that look like flags behind --, and bytes in base64', async () => {
    expect(await expectDone(ask(['get', 'a b', '-', '--', '--json', '1e3']))).toBe(
      'a b with a space\n- a dash\n--json a key like a flag\n1e3 no number either\n',
    );
    expect(await expectDone(ask(['get', '--base64', '/w==']))).toBe('of one byte');
  });

  test('prints several as lines of the input, and as the router answers', async () => {
    expect(await expectDone(ask(['get', 'foo', 'empty', 'foo']))).toBe('foo bar\nempty \nfoo bar\n');
    const { version, results } = JSON.parse(await expectDone(ask(['get', 'foo', '007', '--json'])));
    expect(version).toMatch(/^[0-9a-f]{32}$/);
    expect(results).toEqual([
      { key: 'foo', status: 'found', value: 'bar' },
      { key: '007', status: 'found', value: 'a name, no number' },
    ]);
  });

  test('of a key that is missing ends with 1, after the others', async () => {
    await expectFailed(ask(['get', 'nobody']), 1, 'nobody: not found');
    const several = await ask(['get', 'foo', 'nobody', '007']);
    expect([several.exitCode, several.stdout.toString()]).toEqual([1, 'foo bar\n007 a name, no number\n']);
  });

  test('without a router, or without a version, ends with 1 and the code', async () => {
    await expectFailed(ask(['get', 'foo', '--router', '127.0.0.1:21996']), 1, '[router_unreachable]');
    await expectFailed(ask(['get', 'foo', '--router', lonelyAddress]), 1, '[no_version]');
  });
});

describe.concurrent('status', () => {
  test('shows the version and each member', async () => {
    const shown = await expectDone(ask(['status']));
    const { version } = await cluster.status();
    expect(shown).toContain(`version  ${version!.id}`);
    for (const address of cluster.cluster.shardAddresses) expect(shown).toMatch(new RegExp(`${address} +${address} +ready +8 `));
    expect(JSON.parse(await expectDone(ask(['status', '--json'])))).toMatchObject({ degraded: false, version });
  });

  test('of a router that serves nothing ends with 1', async () => {
    const { exitCode, stdout } = await ask(['status', '--router', `http://${lonelyAddress}/`]);
    expect([exitCode, stdout.toString().includes('version  none yet')]).toEqual([1, true]);
  });
});

describe.concurrent('locate', () => {
  test('names the shard that has the key, for people and for machines', async () => {
    const members = cluster.cluster.shardAddresses.join(',');
    const holder = cluster.cluster.shardAddresses[cluster.holdersOf('foo')[0]!]!;
    const args = ['locate', 'foo', '--data', cluster.dataDir, '--members', members];
    expect(await expectDone(runProgram(args))).toBe(`foo\thash f6a5c420\tslice 15 of 16\t${holder}\n`);
    expect(JSON.parse(await expectDone(runProgram([...args, '--json'])))).toEqual({
      key: 'foo',
      hash: 'f6a5c420',
      slice: 15,
      sliceCount: 16,
      holders: [holder],
    });
  });

  test('needs no cluster and no data, when it is told the slice count', async () => {
    const args = ['locate', 'foo', 'Größe', '007', '--slices', '256', '--members', 'b:1,a:1,c:1', '--replicas', '2'];
    const lines = (await expectDone(runProgram(args))).trimEnd().split('\n');
    expect(lines.map((line) => line.split('\t')[0])).toEqual(['foo', 'Größe', '007']);
    expect(lines[0]).toMatch(/^foo\thash f6a5c420\tslice 246 of 256\t[abc]:1 [abc]:1$/);
  });

  test('reads keys of any bytes from standard input, cut at newlines only', async () => {
    const args = ['locate', '-', '--slices', '16', '--members', 'a:1'];
    const input = Buffer.concat([Buffer.from('foo\r\n\n\u2028 x\ty\rz\n'), Buffer.from([0xff, 0x0a]), Buffer.from('last')]);
    const { exitCode, stdout } = await runProgram(args, { input });
    expect(exitCode).toBe(0);
    const keys = stdout
      .toString('latin1')
      .split('\n')
      .map((line) => line.split('\thash')[0]);
    expect(keys).toEqual(['foo', Buffer.from('\u2028 x\ty\rz').toString('latin1'), '\xff', 'last', '']);
    const json = await runProgram([...args, '--json'], { input: Buffer.from([0xff]) });
    expect(JSON.parse(json.stdout.toString())).toMatchObject({ key: '/w==', keyEncoding: 'base64' });
  });

  test('without data ends with 1', async () => {
    await expectFailed(runProgram(['locate', 'foo', '--members', 'a:1', '--data', '/nonexistent']), 1, '[version_missing]');
  });
});

describe.concurrent('a variable', () => {
  test('stands for its flag, which wins', async () => {
    expect(JSON.parse(await expectDone(ask(['get', 'foo'], { PAVOSTORE_JSON: 'true' }))).results).toHaveLength(1);
    const against = { PAVOSTORE_JSON: 'true', PAVOSTORE_ROUTER: '127.0.0.1:21996' };
    expect(await expectDone(ask(['get', 'foo', '--no-json', '--router', cluster.address], against))).toBe('bar');
  });

  test('that is empty, or of another command, counts for nothing', async () => {
    const env = { PAVOSTORE_JSON: '', PAVOSTORE_SHARDS: 'many', PAVOSTORE_MEMBERS: 'nonsense', PAVOSTORE_ANYTHING: '1' };
    expect(await expectDone(ask(['get', 'foo'], env))).toBe('bar');
  });

  test('that cannot be its flag is wrong usage', async () => {
    await expectFailed(ask(['get', 'foo'], { PAVOSTORE_JSON: 'maybe' }), 2, 'PAVOSTORE_JSON="maybe"');
  });
});
