// `GET /get?key=K`: one key, one answer; the hot path from the client's side.

import type { ErrorCode } from '../shared/errors.ts';
import type { GetExchange } from '../shared/get-response.ts';
import { parseGetKey } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import { clientCodeOf, KeyLookup } from './key-lookup.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

export function answerGet(engine: LookupEngine, version: RoutedVersion | undefined, target: string, exchange: GetExchange): void {
  const key = parseGetKey(target);
  if (typeof key !== 'string') return exchange.sendProblem(key.code);
  if (!version) return exchange.sendProblem('no_version');
  const hot = engine.findHot(version, key);
  if (hot === undefined) {
    // Before anything is made for it: a refusal should cost next to nothing.
    if (engine.isFull) {
      engine.counts.overloaded++;
      return exchange.sendProblem('overloaded');
    }
    engine.submit(new GetLookup(engine, version, key, { exchange, isRebound: false }));
  } else if (hot === null) exchange.sendProblem('key_not_found', version.headers);
  else exchange.sendValue(version.headers, hot);
}

class GetLookup extends KeyLookup {
  readonly #engine: LookupEngine;
  readonly #exchange: GetExchange;
  /** It asks for the second time, of another version. */
  readonly #isRebound: boolean;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, request: { exchange: GetExchange; isRebound: boolean }) {
    super(engine, version, key, false);
    this.#engine = engine;
    this.#exchange = request.exchange;
    this.#isRebound = request.isRebound;
  }

  /** A small value as one string, which leaves with its header in one write; a large one as a view. */
  protected override onFound(reply: Buffer, start: number, end: number): void {
    const isSmall = end - start <= limits.oneWriteSizeMax;
    this.#exchange.sendValue(this.version.headers, isSmall ? reply.toString('latin1', start, end) : reply.subarray(start, end));
  }

  protected override onMissing(): void {
    this.#exchange.sendProblem('key_not_found', this.version.headers);
  }

  protected override onFailure(code: ErrorCode): void {
    if (!this.#isRebound && this.#engine.mayRebind(this, code)) void this.#rebind(code);
    else this.#exchange.sendProblem(clientCodeOf(code));
  }

  async #rebind(code: ErrorCode): Promise<void> {
    const rebinding = await this.#engine.rebind(this);
    if (!rebinding) return this.#exchange.sendProblem(clientCodeOf(code));
    const again = new GetLookup(this.#engine, rebinding.version, this.key, { exchange: this.#exchange, isRebound: true });
    this.#engine.submit(again, rebinding.remainingMs);
  }
}
