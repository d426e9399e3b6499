// The header fields of a request that is read ahead of Node's parser: a strict subset of HTTP/1.1 (RFC 9112) that any parser reads in the same
// way: printable ASCII, one Host, and no field that would change what the request means. Whatever is not plain is Node's.

/** Ends the head of a message. */
export const fieldsEnd = '\r\n\r\n';

/** Fields by which a request gets a body, another protocol, another connection, or another answer than the usual one. */
const meaningful = new Set([
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
  'expect',
  'proxy-connection',
  'if-none-match',
]);

/**
 * The values of the `wanted` fields, by their names in lower case, each at most once; undefined when the fields are not plain. `text` are the
 * lines after the first, with the empty line that ends them.
 */
export function readPlainFields(text: string, wanted: readonly string[]): ReadonlyMap<string, string> | undefined {
  const values = new Map<string, string>();
  let hosts = 0;
  for (const line of text.slice(0, -fieldsEnd.length).split('\r\n')) {
    const field = /^([A-Za-z0-9-]+):[ \t]*([\x20-\x7e]*)$/.exec(line);
    if (!field) return undefined;
    const name = field[1]!.toLowerCase();
    const value = field[2]!.trim();
    if (wanted.includes(name)) {
      if (values.has(name)) return undefined;
      values.set(name, value);
    } else if (meaningful.has(name) || (name === 'connection' && value.toLowerCase() !== 'keep-alive')) return undefined;
    if (name === 'host' && (++hosts > 1 || value === '')) return undefined;
  }
  return hosts === 1 ? values : undefined;
}

/** Neither a space nor a control character nor anything beyond ASCII. */
export function isPrintable(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const c = text.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f) return false;
  }
  return true;
}
