// Versions for tests of publishing: which keys are there and what their values are follows from the number of a version, so that every answer can
// be checked against the version that it names. Published as `pavostore publish` does it.

import { writeFileSync } from 'node:fs';
import { publishVersion } from '../../deploy/publish/publish.ts';
import { rollbackVersion } from '../../deploy/publish/rollback.ts';
import { buildVersion } from '../../deploy/publish/version-folder.ts';
import { type Current, slicePath } from '../../shared/data-set.ts';
import { encodeRecords } from '../data-sets.ts';

/** One key in so many is absent from a version, another one in each. */
const absentEvery = 7;

export class PublishedData {
  readonly keys: readonly string[];
  readonly #dataDir: string;
  /** By id. */
  readonly #numbers = new Map<string, number>();
  /** What `current` named, one after the other. */
  readonly publications: Current[] = [];
  #versionCount = 0;

  constructor(dataDir: string, keyCount: number) {
    this.#dataDir = dataDir;
    this.keys = Array.from({ length: keyCount }, (_, i) => `key ${i}`);
  }

  /** A version that nobody has seen. */
  async publishNew(sliceCount: number): Promise<Current> {
    const number = this.#versionCount++;
    const present = this.keys.flatMap((key, i) => (isAbsent(i, number) ? [] : [[key, Buffer.from(valueIn(key, number))] as const]));
    const { manifest, files } = encodeRecords(new Map(present), sliceCount);
    this.#numbers.set(manifest.id, number);
    const dataDir = this.#dataDir;
    const { current } = await buildVersion(dataDir, async ({ versionDir }) => {
      for (const [i, file] of files.entries()) writeFileSync(slicePath(versionDir, i), file);
      return await publishVersion({ dataDir, versionDir, manifest, publish: true });
    });
    return this.#note(current!);
  }

  /** One that was published before. */
  async publishAgain(id: string): Promise<Current> {
    return this.#note(await rollbackVersion({ dataDir: this.#dataDir, id, force: false }));
  }

  /** The value of a key in the version with this id; null when it is absent there; undefined when no such version was ever published. */
  answerOf(id: string, keyIndex: number): string | null | undefined {
    const number = this.#numbers.get(id);
    if (number === undefined) return undefined;
    return isAbsent(keyIndex, number) ? null : valueIn(this.keys[keyIndex]!, number);
  }

  /** The first publication of this id at or after `from`; undefined: there is none. */
  publicationFrom(id: string, from: number): number | undefined {
    const found = this.publications.findIndex((each, index) => index >= from && each.id === id);
    return found < 0 ? undefined : found;
  }

  #note(current: Current): Current {
    this.publications.push(current);
    return current;
  }
}

function isAbsent(keyIndex: number, version: number): boolean {
  return keyIndex % absentEvery === version % absentEvery;
}

function valueIn(key: string, version: number): string {
  return `${key} in version ${version}`;
}
