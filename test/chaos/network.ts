// A network of its own for a test: hosts that are network namespaces, joined by a switch that is one too, and what may go wrong between them. The test
// itself is on the same switch, at the first address. Needs root; all names carry the pid, and all is gone with the test's process at the latest.
//
//     test 198.18.N.1 ──┐
//     host 198.18.N.10 ─┤ bridge in a namespace
//     host 198.18.N.11 ─┘

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { program, withoutOwnVariables } from '../../deploy/serve/supervised-process.ts';
import { SupervisedProcess } from '../../shared/supervised-process.ts';

/** Which packets a host loses: all, or a share in percent; as they arrive or as they leave; of one other host, or of all. */
export type Loss = { readonly percent?: number; readonly way: 'in' | 'out'; readonly host?: string };

export class Network {
  readonly #hosts: readonly string[];
  readonly #prefix = `pavostore-${process.pid}-${networks++}`;
  /** Of the benchmarking range (RFC 2544): nobody's own network. */
  readonly #subnet = `198.18.${process.pid % 256}`;
  readonly #testLink = `pv${process.pid}n${networks}`;
  readonly #closeOnExit = (): void => this.close();

  /** Throws what the system says when it does not permit it. */
  constructor(hosts: readonly string[]) {
    this.#hosts = hosts;
    process.on('exit', this.#closeOnExit);
    try {
      const bridge = this.#namespaceOf('switch');
      run('ip', 'netns', 'add', bridge);
      run('ip', '-n', bridge, 'link', 'add', 'bridge', 'type', 'bridge');
      run('ip', '-n', bridge, 'link', 'set', 'bridge', 'up');
      run('ip', 'link', 'add', this.#testLink, 'type', 'veth', 'peer', 'name', 'test', 'netns', bridge);
      this.#plug('test');
      run('ip', 'address', 'add', `${this.testAddress}/24`, 'dev', this.#testLink);
      run('ip', 'link', 'set', this.#testLink, 'up');
      for (const host of hosts) this.#addHost(host);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get testAddress(): string {
    return `${this.#subnet}.1`;
  }

  addressOf(host: string): string {
    return `${this.#subnet}.${10 + this.#hosts.indexOf(host)}`;
  }

  /** A `pavostore` command on a host. */
  start(host: string, options: { args: readonly string[]; onDeath: (message: string) => void }): SupervisedProcess {
    return new SupervisedProcess({ title: host, onDeath: options.onDeath, spawn: () => this.#spawn(host, [program, ...options.args]) });
  }

  /** In place of what the host lost before. */
  lose(host: string, losses: readonly Loss[]): void {
    const rules = losses.map(({ percent, way, host: other }) => {
      const of = other === undefined ? '' : `ip ${way === 'in' ? 'saddr' : 'daddr'} ${this.addressOf(other)} `;
      return `add rule inet chaos ${way}put ${of}${percent === undefined ? '' : `numgen random mod 100 < ${percent} `}drop\n`;
    });
    feed(`flush ruleset\n${chains}${rules.join('')}`, 'ip', 'netns', 'exec', this.#namespaceOf(host), 'nft', '-f', '-');
  }

  /** What the host sends comes later, where the kernel can do that; else over a link of so few bytes a second. Says which. */
  slowDown(host: string, { delayMs, bytesPerSecond }: { delayMs: number; bytesPerSecond: number }): string {
    const tc = (...args: string[]): void => run('ip', 'netns', 'exec', this.#namespaceOf(host), 'tc', ...args);
    try {
      tc('qdisc', 'replace', 'dev', 'eth0', 'root', 'netem', 'delay', `${delayMs}ms`);
      return `${delayMs} ms more`;
    } catch {
      tc('qdisc', 'replace', 'dev', 'eth0', 'root', 'tbf', 'rate', `${bytesPerSecond}bps`, 'burst', '4096', 'latency', `${delayMs}ms`);
      return `${bytesPerSecond} bytes a second, since this kernel has no netem`;
    }
  }

  speedUp(host: string): void {
    run('ip', 'netns', 'exec', this.#namespaceOf(host), 'tc', 'qdisc', 'del', 'dev', 'eth0', 'root');
  }

  /** Whom the processes that the host starts from now on ask for names. */
  setNameServer(host: string, address: string): void {
    const folder = `/etc/netns/${this.#namespaceOf(host)}`;
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/resolv.conf`, `nameserver ${address}\noptions timeout:1 attempts:1\n`);
  }

  close(): void {
    process.off('exit', this.#closeOnExit);
    for (const host of [...this.#hosts, 'switch']) {
      rmSync(`/etc/netns/${this.#namespaceOf(host)}`, { recursive: true, force: true });
      // Those that were never made are not there.
      tryTo(() => run('ip', 'netns', 'del', this.#namespaceOf(host)));
    }
    tryTo(() => run('ip', 'link', 'del', this.#testLink));
    // Somebody else's files keep it.
    tryTo(() => rmdirSync('/etc/netns'));
  }

  #namespaceOf(host: string): string {
    return `${this.#prefix}-${host}`;
  }

  #addHost(host: string): void {
    const namespace = this.#namespaceOf(host);
    run('ip', 'netns', 'add', namespace);
    run('ip', '-n', namespace, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', host, 'netns', this.#namespaceOf('switch'));
    this.#plug(host);
    run('ip', '-n', namespace, 'address', 'add', `${this.addressOf(host)}/24`, 'dev', 'eth0');
    for (const link of ['eth0', 'lo']) run('ip', '-n', namespace, 'link', 'set', link, 'up');
    this.lose(host, []);
  }

  #plug(link: string): void {
    run('ip', '-n', this.#namespaceOf('switch'), 'link', 'set', link, 'master', 'bridge', 'up');
  }

  #spawn(host: string, args: readonly string[]): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.#namespaceOf(host), process.execPath, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, ...withoutOwnVariables(), PATH: pathWithSbin },
      detached: true,
    });
  }
}

let networks = 0;

const pathWithSbin = `${process.env.PATH}:/usr/sbin:/sbin`;

const chains = `add table inet chaos
add chain inet chaos input { type filter hook input priority 0; }
add chain inet chaos output { type filter hook output priority 0; }
`;

/** Why there can be no networks here; undefined when there can. */
export function whyNoNetwork(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'network namespaces need Linux and root';
  try {
    const network = new Network(['one']);
    network.lose('one', [{ percent: 3, way: 'in' }]);
    network.close();
    return undefined;
  } catch (error) {
    return `no network namespaces here: ${(error as Error).message.trim()}`;
  }
}

function run(command: string, ...args: string[]): void {
  feed('', command, ...args);
}

function feed(input: string, command: string, ...args: string[]): void {
  execFileSync(command, args, { input, stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, PATH: pathWithSbin }, timeout: 10_000 });
}

function tryTo(act: () => void): void {
  try {
    act();
  } catch {
    // It is not there, or not ours.
  }
}
