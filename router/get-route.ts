// `GET /get?key=K`: one key, one answer; the hot path from the client's side.

import type { ErrorCode } from '../shared/errors.ts';
import type { GetExchange } from '../shared/get-response.ts';
import { parseGetKey } from '../shared/key-query.ts';
import type { Answer } from './hot-answers.ts';
import { KeyLookup } from './key-lookup.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

export function answerGet(engine: LookupEngine, version: RoutedVersion | undefined, target: string, exchange: GetExchange): void {
  const key = parseGetKey(target);
  if (typeof key !== 'string') return exchange.sendProblem(key.code);
  if (!version) return exchange.sendProblem('no_version');
  const hot = engine.findHot(version, key);
  if (hot === undefined) engine.submit(new GetLookup(engine, version, key, exchange));
  else sendAnswer(exchange, version, hot);
}

class GetLookup extends KeyLookup {
  readonly #exchange: GetExchange;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, exchange: GetExchange) {
    super(engine, version, key);
    this.#exchange = exchange;
  }

  protected override onAnswer(answer: Answer): void {
    sendAnswer(this.#exchange, this.version, answer);
  }

  protected override onFailure(code: ErrorCode): void {
    this.#exchange.sendProblem(code);
  }
}

function sendAnswer(exchange: GetExchange, version: RoutedVersion, answer: Answer): void {
  if (answer === null) exchange.sendProblem('key_not_found', version.headers);
  else exchange.sendValue(version.headers, answer);
}
