// An engine over fake shards, without a server before it: keys go in, outcomes come out.

import { Admission } from '../../router/admission.ts';
import type { BulkLookup } from '../../router/bulk-lookup.ts';
import { KeyLookup } from '../../router/key-lookup.ts';
import { packKeys } from '../../router/key-ranges.ts';
import { LookupEngine } from '../../router/lookup-engine.ts';
import { answerMget } from '../../router/mget-route.ts';
import { RoutedVersion } from '../../router/routed-version.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { MemberTable } from '../../shared/member-table.ts';
import { bodyOf } from '../../shared/outgoing.ts';
import { OwedMemory } from '../../shared/owed-memory.ts';
import type { FakeShard } from './fake-shard.ts';

export type Outcome = { readonly found: Buffer } | 'missing' | ErrorCode;

class TestLookup extends KeyLookup {
  readonly outcome = Promise.withResolvers<Outcome>();

  protected override onFound(reply: Buffer, start: number, end: number): void {
    this.outcome.resolve({ found: Buffer.from(reply.subarray(start, end)) });
  }

  protected override onMissing(): void {
    this.outcome.resolve('missing');
  }

  protected override onFailure(code: ErrorCode): void {
    this.outcome.resolve(code);
  }
}

class EngineOfMgets extends LookupEngine {
  /** Knob: the deadline of the next /mget, if it has one of its own. */
  mgetDeadlineMs: number | undefined;

  override submitBulk(bulk: BulkLookup, deadlineMs: number | undefined = this.mgetDeadlineMs): void {
    super.submitBulk(bulk, deadlineMs);
  }
}

export class TestEngine {
  readonly engine: EngineOfMgets;
  readonly version: RoutedVersion;
  /** Counter: how often the members were to be asked anew. */
  askedAnew = 0;
  /** Counter: the addresses that refused or broke a connection. */
  readonly refused: string[] = [];
  readonly #table = new MemberTable();
  readonly #shards: readonly FakeShard[];

  constructor(shards: readonly FakeShard[], { deadlineMs = 10_000, cacheSize = 0 }: { deadlineMs?: number; cacheSize?: number } = {}) {
    this.#shards = shards;
    this.engine = new EngineOfMgets({
      deadlineMs,
      cacheSize,
      onRefused: (address) => this.refused.push(address),
      onNotHeld: async () => {
        this.askedAnew++;
      },
    });
    this.version = this.versionOf(shards[0]!);
    this.engine.serve(this.version);
    this.follow();
  }

  /** Another version over the same members. */
  versionOf({ versionId, sequence, sliceCount }: FakeShard): RoutedVersion {
    return new RoutedVersion({ id: versionId, sequence, sliceCount });
  }

  /** Takes in what the shards report now. */
  follow(version: RoutedVersion = this.version): void {
    for (const shard of this.#shards) this.#table.answered(shard.address, shard.report, 1);
    version.follow(this.#table.members, ({ address }) => this.engine.laneTo(address));
  }

  /** The shards in the order in which this key's slice prefers them. */
  preferenceOf(key: string): FakeShard[] {
    const { sliceIndex } = new TestLookup(this.engine, this.version, key, false);
    return this.version.holdersOf(sliceIndex).map((lane) => this.#shards.find(({ address }) => address === lane.address)!);
  }

  lookUp(key: string, version: RoutedVersion = this.version): Promise<Outcome> {
    return this.#submit(new TestLookup(this.engine, version, key, false));
  }

  /** With a deadline of its own. */
  lookUpWithin(deadlineMs: number, key: string): Promise<Outcome> {
    return this.#submit(new TestLookup(this.engine, this.version, key, false), deadlineMs);
  }

  /** As one of the keys of an /mget. */
  lookUpInBulk(key: string): Promise<Outcome> {
    return this.#submit(new TestLookup(this.engine, this.version, key, true));
  }

  /** The results of a whole /mget; it may have a deadline of its own. */
  async mget(keys: readonly string[], deadlineMs?: number): Promise<readonly Readonly<Record<string, unknown>>[]> {
    this.engine.mgetDeadlineMs = deadlineMs;
    const { body } = await answerMget(
      { engine: this.engine, admission: new Admission(this.engine, { owed: new OwedMemory() }) },
      this.version,
      packKeys(keys),
    );
    return (JSON.parse(bodyOf(body).toString()) as { results: Record<string, unknown>[] }).results;
  }

  #submit(lookup: TestLookup, deadlineMs?: number): Promise<Outcome> {
    this.engine.submit(lookup, deadlineMs);
    return lookup.outcome.promise;
  }

  async close(): Promise<void> {
    await this.engine.close();
  }
}
