// `GET /get?key=K`: one key, one answer; the hot path from the client's side.

import type { ErrorCode } from '../shared/errors.ts';
import type { GetExchange } from '../shared/get-response.ts';
import { parseGetKey } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import { KeyLookup } from './key-lookup.ts';
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
    engine.submit(new GetLookup(engine, version, key, exchange));
  } else if (hot === null) exchange.sendProblem('key_not_found', version.headers);
  else exchange.sendValue(version.headers, hot);
}

class GetLookup extends KeyLookup {
  readonly #exchange: GetExchange;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, exchange: GetExchange) {
    super(engine, version, key, false);
    this.#exchange = exchange;
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
    this.#exchange.sendProblem(code);
  }
}
