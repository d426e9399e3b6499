// `GET /get?key=K`: one key, one answer; the hot path from the client's side.

import type { ErrorCode } from '../shared/errors.ts';
import type { GetExchange } from '../shared/get-response.ts';
import { parseGetKey } from '../shared/key-query.ts';
import { limits } from '../shared/limits.ts';
import type { Admission } from './admission.ts';
import { clientCodeOf, KeyLookup } from './key-lookup.ts';
import type { LookupEngine } from './lookup-engine.ts';
import type { RoutedVersion } from './routed-version.ts';

/** Of a router, what its look-ups need. */
export type GetRouter = { readonly engine: LookupEngine; readonly admission: Admission; readonly version: RoutedVersion | undefined };

export function answerGet(router: GetRouter, target: string, exchange: GetExchange): void {
  const { engine, version } = router;
  const key = parseGetKey(target);
  if (typeof key !== 'string') return exchange.sendProblem(key.code);
  if (!version) return exchange.sendProblem('no_version');
  const hot = engine.findHot(version, key);
  if (hot === undefined) {
    // Before anything is made for it: a refusal should cost next to nothing.
    if (router.admission.refusesGet()) return exchange.sendProblem('overloaded');
    engine.submit(new GetLookup(router, version, key, { exchange, isRebound: false }));
  } else if (hot === null) exchange.sendProblem('key_not_found', version.headers);
  else exchange.sendValue(version.headers, hot);
}

class GetLookup extends KeyLookup {
  readonly #router: GetRouter;
  readonly #exchange: GetExchange;
  /** It asks for the second time, of another version. */
  readonly #isRebound: boolean;

  constructor(router: GetRouter, version: RoutedVersion, key: string, request: { exchange: GetExchange; isRebound: boolean }) {
    super(router.engine, version, key, false);
    this.#router = router;
    this.#exchange = request.exchange;
    this.#isRebound = request.isRebound;
  }

  /** A small value as one string, which leaves with its header in one write; a large one as a view. */
  protected override onFound(reply: Buffer, start: number, end: number): void {
    const isSmall = end - start <= limits.oneWriteSizeMax;
    if (!isSmall && this.#router.admission.refusesValue(reply.buffer)) return this.#exchange.sendProblem('overloaded');
    this.#exchange.sendValue(this.version.headers, isSmall ? reply.toString('latin1', start, end) : reply.subarray(start, end));
  }

  protected override onMissing(): void {
    this.#exchange.sendProblem('key_not_found', this.version.headers);
  }

  protected override onFailure(code: ErrorCode): void {
    if (!this.#isRebound && this.#router.engine.mayRebind(this, code)) void this.#rebind(code);
    else this.#exchange.sendProblem(clientCodeOf(code));
  }

  async #rebind(code: ErrorCode): Promise<void> {
    const rebinding = await this.#router.engine.rebind(this);
    if (!rebinding) return this.#exchange.sendProblem(clientCodeOf(code));
    const again = new GetLookup(this.#router, rebinding.version, this.key, { exchange: this.#exchange, isRebound: true });
    this.#router.engine.submit(again, rebinding.remainingMs);
  }
}
