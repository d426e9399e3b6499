// `GET /get?key=K`: one key, one answer; the hot path from the client's side.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ErrorCode } from '../shared/errors.ts';
import { sendValue } from '../shared/get-response.ts';
import { sendProblem } from '../shared/http-server.ts';
import { parseGetKey } from '../shared/key-query.ts';
import type { Answer } from './hot-answers.ts';
import { KeyLookup } from './key-lookup.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

export function answerGet(
  engine: LookupEngine,
  version: RoutedVersion | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  target: string,
): void {
  const key = parseGetKey(target);
  if (typeof key !== 'string') return sendProblem(response, key.code);
  if (!version) return sendProblem(response, 'no_version');
  const hot = engine.findHot(version, key);
  if (hot === undefined) engine.submit(new GetLookup(engine, version, key, request, response));
  else sendAnswer(request, response, version, hot);
}

class GetLookup extends KeyLookup {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(engine: LookupEngine, version: RoutedVersion, key: string, request: IncomingMessage, response: ServerResponse) {
    super(engine, version, key);
    this.#request = request;
    this.#response = response;
  }

  protected override onAnswer(answer: Answer): void {
    sendAnswer(this.#request, this.#response, this.version, answer);
  }

  protected override onFailure(code: ErrorCode): void {
    sendProblem(this.#response, code);
  }
}

function sendAnswer(request: IncomingMessage, response: ServerResponse, version: RoutedVersion, answer: Answer): void {
  if (answer === null) sendProblem(response, 'key_not_found', { headers: version.headers.missing });
  else sendValue(request, response, version.headers, answer);
}
