// Versions for tests of publishing: which keys are there and what their values are follows from the number of a version, so that every answer can
// be checked against the version that it names. Published as `pavostore publish` does it.

import { writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { defaultGuards } from '../../deploy/publish/guards.ts';
import { publishPlaced, publishVersion } from '../../deploy/publish/publish.ts';
import { pinVersion, rollbackVersion } from '../../deploy/publish/rollback.ts';
import { buildVersion } from '../../deploy/publish/version-folder.ts';
import { splitFiles } from '../../deploy/split/split.ts';
import { type Current, slicePath } from '../../shared/data-set.ts';
import { encodeRecords } from '../data-sets.ts';

/** With more keys a version is split from text, by workers: else its making would hold up the load that checks it. */
const keysInMemoryMax = 50_000;
const linesAPiece = 5_000;

/** One key in so many is absent from a version, another one in each. */
const absentEvery = 7;

export class PublishedData {
  readonly keys: readonly string[];
  readonly #dataDir: string;
  readonly #valueSize: number;
  /** By id. */
  readonly #numbers = new Map<string, number>();
  /** What `current` named, one after the other. */
  readonly publications: Current[] = [];
  /** What will be the next of them; `isSeen`: something was answered from it. */
  #underWay: { readonly id: string; isSeen: boolean } | undefined;
  #versionCount = 0;

  /** Values have at least `valueSize` bytes. */
  constructor(dataDir: string, keyCount: number, { valueSize = 0 }: { valueSize?: number } = {}) {
    this.#dataDir = dataDir;
    this.#valueSize = valueSize;
    this.keys = Array.from({ length: keyCount }, (_, i) => `key ${i}`);
  }

  /** A version that nobody has seen. */
  async publishNew(sliceCount: number): Promise<Current> {
    const number = this.#versionCount++;
    if (this.keys.length > keysInMemoryMax) return await this.#splitAndPublish(number, sliceCount);
    const present = this.keys.flatMap((key, i) => (isAbsent(i, number) ? [] : [[key, Buffer.from(this.#valueIn(key, number))] as const]));
    const { manifest, files } = encodeRecords(new Map(present), sliceCount);
    this.#numbers.set(manifest.id, number);
    const dataDir = this.#dataDir;
    return await this.#publish(manifest.id, async () => {
      const { current } = await buildVersion(dataDir, async ({ versionDir }) => {
        for (const [i, file] of files.entries()) writeFileSync(slicePath(versionDir, i), file);
        return await publishVersion({ dataDir, versionDir, manifest, publish: true });
      });
      return current!;
    });
  }

  async #splitAndPublish(number: number, sliceCount: number): Promise<Current> {
    const dataDir = this.#dataDir;
    const stdin = Readable.from(this.#linesOf(number));
    const { id } = await splitFiles({ files: ['-'], dataDir, stdin, separator: 'tab', sliceCount, publish: false });
    this.#numbers.set(id, number);
    return await this.#publish(id, async () => (await publishPlaced({ dataDir, act: 'publish', id, guards: defaultGuards }))!);
  }

  *#linesOf(number: number): Generator<Buffer> {
    for (let from = 0; from < this.keys.length; from += linesAPiece) {
      const piece = this.keys.slice(from, from + linesAPiece);
      const lines = piece.flatMap((key, i) => (isAbsent(from + i, number) ? [] : [`${key}\t${this.#valueIn(key, number)}\n`]));
      yield Buffer.from(lines.join(''));
    }
  }

  /** One that was published before. */
  async publishAgain(id: string): Promise<Current> {
    return await this.#publish(id, async () => await rollbackVersion({ dataDir: this.#dataDir, id, force: false }));
  }

  /** The published one stays, with a new sequence. */
  async pin(): Promise<Current> {
    const { id } = this.publications.at(-1)!;
    return await this.#publish(id, async () => await pinVersion({ dataDir: this.#dataDir, force: false }));
  }

  /** The value of a key in the version with this id; null when it is absent there; undefined when no such version was ever published. */
  answerOf(id: string, keyIndex: number): string | null | undefined {
    const number = this.#numbers.get(id);
    if (number === undefined) return undefined;
    return isAbsent(keyIndex, number) ? null : this.#valueIn(this.keys[keyIndex]!, number);
  }

  /** The first publication of this id at or after `from`, the one under way included; undefined: there is none. */
  publicationFrom(id: string, from: number): number | undefined {
    const found = this.publications.findIndex((each, index) => index >= from && each.id === id);
    if (found >= 0) return found;
    if (this.#underWay?.id !== id) return undefined;
    this.#underWay.isSeen = true;
    return this.publications.length;
  }

  #valueIn(key: string, version: number): string {
    return `${key} in version ${version}`.padEnd(this.#valueSize, ' and so on');
  }

  /** `current` names it before `act` is done: shards that look just then serve it while that still syncs. */
  async #publish(id: string, act: () => Promise<Current>): Promise<Current> {
    const underWay = { id, isSeen: false };
    this.#underWay = underWay;
    try {
      const current = await act();
      this.publications.push(current);
      return current;
    } catch (cause) {
      throw underWay.isSeen ? new Error(`version ${id} was answered, and not published`, { cause }) : cause;
    } finally {
      this.#underWay = undefined;
    }
  }
}

function isAbsent(keyIndex: number, version: number): boolean {
  return keyIndex % absentEvery === version % absentEvery;
}
