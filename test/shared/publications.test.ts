import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { publicationsPath, readPublications } from '../../shared/data-set.ts';
import { PavostoreError } from '../../shared/errors.ts';
import { limits } from '../../shared/limits.ts';
import {
  formatPublications,
  lastPublished,
  lastRefusal,
  noPublications,
  type Publication,
  type Publications,
  parsePublications,
  previousIdOf,
  publicationOf,
  refusalOf,
  withoutUnfinished,
} from '../../shared/publications.ts';
import { eachBitFlipped, eachTruncated } from './slice-fixture.ts';

const idA = 'a'.repeat(32);
const idB = 'b'.repeat(32);

const passed = (id: string, sequence: number): Publication => ({ act: 'publish', id, sequence, atMs: 5, outcome: 'passed', reasons: [] });
const refused = (id: string): Publication => ({
  act: 'publish',
  id,
  sequence: undefined,
  atMs: 6,
  outcome: 'refused',
  reasons: ['it is empty'],
});

describe('the list of publications', () => {
  test('comes back as it was written', () => {
    const anyId = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 32, maxLength: 32 });
    const anyPublication: fc.Arbitrary<Publication> = fc
      .record({
        act: fc.constantFrom('publish' as const, 'rollback' as const, 'pin' as const, 'restore' as const),
        id: anyId,
        atMs: fc.maxSafeNat(),
        reasons: fc.array(fc.string(), { maxLength: limits.guardReasonsMax }),
      })
      .chain((rest) =>
        fc
          .oneof(
            fc.record({ sequence: fc.maxSafeNat(), outcome: fc.constantFrom('passed' as const, 'forced' as const) }),
            fc.constant({ sequence: undefined, outcome: 'refused' as const }),
          )
          .map((outcome) => ({ ...rest, ...outcome })),
      );
    const anyPublications = fc.record({
      pin: fc.option(fc.record({ id: anyId, sequence: fc.maxSafeNat() }), { nil: undefined }),
      list: fc.array(anyPublication, { maxLength: 5 }),
    });
    fc.assert(
      fc.property(anyPublications, (publications) => {
        expect(parsePublications(formatPublications(publications), 'file')).toEqual(publications);
      }),
      { numRuns: 50 },
    );
  });

  test('is that of the document', async () => {
    const document = await readFile(new URL('../../docs/slice-format.md', import.meta.url), 'utf8');
    const [, text] = /```publications\n(.*?)```/s.exec(document)!;
    const publications = parsePublications(text!, 'docs/slice-format.md');
    expect(formatPublications(publications)).toBe(text);
    expect(publicationOf(publications, { id: 'e5f0e612529a92199c6705e9bc873ac6', sequence: 1767323046123 })?.outcome).toBe('passed');
  });

  test('is refused with any bit changed, and when it ends early, anywhere', () => {
    const text = formatPublications({ pin: { id: idA, sequence: 7 }, list: [passed(idA, 7), refused(idB)] });
    for (const { damaged, bit } of eachBitFlipped(Buffer.from(text)))
      expect(codeOf(damaged.toString()), `bit ${bit}`).toBe('publications_malformed');
    // Without its last newline it is whole.
    for (const truncated of eachTruncated(Buffer.from(text).subarray(0, -1)))
      expect(codeOf(truncated.toString())).toBe('publications_malformed');
  });

  test('is refused when something else stands in it, though its CRC fits', () => {
    const rows: object[] = [
      { ...passed('../../etc', 1) },
      { ...passed(idA, 1), act: 'burn' },
      { ...passed(idA, 1), outcome: 'perhaps' },
      { ...passed(idA, -1) },
      { ...passed(idA, 1.5) },
      { ...passed(idA, 1), outcome: 'refused' },
      { ...passed(idA, 1), sequence: null },
      null as unknown as object,
      { ...passed(idA, 1), reasons: [5] },
      { ...passed(idA, 1), reasons: 'none' },
      { ...passed(idA, 1), atMs: Number.NaN },
    ];
    for (const row of rows) {
      expect(codeOf(textOf({ format: 1, pin: null, publications: [row] })), JSON.stringify(row)).toBe('publications_malformed');
    }
    for (const pin of [{ id: 'x', sequence: 1 }, { id: idA, sequence: '1' }, 5, undefined]) {
      expect(codeOf(textOf({ format: 1, pin, publications: [] }))).toBe('publications_malformed');
    }
    expect(codeOf(textOf({ format: 1, pin: null, publications: [] }))).toBe('nothing thrown');
    for (const text of ['', 'null', '[]', '5', '{}', '{"format":2}']) expect(codeOf(text)).toBe('publications_malformed');
  });

  test('keeps the newest, and stays below its size whatever the reasons are', () => {
    const list = Array.from({ length: 2 * limits.publicationsMax }, (_, i) => ({ ...refused(idA), atMs: i }));
    const short = parsePublications(formatPublications({ pin: undefined, list }), 'file');
    expect(short.list.map(({ atMs }) => atMs)).toEqual(list.slice(-limits.publicationsMax).map(({ atMs }) => atMs));
    const reasons = Array.from({ length: 9 }, () => '\0'.repeat(9_999));
    const text = formatPublications({ pin: undefined, list: list.map((each) => ({ ...each, reasons })) });
    expect(text.length).toBeLessThanOrEqual(limits.publicationsSizeMax);
    const long = parsePublications(text, 'file');
    expect(long.list.at(-1)!.atMs).toBe(list.at(-1)!.atMs);
    expect(long.list[0]!.reasons).toEqual(
      reasons.slice(0, limits.guardReasonsMax).map((reason) => reason.slice(0, limits.guardReasonSizeMax)),
    );
  });

  test('may be absent; is refused when it is too large', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'pavostore-publications-'));
    onTestFinished(async () => await rm(dataDir, { recursive: true }));
    expect(await readPublications(dataDir)).toEqual(noPublications);
    await writeFile(publicationsPath(dataDir), formatPublications({ pin: undefined, list: [passed(idA, 1)] }));
    expect((await readPublications(dataDir)).list).toEqual([passed(idA, 1)]);
    await truncate(publicationsPath(dataDir), limits.publicationsSizeMax + 1);
    await expect(readPublications(dataDir)).rejects.toMatchObject({ code: 'publications_malformed' });
  });
});

describe('what the guards said of the published version', () => {
  const listOf = (...list: readonly Publication[]): Publications => ({ pin: undefined, list });

  test('is a refusal only when nothing else is known of it since', () => {
    expect(refusalOf(noPublications, { id: idA, sequence: 7 })).toBeUndefined();
    expect(refusalOf(listOf(refused(idB)), { id: idA, sequence: 7 })).toBeUndefined();
    expect(refusalOf(listOf(passed(idA, 7), refused(idA)), { id: idA, sequence: 7 })).toBeUndefined();
    expect(refusalOf(listOf(passed(idA, 7), refused(idB)), { id: idB, sequence: 8 })).toEqual(['it is empty']);
    expect(refusalOf(listOf(refused(idB), { ...passed(idB, 8), outcome: 'forced' }), { id: idB, sequence: 8 })).toBeUndefined();
  });

  test('is told apart from a refusal that came after it', () => {
    expect(lastRefusal(listOf(passed(idA, 7)))).toBeUndefined();
    expect(lastRefusal(listOf(passed(idA, 7), refused(idB)))).toEqual(refused(idB));
    expect(lastRefusal(listOf(refused(idB), passed(idA, 7)))).toBeUndefined();
  });

  test('counts for nothing when `current` did not follow', () => {
    const publications: Publications = { pin: { id: idB, sequence: 9 }, list: [passed(idA, 7), refused(idB), passed(idB, 9)] };
    expect(withoutUnfinished(publications, { id: idA, sequence: 7 })).toEqual(listOf(passed(idA, 7), refused(idB)));
    expect(withoutUnfinished(publications, { id: idB, sequence: 9 })).toEqual(publications);
    // Nobody can tell.
    expect(withoutUnfinished(publications, undefined)).toEqual(publications);
  });
});

describe('what was published, where `current` is lost', () => {
  const listOf = (...list: readonly Publication[]): Publications => ({ pin: undefined, list });

  test('is what the list names last, after the last one that was another', () => {
    expect([lastPublished(noPublications), lastPublished(listOf(refused(idA)))]).toEqual([undefined, undefined]);
    expect(lastPublished(listOf(passed(idA, 7), refused(idB)))).toEqual({ id: idA, sequence: 7, previousId: undefined });
    const again = listOf(passed(idA, 7), passed(idB, 8), refused(idA), passed(idB, 9));
    expect(lastPublished(again)).toEqual({ id: idB, sequence: 9, previousId: idA });
    expect(previousIdOf(again, { id: idB, sequence: 8 })).toBe(idA);
    expect(previousIdOf(again, { id: idA, sequence: 7 })).toBeUndefined();
    expect(previousIdOf(again, { id: idB, sequence: 10 })).toBeUndefined();
  });
});

function textOf(body: object): string {
  return JSON.stringify({ ...body, crc32: crc32(JSON.stringify(body)).toString(16).padStart(8, '0') });
}

function codeOf(text: string): string {
  try {
    parsePublications(text, 'file');
  } catch (error) {
    return error instanceof PavostoreError ? error.code : String(error);
  }
  return 'nothing thrown';
}
