// Where the addresses of the members come from: `--members`, parsed and resolved. An address is `host:port`.
//
//     a:7070,http://b:7070       a fixed list; its members never go
//     dns://shard:7070           every address that the name has; asked again at each poll
//     dns+srv://_pavostore._tcp.shard   host and port of every SRV record

import { promises as dns } from 'node:dns';
import { isIPv6 } from 'node:net';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';

export type MemberSource =
  | { readonly kind: 'fixed'; readonly addresses: readonly string[] }
  | { readonly kind: 'dns'; readonly host: string; readonly port: number }
  | { readonly kind: 'dns+srv'; readonly host: string };

/** Throws `members_malformed`. */
export function parseMemberSource(list: string): MemberSource {
  const text = list.trim();
  if (text.startsWith('dns+srv://')) {
    const host = text.slice('dns+srv://'.length).replace(/\/$/, '');
    if (!/^[\w.-]+$/.test(host)) throw malformed(text, 'a name like dns+srv://_pavostore._tcp.shard is needed');
    return { kind: 'dns+srv', host };
  }
  if (text.startsWith('dns://')) {
    const parts = /^dns:\/\/([\w.-]+):(\d+)\/?$/.exec(text);
    if (!parts) throw malformed(text, 'a name and a port like dns://shard:7070 are needed');
    return { kind: 'dns', host: parts[1]!, port: parsePort(parts[2]!, text) };
  }
  const addresses = text.split(',').map((entry) => parseAddress(entry));
  const repeated = addresses.find((address, i) => addresses.indexOf(address) !== i);
  if (repeated) throw malformed(text, `${repeated} stands in it twice`);
  if (addresses.length > limits.membersMax) throw malformed(`${addresses.length} members`, `at most ${limits.membersMax}`);
  return { kind: 'fixed', addresses };
}

/** `http://host:port/`, `host:port` or `[::1]:port` to `host:port`. Throws `members_malformed`. */
export function parseAddress(entry: string): string {
  const text = entry.trim();
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(withScheme)) throw malformed(text, 'a URL like http://127.0.0.1:7070 is needed');
  const url = new URL(withScheme);
  if (url.protocol !== 'http:') throw malformed(text, 'only http:// is spoken within the cluster');
  if (url.pathname !== '/' || url.search || url.hash || url.username) throw malformed(text, 'host and port only');
  return `${url.hostname}:${url.port || '80'}`;
}

/** The addresses of the source now. Rejects when a name cannot be resolved: for the caller, that changes nothing. */
export async function resolveAddresses(source: MemberSource): Promise<readonly string[]> {
  switch (source.kind) {
    case 'fixed':
      return source.addresses;
    case 'dns': {
      const found = await dns.lookup(source.host, { all: true });
      return [...new Set(found.map(({ address }) => joinAddress(address, source.port)))].slice(0, limits.membersMax);
    }
    case 'dns+srv': {
      const found = await dns.resolveSrv(source.host);
      return [...new Set(found.map(({ name, port }) => joinAddress(name, port)))].slice(0, limits.membersMax);
    }
  }
}

export function joinAddress(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function parsePort(text: string, list: string): number {
  const port = Number(text);
  if (port < 1 || port > 65_535) throw malformed(list, `port ${text} is not between 1 and 65535`);
  return port;
}

function malformed(text: string, reason: string): PavostoreError {
  return new PavostoreError('members_malformed', `members ${JSON.stringify(text.slice(0, 200))}: ${reason}`);
}
