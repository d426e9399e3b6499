import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PavostoreError } from '../../shared/errors.ts';
import { formatManifest, type Identity, isVersionId, type Manifest, parseManifest, versionIdOf } from '../../shared/manifest.ts';
import { eachBitFlipped, eachTruncated } from './slice-fixture.ts';

const manifest = manifestOf(2);
const text = formatManifest(manifest);

describe('a manifest', () => {
  test('comes back as it was written', () => {
    expect(parseManifest(text, 'manifest.json')).toEqual(manifest);
    expect(parseManifest(formatManifest(manifestOf(4096)), 'manifest.json')).toEqual(manifestOf(4096));
  });

  test('fits its limit at the largest number of slices', () => {
    expect(formatManifest(manifestOf(4096)).length).toBeLessThan(1_200_000);
  });

  test('with fields that this version does not know is read without them', () => {
    const newer = { ...manifest, colour: 'blue', identity: { ...manifest.identity, colour: 'blue' } };
    expect(parseManifest(JSON.stringify(newer), 'manifest.json')).toEqual(manifest);
  });

  test('without a time of creation is a manifest still', () => {
    for (const createdAt of [undefined, 5, null]) {
      expect(parseManifest(JSON.stringify({ ...manifest, createdAt }), 'manifest.json').createdAt).toBe('');
    }
  });
});

describe('the id of a version', () => {
  test('is the first half of the SHA-256 of the canonical identity', () => {
    const slices = manifest.identity.slices.map((slice) => {
      return `{"entries":${slice.entries},"bytes":${slice.bytes},"headerSha256":"${slice.headerSha256}","sha256":"${slice.sha256}"}`;
    });
    const canonical = `{"format":1,"hash":"murmur3_x86_32","sliceCount":2,"slices":[${slices.join()}]}`;
    expect(versionIdOf(manifest.identity)).toBe(createHash('sha256').update(canonical).digest('hex').slice(0, 32));
    // The same by sha256sum: a change of this text is another format.
    expect(versionIdOf(manifest.identity)).toBe('b9cc8654bc46879112fa66cd1b59b143');
  });

  test('does not depend on the order of fields, on white space, nor on anything beside the identity', () => {
    const { identity } = manifest;
    const reordered = {
      createdAt: '1970-01-01T00:00:00.000Z',
      source: { options: { separator: '\t' }, files: [] },
      totals: { ...manifest.totals, lines: 1 },
      identity: { slices: identity.slices.map(reversed), sliceCount: identity.sliceCount, hash: identity.hash, format: identity.format },
      id: manifest.id,
    };
    expect(parseManifest(JSON.stringify(reordered, null, '\t'), 'manifest.json')).toMatchObject({ id: manifest.id, identity });
  });

  test('is another one when anything of the identity is another', () => {
    const { identity } = manifest;
    const [first, second] = identity.slices as [Identity['slices'][0], Identity['slices'][0]];
    const others: Identity[] = [
      { ...identity, format: 2 },
      { ...identity, hash: 'xxh3' },
      { ...identity, sliceCount: 4 },
      { ...identity, slices: [second, first] },
      { ...identity, slices: [first] },
      { ...identity, slices: [{ ...first, entries: first.entries + 1 }, second] },
      { ...identity, slices: [{ ...first, bytes: first.bytes + 1 }, second] },
      { ...identity, slices: [{ ...first, headerSha256: second.headerSha256 }, second] },
      { ...identity, slices: [{ ...first, sha256: second.sha256 }, second] },
    ];
    expect(new Set([identity, ...others].map(versionIdOf)).size).toBe(others.length + 1);
  });

  test('is 32 hex digits and nothing that a path could hide in', () => {
    expect(isVersionId(manifest.id)).toBe(true);
    const wrong = ['', '..', '../../etc/passwd', `${manifest.id}/..`, `${manifest.id}\n`, `${manifest.id.slice(1)}.`, manifest.id.slice(1)];
    for (const id of [...wrong, `0${manifest.id}`, manifest.id.toUpperCase(), 32, null, undefined, [manifest.id]]) {
      expect(isVersionId(id), String(id)).toBe(id === manifest.id);
    }
  });
});

describe('a damaged manifest', () => {
  test('with any bit changed is refused, or names the same slices', () => {
    let refused = 0;
    for (const { damaged, bit } of eachBitFlipped(Buffer.from(text))) {
      const outcome = outcomeOf(damaged.toString());
      if (outcome === 'manifest_malformed') refused++;
      else expect(outcome, `bit ${bit}`).toEqual({ id: manifest.id, identity: manifest.identity });
    }
    expect(refused).toBeGreaterThan(text.length);
  });

  test('that ends early, anywhere, is refused', () => {
    for (const truncated of eachTruncated(Buffer.from(text.trimEnd()))) expect(outcomeOf(truncated.toString())).toBe('manifest_malformed');
  });

  test('with anything else in it is refused, or names the same slices', () => {
    const anyDamage = fc.tuple(
      fc.nat(text.length),
      fc.nat(30),
      fc.oneof(fc.string(), fc.constantFrom('null', '{', '[]', '"', '-1', '1e999', '\\u0000')),
    );
    fc.assert(
      fc.property(anyDamage, ([at, length, instead]) => {
        const outcome = outcomeOf(text.slice(0, at) + instead + text.slice(at + length));
        expect(['manifest_malformed', { id: manifest.id, identity: manifest.identity }]).toContainEqual(outcome);
      }),
      { numRuns: 1_000 },
    );
  });

  // Each value stands where the JSON path says. The identity's are tried with the id that would fit them, too.
  test.each<[string, unknown[]]>([
    ['id', [undefined, null, '', '..', 0, [], 'f'.repeat(32), `${manifest.id} `]],
    ['identity', [undefined, null, [], 'x', {}]],
    ['identity.format', [undefined, null, 0, 2, '1', 1.5, [1]]],
    ['identity.hash', [undefined, null, '', 'murmur3', 'MURMUR3_X86_32', 1]],
    ['identity.sliceCount', [undefined, null, 0, 1, 3, 4, -2, '2', 2.5, 1e9, 8192, 2 ** 31, 2 ** 53, 1e308]],
    ['identity.slices', [undefined, null, {}, [], 'x', [null, null], Array.from({ length: 3 }, () => manifest.identity.slices[0])]],
    ['identity.slices.0', [undefined, null, 1, 'x', [], {}]],
    ['identity.slices.0.entries', [undefined, null, -1, 1.5, '1', 2 ** 32, 1e308]],
    ['identity.slices.1.bytes', [undefined, null, -1, 1.5, '1', 2 ** 30 + 1, 1e308]],
    ['identity.slices.0.headerSha256', [undefined, null, '', 'f'.repeat(63), 'F'.repeat(64), 'g'.repeat(64), `${'f'.repeat(64)}\n`, 1]],
    ['identity.slices.1.sha256', [undefined, null, '', 'f'.repeat(65), 'F'.repeat(64), '../'.repeat(21), 1]],
    ['totals', [undefined, null, [], 5]],
    ...Object.keys(manifest.totals).map((name): [string, unknown[]] => [`totals.${name}`, [undefined, null, -1, 0.5, '1', 2 ** 53]]),
    ['source', [undefined, null, [], 5, {}]],
    ['source.files', [undefined, null, {}, 'x', [null], [{}]]],
    ['source.files.0.path', [undefined, null, 5]],
    ['source.files.0.size', [undefined, null, '5']],
    ['source.files.0.mtimeMs', [undefined, null, '5']],
    ['source.options', [undefined, null, [], 'x']],
    ['source.options.separator', [null, [], {}]],
  ])('with a wrong %s is refused', (path, values) => {
    for (const value of values) {
      const changed = structuredClone(manifest) as unknown as Record<string, unknown>;
      setAt(changed, path.split('.'), value);
      expect(outcomeOf(JSON.stringify(changed)), JSON.stringify(value)).toBe('manifest_malformed');
      if (!path.startsWith('identity.')) continue;
      const fitting = { ...changed, id: idOfAnything(changed.identity as Record<string, unknown>) };
      expect(outcomeOf(JSON.stringify(fitting)), `${JSON.stringify(value)} with a fitting id`).toBe('manifest_malformed');
    }
  });

  test('names the file, what was read and the bound', () => {
    const changed = JSON.stringify({ ...manifest, identity: { ...manifest.identity, sliceCount: 8192 } });
    expect(() => parseManifest(changed, 'data/manifest.json')).toThrow(
      'data/manifest.json: slice count 8192 is not a power of two up to 4096',
    );
  });
});

describe('a hostile manifest', () => {
  test('cannot reach the prototype of anything', () => {
    const hostile = text
      .replace('"separator"', '"__proto__"')
      .replace('"identity"', '"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}, "identity"');
    const parsed = parseManifest(hostile, 'manifest.json');
    expect(({} as Record<string, unknown>).polluted).toBe(undefined);
    expect([parsed, parsed.identity, parsed.source.options].map((object) => Object.getPrototypeOf(object))).toEqual(
      Array(3).fill(Object.prototype),
    );
    expect(parsed.identity).toEqual(manifest.identity);
  });

  test('whose identity is only inherited is refused', () => {
    expect(outcomeOf(text.replace('"identity"', '"__proto__"'))).toBe('manifest_malformed');
  });

  test('that says a name twice is taken at the last, which is what its id is computed of', () => {
    const twice = text.replace('"sliceCount": 2', '"sliceCount": 4096, "sliceCount": 2');
    expect(twice).not.toBe(text);
    expect(outcomeOf(twice)).toEqual({ id: manifest.id, identity: manifest.identity });
  });

  test('that is nested too deep, or no object at all, is refused', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    for (const wrong of ['', 'null', '[]', '5', '"x"', '{}', deep, `{"identity":${deep}}`, '\u0000', '\ufeff']) {
      expect(outcomeOf(wrong)).toBe('manifest_malformed');
    }
  });
});

/** A manifest whose digests are made up. */
function manifestOf(sliceCount: number): Manifest {
  const slices = Array.from({ length: sliceCount }, (_, index) => ({
    entries: index + 1,
    bytes: 200 + index,
    headerSha256: createHash('sha256').update(`header ${index}`).digest('hex'),
    sha256: createHash('sha256').update(`slice ${index}`).digest('hex'),
  }));
  const identity = { format: 1, hash: 'murmur3_x86_32', sliceCount, slices };
  return {
    id: versionIdOf(identity),
    identity,
    totals: { entries: 3, keyBytes: 12, valueBytes: 30, sliceBytes: 401, lines: 5, duplicates: 1, rejectedLines: 0, blankLines: 1 },
    source: {
      files: [{ path: '../input/example.data', size: 48, mtimeMs: 1_700_000_000_000.5 }],
      options: { separator: ' ', keepCr: false },
    },
    createdAt: '2026-01-02T03:04:05.678Z',
  };
}

function outcomeOf(manifestText: string): unknown {
  try {
    const { id, identity } = parseManifest(manifestText, 'manifest.json');
    return { id, identity };
  } catch (error) {
    return error instanceof PavostoreError ? error.code : error;
  }
}

function setAt(target: Record<string, unknown>, [name, ...rest]: string[], value: unknown): void {
  if (rest.length === 0) target[name!] = value;
  else setAt(target[name!] as Record<string, unknown>, rest, value);
}

/** The id by the rule, of an identity that may be nonsense. */
function idOfAnything(identity: Record<string, unknown>): string {
  const { format, hash, sliceCount, slices } = identity;
  const listed = Array.isArray(slices)
    ? slices.map((slice) => {
        const { entries, bytes, headerSha256, sha256 } = slice ?? {};
        return { entries, bytes, headerSha256, sha256 };
      })
    : slices;
  return createHash('sha256')
    .update(JSON.stringify({ format, hash, sliceCount, slices: listed }))
    .digest('hex')
    .slice(0, 32);
}

function reversed<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).reverse()) as T;
}
