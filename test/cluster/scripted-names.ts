// Loaded into a process before its program (`node --import`): names resolve to what the file that SCRIPTED_NAMES names says at the
// moment, a JSON list of `host:port`. So a test can be the name server without being root.

import { promises as dns } from 'node:dns';
import { readFileSync } from 'node:fs';

const script = process.env.SCRIPTED_NAMES;

function listed(): { name: string; port: number }[] {
  return (JSON.parse(readFileSync(script!, 'utf8')) as string[]).map((address) => {
    const [name, port] = address.split(':') as [string, string];
    return { name, port: Number(port) };
  });
}

if (script !== undefined) {
  const { lookup } = dns;
  const scripted = async (host: string, options: object) =>
    host.endsWith('.test') ? listed().map(({ name }) => ({ address: name, family: 4 })) : await lookup(host, options);
  Object.assign(dns, {
    lookup: scripted,
    resolveSrv: async () => listed().map(({ name, port }) => ({ name, port, priority: 0, weight: 0 })),
  });
}
