// The few XML answers of an object store that we need: flat lists of elements with text in them. Not a parser of XML: it reads what S3's
// API describes and refuses the rest. Everything read is checked by whoever asked.

import { PavostoreError } from './errors.ts';

/** The content of the root element `name`. Throws `reply_malformed`. */
export function readRoot(xml: string, name: string, what: string): string {
  const found = new RegExp(`^(?:\\s|<\\?[^>]*\\?>)*<${name}(?:\\s[^>]*)?(?:/>|>(.*)</${name}>)\\s*$`, 's').exec(xml);
  if (!found) throw new PavostoreError('reply_malformed', `${what}: no <${name}> but ${JSON.stringify(xml.slice(0, 80))}`);
  return found[1] ?? '';
}

/** The contents of all elements `name`, which does not nest. */
export function findElements(xml: string, name: string): string[] {
  return Array.from(xml.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'gs')), (found) => found[1]!);
}

/** The text of the first element `name`. */
export function findText(xml: string, name: string): string | undefined {
  const found = findElements(xml, name)[0];
  return found === undefined ? undefined : decodeEntities(found);
}

const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(lt|gt|amp|quot|apos));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return entities[String(name).toLowerCase()]!;
    const codePoint = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return codePoint <= 0x10ffff ? String.fromCodePoint(codePoint) : whole;
  });
}

/** Text for an element. */
export function encodeEntities(text: string): string {
  return text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
