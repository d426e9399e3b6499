// DATA/publications.json: what publishers did, newest last, and what the guards said of each. `current` alone decides which
// version is published; this file says why it is that one, why another one was refused, what was replaced when, and whether
// `current` is pinned. It is replaced as a whole, under the publishers' lock, before `current` is: so whoever sees a new
// `current` finds the guards' result of it here. A result that no `current` followed (a crash between the two) counts for nothing.
//
// A reader that cannot read it goes by `current` alone. Docs: docs/slice-format.md.

import { crc32 } from 'node:zlib';
import { PavostoreError } from './errors.ts';
import { limits } from './limits.ts';
import { isVersionId } from './manifest.ts';

const acts = ['publish', 'rollback', 'pin', 'restore'] as const;
const outcomes = ['passed', 'forced', 'refused'] as const;

/** What a publisher wanted. */
export type PublicationAct = (typeof acts)[number];

/** What the guards said of one version when it was to become the published one. */
export type Publication = {
  readonly act: PublicationAct;
  readonly id: string;
  /** That of the `current` that names it; undefined when it was refused and `current` stayed as it was. */
  readonly sequence: number | undefined;
  /** Milliseconds since 1970, by the clock of DATA's file system. */
  readonly atMs: number;
  /** `forced`: the guards said no, the operator yes. */
  readonly outcome: (typeof outcomes)[number];
  /** What the guards said against it, one sentence each; empty when it passed. */
  readonly reasons: readonly string[];
};

/** `current` stays at version `id` since `sequence`, until somebody takes the pin away. */
export type Pin = { readonly id: string; readonly sequence: number };

export type Publications = { readonly pin: Pin | undefined; readonly list: readonly Publication[] };

export const noPublications: Publications = { pin: undefined, list: [] };

/** A version as `current` names it. */
type Published = { readonly id: string; readonly sequence: number };

/** What the guards said when `current` came to be as it is; undefined when nothing is known of it. */
export function publicationOf({ list }: Publications, current: Published): Publication | undefined {
  return list.findLast(({ id, sequence }) => id === current.id && sequence === current.sequence);
}

/**
 * Why the version that `current` names should not be served, the one before it should: the last that the guards said of it was no, and nobody
 * forced it. Undefined when it may be served; no publisher of ours writes a `current` of which this is anything else.
 */
export function refusalOf(publications: Publications, current: Published): readonly string[] | undefined {
  if (publicationOf(publications, current)) return undefined;
  const last = publications.list.findLast(({ id }) => id === current.id);
  return last?.outcome === 'refused' ? last.reasons : undefined;
}

/** The refusal that came after `current`, if that was the last thing that happened: for `/status` and the log. */
export function lastRefusal({ list }: Publications): Publication | undefined {
  const last = list.at(-1);
  return last?.outcome === 'refused' ? last : undefined;
}

/** The same without what was written ahead of a `current` that never came. Where there is no `current` to tell that, all of it counts. */
export function withoutUnfinished({ pin, list }: Publications, current: Published | undefined): Publications {
  if (!current) return { pin, list };
  const sequenceMax = current.sequence;
  return {
    pin: pin && pin.sequence <= sequenceMax ? pin : undefined,
    list: list.filter(({ sequence }) => sequence === undefined || sequence <= sequenceMax),
  };
}

/** What `current` said last, as far as the list knows: for where that is lost. Undefined when nothing was ever published. */
export function lastPublished(publications: Publications): (Published & { readonly previousId: string | undefined }) | undefined {
  const last = publications.list.findLast(({ sequence }) => sequence !== undefined);
  if (!last) return undefined;
  const published = { id: last.id, sequence: last.sequence! };
  return { ...published, previousId: previousIdOf(publications, published) };
}

/** The version that was replaced by the one that `current` names; undefined when there was none, or the list does not name the two. */
export function previousIdOf({ list }: Publications, current: Published): string | undefined {
  const index = list.findLastIndex(({ id, sequence }) => id === current.id && sequence === current.sequence);
  return list.slice(0, Math.max(0, index)).findLast(({ id, sequence }) => sequence !== undefined && id !== current.id)?.id;
}

/** The file's text; the oldest publications are left out where there are too many. */
export function formatPublications({ pin, list }: Publications): string {
  let kept = list.slice(-limits.publicationsMax).map(shortened);
  for (;;) {
    const body = { format: 1, pin: pin ?? null, publications: kept.map(rowOf) };
    const text = `${JSON.stringify({ ...body, crc32: crcOf(body) }, null, 1)}\n`;
    if (Buffer.byteLength(text) <= limits.publicationsSizeMax) return text;
    kept = kept.slice(Math.ceil(kept.length / 4));
  }
}

/** Reads and checks the file's text; `what` names it in messages. Throws `publications_malformed`. */
export function parsePublications(text: string, what: string): Publications {
  const refuse = (reason: string): PavostoreError => new PavostoreError('publications_malformed', `${what}: ${reason}`);
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (cause) {
    throw new PavostoreError('publications_malformed', `${what}: not JSON (${(cause as Error).message})`, { cause });
  }
  if (!isRecord(read)) throw refuse('not an object');
  const { crc32: crcRead, ...body } = read;
  if (body.format !== 1) throw refuse(`format ${JSON.stringify(body.format)}; this Pavostore reads format 1`);
  const crc = crcOf(body);
  if (crcRead !== crc) throw refuse(`CRC ${JSON.stringify(crcRead)}, computed ${crc}`);
  const { pin, publications } = body;
  if (!Array.isArray(publications) || publications.length > limits.publicationsMax) throw refuse('no list of publications');
  if (pin !== null && !isPin(pin)) throw refuse('its pin is malformed');
  return {
    pin: pin === null ? undefined : { id: pin.id, sequence: pin.sequence },
    list: publications.map((row: unknown, index) => {
      const publication = parseRow(row);
      if (!publication) throw refuse(`publication ${index} is malformed`);
      return publication;
    }),
  };
}

/** JSON has no undefined. */
function rowOf({ sequence, ...rest }: Publication): Record<string, unknown> {
  return { ...rest, sequence: sequence ?? null };
}

function parseRow(row: unknown): Publication | undefined {
  if (!isRecord(row)) return undefined;
  const { act, id, sequence, atMs, outcome, reasons } = row;
  if (!isOneOf(acts, act) || !isOneOf(outcomes, outcome) || !isVersionId(id) || !isCount(atMs)) return undefined;
  if (outcome === 'refused' ? sequence !== null : !isCount(sequence)) return undefined;
  if (!Array.isArray(reasons) || !reasons.every((reason) => typeof reason === 'string')) return undefined;
  return { act, id, sequence: (sequence as number | null) ?? undefined, atMs, outcome, reasons };
}

function shortened(publication: Publication): Publication {
  const { guardReasonsMax, guardReasonSizeMax } = limits;
  const reasons = publication.reasons.slice(0, guardReasonsMax).map((reason) => reason.slice(0, guardReasonSizeMax));
  return { ...publication, reasons };
}

/** Of the JSON without white space, its fields in the order in which they stand. */
function crcOf(body: Readonly<Record<string, unknown>>): string {
  return crc32(JSON.stringify(body)).toString(16).padStart(8, '0');
}

function isPin(value: unknown): value is Pin {
  return isRecord(value) && isVersionId(value.id) && isCount(value.sequence);
}

function isOneOf<T extends string>(values: readonly T[], value: unknown): value is T {
  return values.includes(value as T);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
